(() => {
  "use strict";
  // A link to a folded part, or into one, unfolds it with all that is around it.
  const unfold = (id) => {
    const target = document.getElementById(id);
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    if (target) target.scrollIntoView();
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[href^='#']");
    if (link) setTimeout(unfold, 0, link.hash.slice(1));
  });
  if (location.hash) unfold(location.hash.slice(1));
})();
