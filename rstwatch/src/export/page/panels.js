// Panels for queues, tables, lost events and probes. Values that the agent could not read are left out, never shown as 0.

import { byId, el, gauge, updater, table } from "./dom.js";
import { bytes, count, counted } from "./format.js";

/** Maximum number of listeners shown. */
const LISTENERS = 8;

const panels = Object.fromEntries(["listeners", "tables", "losses", "probes"].map((id) => [id, updater(byId(id))]));

/** Draws all panels. */
export function render(status) {
  const { listeners, unattributed_overflows, folded_overflows, listeners_folded, conntrack, conntrack_elsewhere, conntrack_drops, stack } = status;
  const { totals, lost, out_rsts_difference, out_rsts_over, netns_unreadable, probes } = status;
  const beyond = [unattributed_overflows, listeners_folded, folded_overflows];
  panels.listeners([listeners, beyond], () => queues(listeners, beyond));
  panels.tables([conntrack, conntrack_elsewhere, conntrack_drops, stack], () => tables(conntrack, conntrack_elsewhere, conntrack_drops, stack));
  const unsampled = totals.filter(({ cause }) => cause === "unsampled").reduce((sum, { counts }) => sum + counts, 0);
  const checks = [out_rsts_difference, out_rsts_over, netns_unreadable];
  panels.losses([unsampled, lost, checks], () => [...losses(unsampled, lost), ...reconciled(...checks)]);
  panels.probes(probes, () => hooks(probes));
}

const empty = (text) => [el("p", { class: "empty" }, text)];

function queues(listeners, [unattributed, folded, foldedOverflows]) {
  const shown = listeners.filter(({ sockets, overflows }) => sockets > 0 || overflows > 0).slice(0, LISTENERS);
  if (shown.length === 0) return empty("No listeners.");
  const rows = shown.map((it) => [
    el("span", {}, el("span", { class: "mono" }, socket(it)), it.workload ? el("small", {}, it.workload.name) : null),
    // A queue holds one connection more than its limit.
    el("span", {}, gauge(it.length, it.limit + 1, `${it.length} of ${it.limit + 1}`), el("small", {}, `${count(it.length)} / ${count(it.limit + 1)}`)),
    count(it.overflows),
  ]);
  const unknown = unattributed > 0 ? `${counted(unattributed, "more overflow")} of unidentified listeners. ` : "";
  const beyond = folded > 0 || foldedOverflows > 0 ? `Not shown: ${counted(folded, "listener")} beyond the limit, with ${counted(foldedOverflows, "overflow")}.` : "";
  const rest = unknown || beyond ? el("p", { class: "sub" }, unknown + beyond) : null;
  return [table([["listener", ""], ["queue", ""], ["overflows", "n"]], rows, "Accept queues by usage"), rest].filter(Boolean);
}

const socket = ({ address, port }) => (address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`);

function tables(conntrack, elsewhere, drops, stack) {
  const all = [
    ["conntrack", conntrack?.entries, conntrack?.limit, count],
    // Each namespace counts its own entries against the same limit.
    ...elsewhere.map(([netns, entries]) => [`conntrack, netns ${netns}`, entries, conntrack?.limit, count]),
    ["orphans", stack.orphans, stack.orphans_limit, count],
    ["TIME_WAIT", stack.time_wait, stack.time_wait_limit, count],
    ["TCP memory", stack.memory_bytes, stack.memory_limit_bytes, bytes],
  ];
  const rows = all.filter(([, value]) => typeof value === "number").map(([name, value, limit, words]) => {
    const text = limit ? `${words(value)} of ${words(limit)}` : words(value);
    return [name, limit ? gauge(value, limit, text) : "", el("small", {}, text)];
  });
  if (rows.length === 0) return empty("Not read yet.");
  const lost = Object.entries(drops ?? {}).filter(([, n]) => typeof n === "number" && n > 0);
  const said = lost.map(([kind, n]) => `${kind} ${count(n)}`).join(", ");
  const rest = said ? el("p", { class: "sub warn" }, `conntrack dropped: ${said}`) : null;
  return [table([["table", ""], ["", "wide"], ["", "n"]], rows, "Tables and their limits"), rest].filter(Boolean);
}

const STAGES = {
  missed: "the kernel did not run the program",
  rate_limited: "above the configured rate limit",
  ring_full: "the ring buffer was full",
  decode: "the record could not be decoded",
  follower: "a reader of /api/v1/events was too slow",
};

function losses(unsampled, lost) {
  const some = Object.entries(lost).filter(([, n]) => n > 0);
  const note = el("p", { class: "sub" }, "Resets without details count as unsampled in the totals since the start. Their time is unknown, so the chart and the last hour do not include them.");
  if (unsampled === 0 && some.length === 0) return [el("p", { class: "good" }, "No events lost."), note];
  const rows = some.map(([stage, n]) => [el("span", {}, stage, el("small", {}, STAGES[stage] ?? "")), count(n)]);
  return [
    el("p", { class: "warn" }, `${counted(unsampled, "reset")} without details.`),
    table([["lost at", ""], ["events", "n"]], rows, "Events lost by stage"),
    note,
  ];
}

/** Compares rstwatch's count of sent resets with the kernel's; empty if that is unknown. */
function reconciled(difference, [more, fewer], unreadable) {
  if (difference === null) return [];
  const before = more > 0 || fewer > 0 ? `; earlier differences: ${count(more)} more, ${count(fewer)} fewer` : "";
  const beyond = unreadable > 0 ? `; ${counted(unreadable, "network namespace")} could not be read` : "";
  const words = difference === 0 ? "The count of sent resets equals the kernel's (TcpOutRsts)" : `The count of sent resets differs from the kernel's (TcpOutRsts) by ${count(difference)}`;
  return [el("p", { class: difference === 0 ? "sub" : "sub warn" }, `${words}${before}${beyond}.`)];
}

function hooks(probes) {
  const missed = probes.filter((probe) => probe.missed);
  const attached = probes.filter((probe) => probe.state !== "missing").length;
  const required = missed.filter((probe) => probe.required);
  const sum = el("p", { class: required.length > 0 ? "bad" : missed.length > 0 ? "warn" : "good" }, judgement(attached, probes.length, missed, required));
  const line = ({ name, state, required: must, detail, degrades, missed: is }) =>
    el("li", { class: is ? (must ? "bad" : "warn") : state === "ok" ? "good" : "calm" },
      el("span", { class: "mono" }, name), ` ${state}${must ? ", required" : ""}`,
      detail ? el("small", {}, detail) : null, state === "missing" ? el("small", {}, `without it: ${degrades}`) : null);
  const open = required.length > 0 ? true : null;
  return [sum, el("details", { open }, el("summary", {}, "All probes"), el("ul", { class: "probes" }, ...probes.map(line)))];
}

function judgement(attached, all, missed, required) {
  if (required.length > 0) return `Not ready: ${required.map(({ name }) => name).join(", ")} ${required.length === 1 ? "is" : "are"} not attached.`;
  if (missed.length > 0) return `${attached} of ${all} attached. Some evidence is missing.`;
  return `${attached} of ${all} attached. No evidence is missing.`;
}
