// What one wants to see. It is kept in the fragment of the address, so that a view can be shared.

import { byId, el } from "./dom.js";

const FIELDS = ["direction", "cause", "peer", "workload"];

const form = byId("filter");
let causes = new Set();
let listeners = [];
let wanted = Object.fromEntries(FIELDS.map((field) => [field, ""]));

/** The filter of this moment. */
export const current = () => wanted;

/** Calls back when the filter has changed. */
export const onChange = (listener) => listeners.push(listener);

/** Whether a row of direction and cause is wanted. */
export const admitsRow = ({ direction, cause }) =>
  (!wanted.direction || wanted.direction === direction) && (!wanted.cause || wanted.cause === cause);

/** Whether a verdict is wanted. */
export const admits = (event) =>
  admitsRow(event) &&
  event.remote.toLowerCase().includes(wanted.peer.trim().toLowerCase()) &&
  owners(event).some((name) => name.toLowerCase().includes(wanted.workload.trim().toLowerCase()));

/** The names by which a verdict is found: its owner's, and the other end's. */
export function owners({ process, workload, remote_workload: other }) {
  const own = [process?.comm, workload?.name, workload?.namespace, workload?.container, workload?.controller?.name];
  const names = [...own, other?.name, other?.namespace];
  return ["", ...names.filter((name) => typeof name === "string")];
}

/** Shows this cause alone, or every cause again. */
export function toggleCause(cause) {
  form.elements.cause.value = wanted.cause === cause ? "" : cause;
  read();
}

/** Begins, with the vocabulary of causes. */
export function start(vocabulary) {
  causes = new Set(vocabulary);
  form.elements.cause.append(...vocabulary.map((cause) => el("option", { value: cause }, cause)));
  form.addEventListener("input", read);
  form.addEventListener("submit", (event) => event.preventDefault());
  // The fields are empty only after the event.
  form.addEventListener("reset", () => setTimeout(read));
  addEventListener("hashchange", fromFragment);
  fromFragment();
}

/** Offers names that were seen, for completion. */
export function suggest(id, names) {
  const list = byId(id);
  const known = [...list.options].map((option) => option.value);
  const sorted = [...names].sort().slice(0, 100);
  if (known.join("\n") !== sorted.join("\n")) list.replaceChildren(...sorted.map((name) => el("option", { value: name })));
}

function read() {
  const next = Object.fromEntries(FIELDS.map((field) => [field, form.elements[field].value]));
  const set = FIELDS.filter((field) => next[field]).map((field) => [field, next[field]]);
  const fragment = new URLSearchParams(set).toString();
  history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
  become(next);
}

/** Anybody may have written the fragment: words that are not of the vocabulary are dropped, the rest is text. */
function fromFragment() {
  const said = new URLSearchParams(location.hash.slice(1));
  const next = Object.fromEntries(FIELDS.map((field) => [field, (said.get(field) ?? "").slice(0, 200)]));
  if (!["sent", "received"].includes(next.direction)) next.direction = "";
  if (!causes.has(next.cause)) next.cause = "";
  for (const field of FIELDS) form.elements[field].value = next[field];
  become(next);
}

function become(next) {
  wanted = next;
  form.classList.toggle("active", FIELDS.some((field) => next[field]));
  for (const listener of listeners) listener();
}
