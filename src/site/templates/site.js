(() => {
  "use strict";
  const all = (selector, within) => [...(within ?? document).querySelectorAll(selector)];

  // Search: rows, list items and plots that have all words.
  const search = (form) => {
    const words = form.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
    const items = all("table.find tbody tr, ul.find li, .multiples > figure");
    let shown = 0;
    for (const item of items) {
      const group = item.closest("details");
      const text = (item.textContent + " " + (group ? group.firstElementChild.textContent : "")).toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
      shown += !item.hidden;
    }
    for (const part of all("details.ways")) {
      part.hidden = words.length > 0 && !all("figure", part).some((figure) => !figure.hidden);
    }
    form.querySelector("output").textContent = words.length ? `${shown} of ${items.length} match` : "";
  };

  // Ranges: the newest points, spread over the width of the plot.
  const points = (figure) => all(".p a", figure).map((link) => [link, link.querySelector("circle")]);
  const draw = (figure, count) => {
    const own = points(figure);
    figure.dataset.x ??= own.map(([, dot]) => dot.getAttribute("cx")).join();
    const at = figure.dataset.x.split(",").map(Number), skipped = count ? Math.max(0, own.length - count) : 0;
    const [left, right] = [50, 320], step = (right - left) / Math.max(1, own.length - skipped - 1);
    own.forEach(([link, dot], index) => {
      link.style.display = index < skipped ? "none" : "";
      dot.setAttribute("cx", skipped ? Math.round(left + (index - skipped) * step) : at[index]);
    });
    // What belongs to the whole history: levels, groups of older runs, days.
    for (const part of figure.querySelector(".plot").children) {
      const isWhole = !part.matches("title, desc") && !(part.matches("text") && part.getAttribute("x") < 45);
      if (isWhole) part.style.display = skipped ? "none" : "";
    }
  };

  for (const form of all("form.search")) {
    form.addEventListener("submit", (event) => event.preventDefault());
    form.querySelector("input").addEventListener("input", () => search(form));
    const range = form.querySelector("select.range");
    if (range) range.addEventListener("input", () => all(".trend").forEach((figure) => draw(figure, +range.value)));
    form.hidden = false;
  }

  // The box of a point: its value, its run, its commit and the commits since the run before.
  const rows = new Map();
  for (const row of all("table.runs tbody tr")) rows.set(row.cells[0].querySelector("a").href, row);
  const box = document.createElement("div");
  box.className = "box";
  box.hidden = true;
  document.body.append(box);
  let shown = null;
  const show = (link) => {
    shown?.classList.remove("at");
    shown = link;
    link.classList.add("at");
    const line = (...parts) => {
      const text = document.createElement("p");
      text.append(...parts);
      return text;
    };
    const row = rows.get(new URL(link.getAttribute("href"), location.href).href);
    const value = link.querySelector("title").textContent;
    const lines = [line(value)];
    const copies = (cell) => [...cell.childNodes].map((node) => node.cloneNode(true));
    if (row) lines.push(...[0, 1].map((index) => line(...copies(row.cells[index]))));
    box.replaceChildren(...lines);
    box.hidden = false;
    const point = link.getBoundingClientRect();
    const left = Math.min(point.left, document.documentElement.clientWidth - box.offsetWidth - 8);
    box.style.left = `${Math.max(8, left) + scrollX}px`;
    box.style.top = `${point.bottom + scrollY + 2}px`;
  };
  const hide = () => {
    box.hidden = true;
    shown?.classList.remove("at");
  };
  document.addEventListener("pointerover", (event) => {
    const link = event.target.closest && event.target.closest(".p a");
    if (link) show(link);
    else if (!event.target.closest(".box, .trend")) hide();
  });

  // Keys: a plot takes the focus, arrows go from run to run, Enter opens the run, Escape closes the box.
  for (const figure of all(".trend")) if (points(figure).length) figure.tabIndex = 0;
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    const figure = document.activeElement;
    if (!figure || !figure.matches(".trend")) return;
    const links = points(figure).map(([link]) => link).filter((link) => link.style.display !== "none");
    const at = links.indexOf(shown);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      event.preventDefault();
      show(links[Math.min(links.length - 1, Math.max(0, at < 0 ? links.length - 1 : at + step))]);
    } else if (event.key === "Enter" && at >= 0) location.href = shown.getAttribute("href");
  });

  // From here on the page answers; scripts/site_speed.py reads it.
  document.documentElement.dataset.ready = Math.round(performance.now());
})();
