(() => {
  "use strict";
  const by = (id) => document.getElementById(id);

  const listWords = (field) => field.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const has = (text, words) => words.every((word) => text.includes(word));
  const stay = (event) => event.preventDefault();

  const find = by("find");
  if (find) {
    const rows = [...document.querySelectorAll("#finder tbody tr")];
    find.addEventListener("input", () => {
      const words = listWords(by("find-text"));
      for (const row of rows) row.hidden = !has(row.textContent.toLowerCase(), words);
    });
    find.addEventListener("submit", stay);
    find.hidden = false;
  }

  const form = by("filter");
  if (!form) return;
  const table = by("cells"), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const NAMES = 2;
  let all = null, shown = [];

  // The rows of the tables of ops: the op, the mechanism, and one cell per regime.
  const list = () => all ??= [...document.querySelectorAll("#all .op table")].flatMap((own) => {
    const op = own.closest(".op"), name = op.querySelector("summary code").textContent;
    const group = op.parentElement.querySelector("summary b").textContent;
    const [kind, ...regimes] = [...own.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    const order = heads.slice(NAMES).map((head) => regimes.indexOf(head.dataset.name));
    return [...own.querySelectorAll("tbody tr:not(.own)")].map((row) => {
      const [head, ...values] = row.cells;
      const cells = order.map((index) => values[index] ?? document.createElement("td"));
      return { id: op.id, name, head, cells, text: [name, group, kind, head.textContent].join(" ").toLowerCase() };
    });
  });

  const verdict = (cell) => {
    const text = cell.textContent.trim();
    return text === "" ? null : text.startsWith("reason") ? "absent" : /^[~\u00d7]/.test(text) ? "no" : "yes";
  };

  const show = (rows) => {
    const regime = by("f-regime").value;
    heads.forEach((head, index) => (head.hidden = regime !== "" && index >= NAMES && head.dataset.name !== regime));
    body.replaceChildren(...rows.map((it) => {
      const row = document.createElement("tr"), head = document.createElement("th"), link = document.createElement("a");
      link.textContent = it.name;
      if (it.id) link.href = "#" + it.id;
      head.append(link);
      const mechanism = document.createElement("td");
      mechanism.textContent = it.head.textContent;
      row.append(head, mechanism, ...it.cells.map((cell) => cell.cloneNode(true)));
      [...row.cells].forEach((cell, index) => (cell.hidden = heads[index].hidden));
      return row;
    }));
  };

  const filter = () => {
    const words = listWords(by("f-text"));
    const [mechanism, regime, resolved] = ["mechanism", "regime", "resolved"].map((name) => by("f-" + name).value);
    const isEmpty = !(words.length || mechanism || regime || resolved);
    const index = heads.findIndex((head) => head.dataset.name === regime) - NAMES;
    shown = isEmpty ? [] : list().filter((it) => {
      const cells = regime ? [it.cells[index]] : it.cells, verdicts = cells.map(verdict);
      return has(it.text, words) && (!mechanism || it.head.textContent.trim() === mechanism) &&
        verdicts.some((found) => found && (!resolved || found === resolved));
    });
    // The rows of an op of exactly this name, if there is one: pte_val is a part of other names, too.
    const exact = words.length ? shown.filter((it) => words.includes(it.name.toLowerCase())) : [];
    if (exact.length) shown = exact;
    by("compared").hidden = by("legend").hidden = isEmpty;
    by("count").textContent = isEmpty ? "" : `${shown.length} of ${list().length} rows`;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    show(shown);
  };

  const number = (text) => {
    const found = /^[~\u00d7\s]*([\u2212-]?\d[\d.]*(e-?\d+)?)/.exec(text);
    return found ? parseFloat(found[1].replace("\u2212", "-")) : null;
  };

  // Rows without a value come last in both directions. Equal rows keep the order of the report.
  const sort = (index, sign) => {
    const text = (it) => index === 0 ? it.name : it.head.textContent.trim();
    const key = (it) => index < NAMES ? text(it) : number(it.cells[index - NAMES].textContent);
    const keyed = shown.map((it, place) => [key(it), place, it]);
    keyed.sort(([a, i], [b, j]) => {
      if (a === null || b === null) return (a === null) - (b === null) || i - j;
      return sign * (a < b ? -1 : a > b ? 1 : 0) || i - j;
    });
    show(keyed.map((it) => it[2]));
  };

  heads.forEach((head, index) => {
    head.dataset.name = index < NAMES ? "" : head.textContent.trim();
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(index, down ? -1 : 1);
    });
  });
  form.addEventListener("input", filter);
  form.addEventListener("submit", stay);
  form.hidden = false;
})();
