// Finds faults in the layout of the page and returns one line for each:
// - an element that is wider than the window and not within a container that scrolls;
// - a text that leaves its cell, its drawing or its window;
// - two texts that overlap;
// - a caption or the main column of a table that is hidden until the reader scrolls;
// - two boxes of the page's grids that overlap;
// - a label that is cut.
(() => {
  const wrong = [], width = document.documentElement.clientWidth;
  const shown = (e) => e.checkVisibility({ visibilityProperty: true });
  const classes = (e) => [...e.classList].map((c) => "." + c).join("");
  const name = (e) => e.tagName.toLowerCase() + (e.id ? "#" + e.id : "") + classes(e);
  const path = (e) => {
    const names = [];
    for (; e && e !== document.body && names.length < 4; e = e.parentElement) {
      names.unshift(name(e));
      if (e.id) break;
    }
    return names.join(" > ");
  };
  const say = (what, e, more) => wrong.push(`${what}: ${path(e)}: ${more}`);
  const around = new Map([[document.documentElement, null]]);
  const scrolling = (e) => {
    if (!e) return null;
    if (around.has(e)) return around.get(e);
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(e).overflowX);
    const found = scrolls ? e : scrolling(e.parentElement);
    around.set(e, found);
    return found;
  };

  for (const e of document.body.querySelectorAll("*")) {
    if (!shown(e) || e.closest(".skip, tbody tr:nth-child(n+40)")) continue;
    const box = e.getBoundingClientRect();
    const out = box.width > 0 && (box.right > width + 0.5 || box.left < -0.5);
    if (out && !scrolling(e.parentElement)) say("wider than the window", e, `${box.left} to ${box.right} of ${width}`);
  }

  const texts = [], range = document.createRange();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const e = node.parentElement;
    const left_out = "script, style, title, desc, .skip, tbody tr:nth-child(n+40)";
    if (!node.data.trim() || e.closest(left_out) || !shown(e)) continue;
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width > 1 && box.height > 1) texts.push({ e, box, text: node.data.trim().slice(0, 40) });
    }
  }

  for (const { e, box, text } of texts) {
    const drawing = e.closest("svg");
    const within = drawing ?? e.closest("td, th, dd, dt, li, figcaption, summary, p, pre");
    if (!within || within.tagName === "PRE") continue;
    const own = within.getBoundingClientRect();
    const high = drawing && (box.top < own.top - 1 || box.bottom > own.bottom + 1);
    if (box.left < own.left - 1 || box.right > own.right + 1 || high) {
      say("text leaves its container", e, `'${text}' ${box.left} to ${box.right} of ${own.left} to ${own.right}`);
    }
  }

  for (const { e, box, text } of texts) {
    const caption = e.closest("caption");
    const view = caption && scrolling(caption)?.getBoundingClientRect();
    if (view && box.right > view.right + 1) say("hidden caption", e, `'${text}' to ${box.right} of ${view.right}`);
  }

  texts.sort((a, b) => a.box.top - b.box.top);
  let open = [];
  for (const one of texts) {
    open = open.filter((other) => other.box.bottom > one.box.top + 2);
    for (const other of open) {
      const [a, b] = [one.box, other.box];
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      const upright = [a, b].every((box) => box.width > box.height * 0.4);
      if (upright && one.e !== other.e && scrolling(one.e) === scrolling(other.e) && across > 1.5 &&
        down > 0.45 * Math.min(a.height, b.height)) {
        say("texts overlap", one.e, `'${other.text}' and '${one.text}', ${across} by ${down}`);
      }
    }
    open.push(one);
  }

  for (const head of document.querySelectorAll("th.main")) {
    const table = head.closest(".scroll");
    if (!table || !shown(head)) continue;
    const [own, view] = [head.getBoundingClientRect(), table.getBoundingClientRect()];
    // On a phone only the beginning of the column must be visible beside the names.
    const right = width < 600 ? own.left + 24 : own.right;
    if (right > Math.min(view.right, width) + 1) {
      say("hidden main column", head, `${own.left} to ${own.right} of ${view.right}`);
    }
  }
  for (const table of document.querySelectorAll(".scroll > table")) {
    if (shown(table) && table.scrollWidth > table.parentElement.clientWidth + 1 && !table.querySelector("th.main")) {
      say("scrolling table without a main column", table, table.parentElement.getAttribute("aria-label"));
    }
  }

  const parts = document.querySelectorAll(".first > *, .two > *, .method > *, .odd > *, .multiples > *, section");
  const boxes = [...parts].filter(shown).map((e) => [e, e.getBoundingClientRect()]);
  boxes.forEach(([e, a], index) => {
    for (const [other, b] of boxes.slice(index + 1)) {
      if (e.contains(other) || other.contains(e)) continue;
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 1) say("boxes overlap", e, `${path(other)}, ${across} by ${down}`);
    }
  });
  for (const { e, text } of texts) if (text.includes("\u2026") && e.closest("svg")) say("cut label", e, text);
  return { texts: texts.length, wrong };
})()
