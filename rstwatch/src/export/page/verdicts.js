// The list of verdicts, the newest first.

import { byId, el, swatch } from "./dom.js";
import { admits, current, owners, suggest } from "./filter.js";
import { count, counted, length, moment } from "./format.js";

/** As many as the agent keeps. */
const KEPT = 1000;
/** As many as are on the page at once. */
const SHOWN = 100;
/** Younger than this when it is drawn, it shows that it has just come (milliseconds). */
const NEW = 3000;

const list = byId("verdicts");
const pause = byId("pause");

let kept = [];
let held = null;
const seen = new Set();
const rows = new Map();
let table = new Map();
let scheduled = false;

/** What a verdict is known by. */
const key = ({ time, direction, local, remote, netns }) => [time, direction, local, remote, netns].join(" ");

/** Begins, with the table of causes. */
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

/** Adds verdicts, oldest first; those that are known are dropped. */
export function add(events) {
  const fresh = events.filter((event) => !seen.has(key(event)));
  for (const event of fresh) seen.add(key(event));
  kept = kept.concat(fresh);
  for (const event of kept.splice(0, Math.max(kept.length - KEPT, 0))) seen.delete(key(event));
  if (fresh.length > 0) schedule();
  return fresh.length;
}

/** Draws at the next frame, however many verdicts come until then. */
function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    render();
  });
}

/** Draws the list; rows that stay keep their elements, and with them focus and what is unfolded. */
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
  let place = list.firstElementChild;
  for (const event of shown) {
    const row = rows.get(key(event)) ?? make(event);
    if (row === place) place = place.nextElementSibling;
    else list.insertBefore(row, place);
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
  const some = wanted < all.length ? `${count(wanted)} of ${counted(all.length, "verdict")} fit the filter` : counted(wanted, "verdict");
  const parts = [some, shown < wanted ? `the newest ${shown} are shown` : "", waiting ? `${count(waiting)} waiting` : ""];
  byId("shown").textContent = all.length > 0 ? parts.filter(Boolean).join("; ") : "";
  const none = byId("none");
  none.hidden = wanted > 0;
  none.textContent = all.length > 0 ? "No verdict fits the filter." : "No reset was seen yet. New ones appear here at once.";
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
    el("span", { class: "flow" }, el("span", { class: "way" }, event.direction), ` ${event.local} `, arrow(event), ` ${event.remote}`),
    el("span", { class: "owner" }, [owner(event), otherEnd(event)].filter(Boolean).join(" ")),
    el("span", { class: "because" }, because.join("; ")),
  );
  const isNew = Date.now() - Date.parse(event.time) < NEW;
  const row = el("details", { class: isNew ? "verdict new" : "verdict", "data-cause": cause }, head);
  // What is inside is made when it is looked at.
  row.addEventListener("toggle", () => row.open && row.childElementCount === 1 && row.append(inside(event)));
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

const WAYS = { client: "to", server: "from", unknown: "with" };

/** `to service shop/db` */
function otherEnd({ remote_workload: other, role }) {
  return other ? `${WAYS[role]} ${other.kind} ${other.namespace ? `${other.namespace}/` : ""}${other.name}` : "";
}

function inside(event) {
  const entry = table.get(event.cause);
  const advice = event.advice ?? "Nothing to change by this alone.";
  return el(
    "div",
    { class: "inside" },
    part("wide", "What to change", el("p", { class: "advice" }, advice)),
    event.because.length > 0 ? part("", "Evidence", el("ul", {}, ...event.because.map((it) => el("li", {}, it)))) : null,
    part("facts", "What was seen", facts(event)),
    entry ? part("", `About ${event.cause}`, el("p", {}, entry.means), ...confirm(entry)) : null,
  );
}

const part = (kind, title, ...content) => el("div", { class: kind }, el("h3", {}, title), ...content);

function confirm({ confirm }) {
  if (confirm.length === 0) return [];
  const looks = confirm.map(([look, run]) => el("li", {}, look, run ? el("code", {}, run) : null));
  return [el("details", { class: "confirm" }, el("summary", {}, "How to confirm it"), el("ul", {}, ...looks))];
}

/** What was not seen is left out. */
function facts(event) {
  const { rst, workload } = event;
  const candidates = event.timeout_candidates.map(({ who, seconds }) => `${who} ${seconds} s`).join(", ");
  const all = [
    ["idle", time(event.idle_ms)],
    ["timeouts that fit", candidates],
    ["age", time(event.age_ms)],
    ["state", event.state],
    ["kernel's reason", event.kernel_reason],
    ["role here", event.role === "unknown" ? null : event.role],
    ["bytes sent", event.bytes_sent],
    ["bytes received", event.bytes_received],
    ["unacknowledged", event.unacked_bytes],
    ["unread", event.unread_bytes],
    ["RST's TTL", rst?.ttl === null || !rst ? null : `${rst.ttl}${rst.ttl_expected === null ? "" : `, handshake ${rst.ttl_expected}`}`],
    ["RST's flags", rst?.flags],
    ["seq", rst?.seq],
    ["container", workload?.container],
    ["made by", workload?.controller ? `${workload.controller.kind} ${workload.controller.name}` : null],
    ["netns", event.netns],
  ];
  const known = all.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", {}, ...known.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, shown(value)))));
}

const shown = (value) => (typeof value === "number" ? String(value) : value);
const time = (ms) => (ms === null || ms === undefined ? null : length(ms / 1000));
