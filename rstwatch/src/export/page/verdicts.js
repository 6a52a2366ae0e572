// The list of verdicts, newest first.

import { byId, el, swatch } from "./dom.js";
import { admits, current, owners, suggest } from "./filter.js";
import { count, counted, length, moment } from "./format.js";

/** Number of verdicts kept; the agent keeps as many. */
const KEPT = 1000;
/** Maximum number of verdicts shown. */
const SHOWN = 100;
/** A verdict younger than this is highlighted when it appears, in milliseconds. */
const NEW = 3000;

const list = byId("verdicts");
const pause = byId("pause");

let kept = [];
let held = null;
const seen = new Set();
const rows = new Map();
let table = new Map();
let scheduled = false;

/** The identity of a verdict. */
const key = ({ time, direction, local, remote, netns }) => [time, direction, local, remote, netns].join(" ");

/** Initializes the list with the table of causes. */
export function start(entries) {
  table = new Map(entries.map((entry) => [entry.cause, entry]));
  pause.addEventListener("click", () => {
    held = held ? null : kept;
    pause.setAttribute("aria-pressed", String(Boolean(held)));
    pause.textContent = held ? "Resume" : "Pause";
    render();
  });
  render();
}

/** Adds verdicts, oldest first, and drops duplicates. Returns the number of new ones. */
export function add(events) {
  const fresh = events.filter((event) => !seen.has(key(event)));
  for (const event of fresh) seen.add(key(event));
  kept = kept.concat(fresh);
  for (const event of kept.splice(0, Math.max(kept.length - KEPT, 0))) seen.delete(key(event));
  if (fresh.length > 0) schedule();
  return fresh.length;
}

/** Redraws at the next animation frame, once for all verdicts that arrive before it. */
function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    render();
  });
}

/** Draws the list. Rows that stay keep their elements, and so their focus and open state. */
export function render() {
  const all = held ?? kept;
  const wanted = all.filter(admits).reverse();
  const shown = wanted.slice(0, SHOWN);
  const keys = new Set(shown.map(key));
  for (const [known, row] of rows) {
    if (keys.has(known)) continue;
    row.remove();
    rows.delete(known);
  }
  let next = list.firstElementChild;
  for (const event of shown) {
    const row = rows.get(key(event)) ?? make(event);
    if (row === next) next = next.nextElementSibling;
    else list.insertBefore(row, next);
  }
  summary(all, wanted.length, shown.length);
  suggestions();
}

function make(event) {
  const row = verdict(event);
  rows.set(key(event), row);
  return row;
}

function summary(all, wanted, shown) {
  const before = new Set(held);
  const waiting = held ? kept.filter((event) => !before.has(event)).length : 0;
  const some = wanted < all.length ? `${count(wanted)} of ${counted(all.length, "verdict")} match the filter` : counted(wanted, "verdict");
  const parts = [some, shown < wanted ? `showing the newest ${shown}` : "", waiting ? `${count(waiting)} waiting` : ""];
  byId("shown").textContent = all.length > 0 ? parts.filter(Boolean).join("; ") : "";
  const none = byId("none");
  none.hidden = wanted > 0;
  none.textContent = all.length > 0 ? "No verdict matches the filter." : "No resets yet. New ones appear here immediately.";
}

function suggestions() {
  const { peer, workload } = current();
  if (!peer) suggest("peers", new Set(kept.map((event) => event.remote.replace(/:\d+$/, ""))));
  if (!workload) suggest("workloads", new Set(kept.flatMap(owners).filter(Boolean)));
}

function verdict(event) {
  const { cause, confidence, sender, because } = event;
  const head = el(
    "summary",
    {},
    el("time", { datetime: event.time, title: event.time }, moment(event.time)),
    el("span", { class: "cause" }, swatch(cause), el("b", {}, cause)),
    el("span", { class: `sure ${confidence}` }, `${confidence}, by ${sender}`),
    el("span", { class: "flow" }, el("span", { class: "direction" }, event.direction), ` ${event.local} `, arrow(event), ` ${event.remote}`),
    el("span", { class: "owner" }, [owner(event), otherEnd(event)].filter(Boolean).join(" ")),
    el("span", { class: "because" }, because.join("; ")),
  );
  const isNew = Date.now() - Date.parse(event.time) < NEW;
  const row = el("details", { class: isNew ? "verdict new" : "verdict", "data-cause": cause }, head);
  // Details are created when the row is first opened.
  row.addEventListener("toggle", () => row.open && row.childElementCount === 1 && row.append(details(event)));
  return row;
}

function arrow({ direction }) {
  return el("span", { class: "arrow", role: "img", "aria-label": direction === "sent" ? "to" : "from" }, direction === "sent" ? "→" : "←");
}

/** `orders-api[4121] pod shop/orders-7c9d` */
function owner({ process, workload, role }) {
  const parts = [process ? `${process.comm}[${process.pid}]` : ""];
  if (workload && (workload.kind !== "process" || workload.name !== process?.comm)) {
    parts.push(`${workload.kind} ${workload.namespace ? `${workload.namespace}/` : ""}${workload.name}`);
  }
  return parts.filter(Boolean).join(" ") || (role === "unknown" ? "" : role);
}

const PREPOSITIONS = { client: "to", server: "from", unknown: "with" };

/** `to service shop/db` */
function otherEnd({ remote_workload: other, role }) {
  return other ? `${PREPOSITIONS[role]} ${other.kind} ${other.namespace ? `${other.namespace}/` : ""}${other.name}` : "";
}

function details(event) {
  const entry = table.get(event.cause);
  return el(
    "div",
    { class: "inside" },
    part("wide", "What to do", guidance(event)),
    event.because.length > 0 ? part("", "Evidence", el("ul", {}, ...event.because.map((it) => el("li", {}, it)))) : null,
    part("facts", "Observed values", facts(event)),
    entry ? part("", `About ${event.cause}`, el("p", {}, entry.means), ...confirm(entry)) : null,
  );
}

/** The causes that remain, what would decide between them, and what to change. */
function guidance({ remaining, decide, advice }) {
  const known = [remaining, decide, advice].filter(Boolean);
  const lines = known.length > 0 ? known : ["This reset alone requires no change."];
  return el("div", { class: "advice" }, ...lines.map((line) => el("p", {}, line)));
}

const part = (kind, title, ...content) => el("div", { class: kind }, el("h3", {}, title), ...content);

function confirm({ confirm }) {
  if (confirm.length === 0) return [];
  const steps = confirm.map(([step, run]) => el("li", {}, step, run ? el("code", {}, run) : null));
  return [el("details", { class: "confirm" }, el("summary", {}, "How to confirm"), el("ul", {}, ...steps))];
}

/** The observed values; unknown ones are left out. */
function facts(event) {
  const { rst, workload } = event;
  const candidates = event.timeout_candidates.map(({ who, seconds }) => `${who} ${seconds} s`).join(", ");
  const all = [
    ["idle", time(event.idle_ms)],
    ["timeout candidates", candidates],
    ["age", time(event.age_ms)],
    ["state", event.state],
    ["kernel's reason", event.kernel_reason],
    ["role here", event.role === "unknown" ? null : event.role],
    ["bytes sent", event.bytes_sent],
    ["bytes received", event.bytes_received],
    ["unacknowledged", event.unacked_bytes],
    ["unread", event.unread_bytes],
    ["RST TTL", rst?.ttl === null || !rst ? null : `${rst.ttl}${rst.ttl_expected === null ? "" : `, handshake ${rst.ttl_expected}`}`],
    ["RST flags", rst?.flags],
    ["seq", rst?.seq],
    ["container", workload?.container],
    ["controller", workload?.controller ? `${workload.controller.kind} ${workload.controller.name}` : null],
    ["netns", event.netns],
  ];
  const known = all.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", {}, ...known.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, shown(value)))));
}

const shown = (value) => (typeof value === "number" ? String(value) : value);
const time = (ms) => (ms === null || ms === undefined ? null : length(ms / 1000));
