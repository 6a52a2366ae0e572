// The page: polls the agent's status, follows its verdicts, and passes both to the panels.

import * as chart from "./chart.js";
import { byId } from "./dom.js";
import * as filter from "./filter.js";
import * as idle from "./idle.js";
import { Live } from "./live.js";
import * as panels from "./panels.js";
import * as verdicts from "./verdicts.js";

/** Polling interval of the status without new verdicts, in milliseconds. */
const IDLE_INTERVAL = 5000;
/** Delay between a new verdict and the next poll. */
const ACTIVE_INTERVAL = 700;
/** Timeout of a request. */
const TIMEOUT = 8000;

const LABELS = {
  connecting: "connecting",
  live: "live",
  reconnecting: "reconnecting",
  busy: "too many readers: updating every few seconds",
  paused: "paused while hidden",
};

let timer = null;
let due = Infinity;
let polling = false;
let state = "connecting";

const live = new Live(onEvents, onState);

async function get(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT) });
  if (!answer.ok) throw new Error(`${path}: status ${answer.status}`);
  return answer.json();
}

function onEvents(events) {
  if (verdicts.add(events) > 0) plan(ACTIVE_INTERVAL);
}

function onState(next) {
  state = next;
  const element = byId("state");
  element.textContent = LABELS[next];
  element.dataset.state = next;
}

/** Schedules a poll after `wait` milliseconds at the latest. */
function plan(wait) {
  const at = performance.now() + wait;
  if (document.hidden || at >= due) return;
  clearTimeout(timer);
  due = at;
  // A poll in progress schedules the next one from `due`.
  timer = polling ? null : setTimeout(refresh, wait);
}

async function refresh() {
  polling = true;
  due = Infinity;
  const [status, recent] = await Promise.all([tryGet("api/v1/status"), state === "busy" ? tryGet("api/v1/events?advice=1") : null]);
  polling = false;
  const again = Math.min(IDLE_INTERVAL, due - performance.now());
  due = Infinity;
  plan(Math.max(again, 0));
  if (recent) verdicts.add(recent);
  if (!status) return live.suspect();
  chart.render(status);
  idle.render(status);
  panels.render(status);
}

/** The response, or null if the agent does not answer. */
const tryGet = (path) => get(path).catch(() => null);

function filtered() {
  verdicts.render();
  chart.render();
  idle.render();
}

function onVisibility() {
  if (document.hidden) {
    clearTimeout(timer);
    due = Infinity;
    live.stop();
  } else {
    live.start();
    plan(0);
  }
}

/** Loads the table of causes first, because the filter and the charts need its order. */
async function start() {
  let entries;
  try {
    entries = await get("api/v1/causes");
  } catch {
    onState("reconnecting");
    setTimeout(start, 2000);
    return;
  }
  const causes = entries.map(({ cause }) => cause);
  byId("app").hidden = false;
  chart.start(causes);
  idle.start(causes);
  verdicts.start(entries);
  filter.start(causes);
  filter.onChange(filtered);
  filtered();
  document.addEventListener("visibilitychange", onVisibility);
  onVisibility();
}

start();
