// Creates elements without HTML strings: untrusted text is set as text, so it cannot become an element or a script.

/** The element with this ID. */
export const byId = (id) => document.getElementById(id);

/** Creates an element. Children are elements or text; null and undefined attributes and children are left out. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A square in the colour of a cause. */
export const swatch = (cause) => el("span", { class: "swatch", "data-cause": cause, "aria-hidden": "true" });

/** A bar that shows a value relative to its limit. `text` is the tooltip and the label for screen readers. */
export function gauge(value, limit, text) {
  const part = limit > 0 ? Math.min(value / limit, 1) : Number(value > 0);
  const level = part >= 0.9 ? "full" : part >= 0.7 ? "high" : "low";
  const fill = el("span", { class: `fill ${level}` });
  fill.style.width = `${(part * 100).toFixed(1)}%`;
  return el("span", { class: "gauge", role: "img", "aria-label": text, title: text }, fill);
}

/** A table. `heads` are [text, class]; `rows` are arrays of cells (text or elements). */
export function table(heads, rows, caption) {
  const head = heads.map(([text, kind]) => el("th", { scope: "col", class: kind }, text));
  const body = rows.map((cells) => el("tr", {}, ...cells.map((cell, i) => el("td", { class: heads[i][1] }, cell))));
  return el(
    "table",
    {},
    caption ? el("caption", { class: "unseen" }, caption) : null,
    el("thead", {}, el("tr", {}, ...head)),
    el("tbody", {}, ...body),
  );
}

/** Returns a function that replaces the children if the data have changed. Focus moves to the new element with the same text. */
export function updater(container) {
  let before;
  return (data, make) => {
    const now = JSON.stringify(data);
    if (now === before) return;
    before = now;
    const focused = container.contains(document.activeElement) ? document.activeElement.textContent : null;
    container.replaceChildren(...make());
    if (focused === null) return;
    [...container.querySelectorAll("button, summary")].find((it) => it.textContent === focused)?.focus({ preventScroll: true });
  };
}
