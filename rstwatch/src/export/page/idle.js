// Idle times before resets, and inferred idle timeouts of destinations.

import { Bars, byCause, said } from "./chart.js";
import { byId, el, updater, table } from "./dom.js";
import { admitsRow } from "./filter.js";
import { counted, length } from "./format.js";

/** Maximum number of timeouts marked in the chart. */
const MARKED = 5;

const readout = byId("idle-readout");
const timeouts = updater(byId("timeouts"));
let bounds = [];
let marks = [];
let vocabulary = [];
let status = null;

const bars = new Bars(byId("idle"), {
  range: (_, high) => [-0.6, high + 0.6],
  splits: () => bounds.map((_, i) => i).filter((i) => i % 3 === 0),
  // Buckets are labelled with their upper bound.
  values: (_, all) => all.map((i) => `≤${brief(bounds[i])}`),
  readout: (index, stack) => {
    const sum = index === null ? 0 : stack.reduce((all, { counts }) => all + counts[index], 0);
    readout.textContent = index === null ? "" : `${bucket(index)}  ${counted(sum, "reset")}${sum ? `: ${said(stack, index)}` : ""}`;
  },
  draw,
});

/** Initializes the chart with the causes in the order of the vocabulary. */
export const start = (causes) => void (vocabulary = causes);

/** Draws the histogram and the list of timeouts. */
export function render(next) {
  status = next ?? status;
  if (!status) return;
  bounds = status.idle.bounds;
  const dead = status.timeouts.filter(({ died }) => died);
  marks = dead.slice(0, MARKED).map(({ died }) => died.seconds);
  bars.set([...bounds.map((_, i) => i), bounds.length], byCause(status.idle.resets.filter(admitsRow), vocabulary));
  timeouts(status.timeouts, () => list(status.timeouts, dead));
}

function list(all, dead) {
  if (all.length === 0) return [el("p", { class: "empty" }, "No idle timeout inferred yet.")];
  const number = (it) => (dead.indexOf(it) >= 0 && dead.indexOf(it) < MARKED ? String(dead.indexOf(it) + 1) : "");
  const candidates = (it) => it.timeout_candidates.map(({ who, seconds }) => `${who} ${seconds}`).join(", ");
  const rows = all.slice(0, 20).map((it) => [
    el("span", { class: "mark" }, number(it)),
    el("span", { class: "mono" }, it.peer),
    el("span", {}, it.timeout, candidates(it) ? el("small", {}, candidates(it)) : null),
  ]);
  const heads = [["", "mark"], ["peer", ""], ["idle timeout", ""]];
  return [table(heads, rows, "Inferred idle timeouts. The number refers to a line in the chart.")];
}

/** Lines as [x, label]. Marks closer than `apart` share a line. */
export function lines(xs, apart) {
  const sorted = xs.map((x, i) => ({ x, labels: [i + 1] })).sort((a, b) => a.x - b.x);
  const merged = [];
  for (const mark of sorted) {
    const last = merged.at(-1);
    if (last && mark.x - last.x < apart) last.labels.push(...mark.labels);
    else merged.push(mark);
  }
  return merged.map(({ x, labels }) => [x, labels.sort((a, b) => a - b).join(",")]);
}

/** The position of a time on the axis, interpolated within its bucket. */
export function position(seconds, limits) {
  const i = limits.findIndex((bound) => seconds <= bound);
  if (i < 0) return limits.length;
  const low = i === 0 ? 0 : limits[i - 1];
  return i - 0.5 + (seconds - low) / (limits[i] - low);
}

function draw(plot, colour) {
  const { ctx } = plot;
  const { top, height } = plot.bbox;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("--mark");
  ctx.lineWidth = devicePixelRatio * 1.5;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.font = `600 ${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = "center";
  const xs = marks.map((seconds) => Math.round(plot.valToPos(position(seconds, bounds), "x", true)));
  for (const [x, label] of lines(xs, 12 * devicePixelRatio)) {
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
    ctx.fillText(label, x, top - 5 * devicePixelRatio);
  }
  ctx.restore();
}

function bucket(index) {
  if (index === bounds.length) return `over ${length(bounds.at(-1))}`;
  return `${index === 0 ? "0" : brief(bounds[index - 1])} to ${brief(bounds[index])}`;
}

/** 5s, 2m, 1h. Bounds are whole numbers. */
function brief(seconds) {
  if (seconds === undefined) return "";
  if (seconds >= 3600) return `${seconds / 3600}h`;
  return seconds >= 60 && seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`;
}
