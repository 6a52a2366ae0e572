// The filter. The URL's fragment contains it, so that a view can be shared.

import { byId, el } from "./dom.js";

const FIELDS = ["direction", "cause", "peer", "workload"];

const form = byId("filter");
let causes = new Set();
let listeners = [];
let wanted = Object.fromEntries(FIELDS.map((field) => [field, ""]));

/** The current filter. */
export const current = () => wanted;

/** Registers a callback for changes of the filter. */
export const onChange = (listener) => listeners.push(listener);

/** Whether a row {direction, cause} matches the filter. */
export const admitsRow = ({ direction, cause }) =>
  (!wanted.direction || wanted.direction === direction) && (!wanted.cause || wanted.cause === cause);

/** Whether a verdict matches the filter. */
export const admits = (event) =>
  admitsRow(event) &&
  event.remote.toLowerCase().includes(wanted.peer.trim().toLowerCase()) &&
  owners(event).some((name) => name.toLowerCase().includes(wanted.workload.trim().toLowerCase()));

/** The names that the workload filter searches: those of the owner and of the remote end. */
export function owners({ process, workload, remote_workload: other }) {
  const own = [process?.comm, workload?.name, workload?.namespace, workload?.container, workload?.controller?.name];
  const names = [...own, other?.name, other?.namespace];
  return ["", ...names.filter((name) => typeof name === "string")];
}

/** Selects only this cause, or all causes if it is already selected. */
export function toggleCause(cause) {
  form.elements.cause.value = wanted.cause === cause ? "" : cause;
  read();
}

/** Initializes the form with the vocabulary of causes. */
export function start(vocabulary) {
  causes = new Set(vocabulary);
  form.elements.cause.append(...vocabulary.map((cause) => el("option", { value: cause }, cause)));
  form.addEventListener("input", read);
  form.addEventListener("submit", (event) => event.preventDefault());
  // The browser clears the fields after the event.
  form.addEventListener("reset", () => setTimeout(read));
  addEventListener("hashchange", fromFragment);
  fromFragment();
}

/** Sets the suggestions of a field. */
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

/** Reads the filter from the fragment. The fragment is untrusted: unknown directions and causes are dropped, and the rest is text. */
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
