// The page: what is drawn from what, and when the agent is asked.

import * as chart from "./chart.js";
import { byId } from "./dom.js";
import * as filter from "./filter.js";
import * as idle from "./idle.js";
import { Live } from "./live.js";
import * as panels from "./panels.js";
import * as verdicts from "./verdicts.js";

/** How often the status is asked for when nothing happens. */
const CALM = 5000;
/** And at most when verdicts come. */
const BUSY = 700;
/** An answer that takes longer is none. */
const PATIENCE = 8000;

const WORDS = {
  connecting: "connecting",
  live: "live",
  reconnecting: "reconnecting",
  busy: "too many readers: reading every few seconds",
  paused: "paused while hidden",
};

let timer = null;
let due = Infinity;
let asking = false;
let state = "connecting";

const live = new Live(onEvents, onState);

async function get(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Error(`${path}: status ${answer.status}`);
  return answer.json();
}

function onEvents(events) {
  if (verdicts.add(events) > 0) plan(BUSY);
}

function onState(word) {
  state = word;
  const element = byId("state");
  element.textContent = WORDS[word];
  element.dataset.state = word;
}

/** Asks for the status no later than then. */
function plan(wait) {
  const at = performance.now() + wait;
  if (document.hidden || at >= due) return;
  clearTimeout(timer);
  due = at;
  // Who is asking already plans anew from what is due then.
  timer = asking ? null : setTimeout(refresh, wait);
}

async function refresh() {
  asking = true;
  due = Infinity;
  const [status, recent] = await Promise.all([ask("api/v1/status"), state === "busy" ? ask("api/v1/events?advice=1") : null]);
  asking = false;
  const again = Math.min(CALM, due - performance.now());
  due = Infinity;
  plan(Math.max(again, 0));
  if (recent) verdicts.add(recent);
  if (!status) return live.suspect();
  chart.render(status);
  idle.render(status);
  panels.render(status);
}

/** Nothing where the agent does not answer. */
const ask = (path) => get(path).catch(() => null);

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

/** The table of causes comes first: the filter and the colours need its order. */
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
