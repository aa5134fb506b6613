(() => {
  "use strict";
  const by = (id) => document.getElementById(id);

  // A link to a folded listing, or to a site in it, unfolds it.
  const unfold = (id) => {
    const target = by(id);
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    if (target) target.scrollIntoView();
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[href^='#']");
    if (link) setTimeout(unfold, 0, link.hash.slice(1));
  });
  if (location.hash) unfold(location.hash.slice(1));

  const form = by("filter");
  if (!form) return;
  const rows = [...document.querySelectorAll(".funs tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  form.addEventListener("input", () => {
    const words = by("f-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      row.hidden = !words.every((word) => texts[index].includes(word));
      const link = row.querySelector("a"), listing = link && by(link.hash.slice(1));
      if (listing) listing.hidden = row.hidden;
      shown += row.hidden ? 0 : 1;
    });
    by("count").textContent = `${shown} of ${rows.length} functions`;
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
})();
