(() => {
  "use strict";
  const table = document.getElementById("cells");
  if (!table) return;
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const column = (key) => heads.findIndex((head) => head.dataset.key === key);

  // Rows share the table cells of their op and regime. Before the first sort or filter each row gets its own cells.
  let split = null;
  const splitRows = () => {
    if (split) return split;
    const shared = [];
    split = [...body.rows].map((row, place) => {
      for (let index = 0; index < heads.length; index++) {
        const above = shared[index];
        if (above && above.left > 0) {
          above.left--;
          row.insertBefore(above.cell.cloneNode(true), row.cells[index] ?? null);
          continue;
        }
        const cell = row.cells[index] ?? row.insertCell();
        if (cell.rowSpan > 1) {
          shared[index] = { cell, left: cell.rowSpan - 1 };
          cell.removeAttribute("rowspan");
        }
      }
      return { row, place, text: [...row.cells].map((cell) => cell.textContent.trim()) };
    });
    return split;
  };

  const number = (text) => {
    const found = /^[\u2212-]?\d[\d.]*(e-?\d+)?/.exec(text);
    return found ? parseFloat(found[0].replace("\u2212", "-")) : null;
  };

  // Rows without a value come last in both directions. Equal rows keep the order of the report.
  const sort = (index, numeric, sign) => {
    const key = (it) => (numeric ? number(it.text[index]) : it.text[index]);
    const keyed = splitRows().map((it) => [key(it), it]);
    keyed.sort(([a, x], [b, y]) => {
      if (a === null || b === null) return (a === null) - (b === null) || x.place - y.place;
      return sign * (a < b ? -1 : a > b ? 1 : 0) || x.place - y.place;
    });
    body.append(...keyed.map(([, it]) => it.row));
  };

  heads.forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(index, head.classList.contains("n"), down ? -1 : 1);
    });
  });

  const form = document.getElementById("filter");
  const field = (name) => document.getElementById("f-" + name);
  const count = document.getElementById("count");
  const exact = ["mechanism", "regime", "resolved"].map((name) => [field(name), column(name)]);
  const filter = () => {
    const words = field("text").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    const rows = splitRows();
    let shown = 0;
    for (const { row, text } of rows) {
      const named = [text[column("op")], text[column("group")], text[column("kind")], text[column("mechanism")]];
      const hay = named.join(" ").toLowerCase();
      const keep = words.every((word) => hay.includes(word)) &&
        exact.every(([select, index]) => !select.value || text[index].split(",")[0] === select.value);
      row.hidden = !keep;
      shown += keep;
    }
    count.textContent = shown === rows.length ? `${shown} cells` : `${shown} of ${rows.length} cells`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
})();
