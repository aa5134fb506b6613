(() => {
  "use strict";
  const by = (id) => document.getElementById(id);

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
