// Stacked bar charts with uPlot; the chart of resets per minute, and its legend with counts.

import { byId, el, updater, swatch } from "./dom.js";
import { admitsRow, current, toggleCause } from "./filter.js";
import { count, counted, minute } from "./format.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

/** A colour from the style sheet. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The colour of a cause. */
const colourOf = (cause) => colour(`--cause-${cause}`) || colour("--cause-unknown");

/** Sums rows {direction, cause, counts} over directions. Causes are in the order of the vocabulary. */
export function byCause(rows, vocabulary) {
  const sums = new Map();
  for (const { cause, counts } of rows) {
    const before = sums.get(cause);
    sums.set(cause, before ? counts.map((n, i) => n + before[i]) : counts);
  }
  return vocabulary.filter((cause) => sums.has(cause)).map((cause) => ({ cause, counts: sums.get(cause) }));
}

/** A stacked bar chart that fills its container. It redraws when the data, the size or the colour scheme changes. */
export class Bars {
  #container;
  #options;
  #plot = null;
  #shape = "";
  #xs = [];
  #stack = [];

  /**
   * Options of uPlot: range (of x), splits and values (of the x axis), size and align (of the bars). And two functions:
   * readout(index, stack) is called when the pointer moves, draw(plot, colour) after each drawing.
   */
  constructor(container, options) {
    this.#container = container;
    this.#options = options;
    new ResizeObserver(() => this.#resize()).observe(container);
    dark.addEventListener("change", () => this.#rebuild());
  }

  /** Sets the data: x values, and for each cause the count at each x value. */
  set(xs, stack) {
    this.#xs = xs;
    this.#stack = stack;
    const shape = stack.map(({ cause }) => cause).join(" ");
    if (!this.#plot || shape !== this.#shape) this.#rebuild();
    else this.#plot.setData(this.#data());
    // For tests.
    this.#container.dataset.sum = String(stack.flatMap(({ counts }) => counts).reduce((a, b) => a + b, 0));
    this.#container.dataset.causes = shape;
  }

  /** Stacks the bars: each series is a cumulative sum, and the tallest is drawn first. */
  #data() {
    const sums = this.#xs.map(() => 0);
    // null instead of 0, because a bar of height 0 would leave a thin line.
    const layers = this.#stack.map(({ counts }) => counts.map((n, i) => (sums[i] += n) || null));
    return [this.#xs, ...(layers.length > 0 ? layers.reverse() : [sums])];
  }

  #rebuild() {
    this.#plot?.destroy();
    this.#shape = this.#stack.map(({ cause }) => cause).join(" ");
    this.#plot = new uPlot(this.#plotOptions(), this.#data(), this.#container);
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.#container;
    if (this.#plot && width > 0 && height > 0) this.#plot.setSize({ width, height });
  }

  #plotOptions() {
    const { range, splits, values, align, size } = this.#options;
    const axis = { stroke: colour("--muted"), font: "11px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: colour("--line"), width: 1 };
    const bars = uPlot.paths.bars({ size: size ?? [0.8, 60], align: align ?? 0 });
    const layers = this.#stack.length > 0 ? this.#stack.map(({ cause }) => colourOf(cause)).reverse() : ["transparent"];
    return {
      width: this.#container.clientWidth || 300,
      height: this.#container.clientHeight || 200,
      padding: [17, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: false, range: (_, low, high) => range(low, high) }, y: { range: (_, low, high) => [0, ceiling(high)] } },
      axes: [
        { ...axis, grid: { show: false }, splits, values, size: 26, gap: 4, space: 44 },
        { ...axis, grid, size: 42, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6], values: (_, all) => all.map(count), space: 24 },
      ],
      series: [{}, ...layers.map((fill) => ({ fill, stroke: fill, width: 0, points: { show: false }, paths: bars }))],
      hooks: {
        setCursor: [(plot) => this.#options.readout?.(plot.cursor.idx ?? null, this.#stack)],
        draw: [(plot) => this.#options.draw?.(plot, colour)],
      },
    };
  }
}

/** The upper end of the y axis, above the tallest bar. */
const ceiling = (high) => Math.max(4, Math.ceil((high ?? 0) * 1.1));

/** The counts at an index as text, like `refused 3, unread_data 1`. */
export function said(stack, index) {
  const parts = stack.filter(({ counts }) => counts[index] > 0).map(({ cause, counts }) => `${cause} ${count(counts[index])}`);
  return parts.join(", ");
}

const readout = byId("readout");
const legend = updater(byId("legend"));
let vocabulary = [];
let status = null;

const bars = new Bars(byId("minutes"), {
  align: 1,
  size: [0.86, 60],
  range: (low, high) => [low, high + 60],
  splits: (_, __, low, high) => ticks(low, high, byId("minutes").clientWidth < 500 ? 900 : 600),
  values: (_, all) => all.map(minute),
  readout: (index, stack) => {
    if (index === null || !status) return void (readout.textContent = "");
    const sum = stack.reduce((all, { counts }) => all + counts[index], 0);
    readout.textContent = `${minute(status.minutes.starts[index])}  ${counted(sum, "reset")}${sum ? `: ${said(stack, index)}` : ""}`;
  },
});

/** Multiples of `step` seconds in the browser's time zone. */
function ticks(low, high, step) {
  const shift = new Date(low * 1000).getTimezoneOffset() * 60;
  const first = Math.ceil((low - shift) / step) * step + shift;
  return Array.from({ length: Math.max(0, Math.floor((high - first) / step) + 1) }, (_, i) => first + i * step);
}

/** Initializes the chart with the causes in the order of the vocabulary. */
export const start = (causes) => void (vocabulary = causes);

/** Draws the last hour and the legend; without `next`, from the last status. */
export function render(next) {
  status = next ?? status;
  if (!status) return;
  const { minutes, totals } = status;
  bars.set(minutes.starts, byCause(minutes.resets.filter(admitsRow), vocabulary));
  const hour = sums(minutes.resets.map((row) => ({ ...row, counts: row.counts.reduce((a, b) => a + b, 0) })));
  const ever = sums(totals);
  sentence(minutes.resets.filter(admitsRow));
  const chosen = current().cause;
  const rows = vocabulary.filter((cause) => ever.has(cause) || cause === chosen);
  const numbers = rows.map((cause) => [cause, hour.get(cause) ?? 0, ever.get(cause) ?? 0]);
  legend([numbers, chosen], () => numbers.map((row) => line(row, chosen)));
  byId("nothing").hidden = numbers.length > 0;
}

/** Counts by cause, in the selected direction. */
function sums(rows) {
  const { direction } = current();
  const all = new Map();
  for (const row of rows) {
    if (!direction || row.direction === direction) all.set(row.cause, (all.get(row.cause) ?? 0) + row.counts);
  }
  return all;
}

function sentence(rows) {
  const of = (direction) => rows.filter((row) => row.direction === direction).flatMap((row) => row.counts).reduce((a, b) => a + b, 0);
  const words = `${count(of("sent"))} sent, ${count(of("received"))} received`;
  byId("sum").textContent = words;
  byId("minutes").setAttribute("aria-label", `Resets per minute by cause in the last hour: ${words}. The table next to it has the numbers.`);
}

function line([cause, hour, ever], chosen) {
  const pressed = cause === chosen;
  const button = el("button", { type: "button", "aria-pressed": String(pressed), title: pressed ? "Show all causes" : "Show only this cause" }, swatch(cause), cause);
  button.addEventListener("click", () => toggleCause(cause));
  return el(
    "tr",
    { "data-cause": cause, class: chosen && !pressed ? "dim" : null },
    el("th", { scope: "row" }, button),
    el("td", { class: "n" }, count(hour)),
    el("td", { class: "n" }, count(ever)),
  );
}
