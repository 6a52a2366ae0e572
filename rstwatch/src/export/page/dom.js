// Elements without markup: text is set as text, so nothing from outside can become an element or a script.

/** The element of that id. */
export const byId = (id) => document.getElementById(id);

/** Makes an element: attributes by name, children as elements or text; null and undefined are left out. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A cause's word with its colour. */
export const swatch = (cause) => el("span", { class: "swatch", "data-cause": cause, "aria-hidden": "true" });

/** A bar that is full at the limit; `text` says the same in words. */
export function gauge(value, limit, text) {
  const part = limit > 0 ? Math.min(value / limit, 1) : Number(value > 0);
  const level = part >= 0.9 ? "full" : part >= 0.7 ? "high" : "low";
  const fill = el("span", { class: `fill ${level}` });
  fill.style.width = `${(part * 100).toFixed(1)}%`;
  return el("span", { class: "gauge", role: "img", "aria-label": text, title: text }, fill);
}

/** A table: heads as [text, class], rows as lists of cells (text or elements). */
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

/** Replaces the children, and only when the data have changed; the focus stays on what says the same as before. */
export function renewer(place) {
  let before;
  return (data, make) => {
    const now = JSON.stringify(data);
    if (now === before) return;
    before = now;
    const focused = place.contains(document.activeElement) ? document.activeElement.textContent : null;
    place.replaceChildren(...make());
    if (focused === null) return;
    [...place.querySelectorAll("button, summary")].find((it) => it.textContent === focused)?.focus({ preventScroll: true });
  };
}
