// The stream of new verdicts: kept open, opened again when it ends.

const FIRST_WAIT = 500;
const LONGEST_WAIT = 10_000;
/** A stream says something every 15 seconds: one that is silent for so long is dead, though nobody has said so. */
const SILENCE = 45_000;

/**
 * Follows the agent's verdicts.
 *
 * `onEvents(events)` gets recent ones at each connection and new ones as they come; those that it has seen before are
 * for it to drop. `onState(word, detail)` gets "connecting", "live", "reconnecting", "busy" and "paused".
 */
export class Live {
  #onEvents;
  #onState;
  #abort = null;
  #timer = null;
  #wait = FIRST_WAIT;

  constructor(onEvents, onState) {
    this.#onEvents = onEvents;
    this.#onState = onState;
  }

  start() {
    if (this.#abort) return;
    clearTimeout(this.#timer);
    this.#abort = new AbortController();
    this.#run(this.#abort.signal);
  }

  /** Lets go of the stream, as a hidden page does: places are few. */
  stop() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = null;
    this.#onState("paused");
  }

  /** The agent does not answer: the stream is dead too, whether it says so or not. */
  suspect() {
    if (!this.#abort) return;
    this.#abort.abort();
    this.#again("no answer");
  }

  async #run(signal) {
    this.#onState("connecting");
    try {
      const answer = await fetch("api/v1/events?follow=1&advice=1&heartbeat=1", { signal });
      if (answer.status === 503) return this.#again("busy");
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      // What came before the stream was open.
      const recent = await fetch("api/v1/events?advice=1", { signal });
      this.#onEvents(await recent.json());
      this.#wait = FIRST_WAIT;
      this.#onState("live");
      for await (const events of batches(answer.body)) this.#onEvents(events);
      this.#again("the stream ended");
    } catch (error) {
      if (!signal.aborted) this.#again(error.message);
    }
  }

  #again(why) {
    this.#abort?.abort();
    this.#abort = null;
    clearTimeout(this.#timer);
    const wait = why === "busy" ? LONGEST_WAIT : this.#wait;
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
    this.#onState(why === "busy" ? "busy" : "reconnecting", why);
    this.#timer = setTimeout(() => this.start(), wait);
  }
}

/** The events of a stream of JSON lines, as many at a time as came together. */
async function* batches(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await withinTime(reader.read());
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    const events = lines.filter(Boolean).map((line) => JSON.parse(line));
    if (events.length > 0) yield events;
  }
}

/** The same, or an error when it takes too long. */
function withinTime(promise) {
  let timer;
  const late = new Promise((_, fail) => (timer = setTimeout(() => fail(new Error("the stream is silent")), SILENCE)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
