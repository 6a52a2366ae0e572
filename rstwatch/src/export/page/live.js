// Follows the stream of new verdicts, and reconnects when it ends.

const FIRST_WAIT = 500;
const LONGEST_WAIT = 10_000;
/** The agent sends a heartbeat every 15 s, so a stream without data for this long is dead even if it has not been closed. */
const STREAM_TIMEOUT = 45_000;

/**
 * Follows the agent's verdicts.
 *
 * `onEvents(events)` receives recent verdicts at each connection, then new ones as they arrive; it must drop duplicates.
 * `onState(state, detail)` receives "connecting", "live", "reconnecting", "busy" and "paused".
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

  /** Closes the stream, for example while the page is hidden: the agent serves a limited number of streams. */
  stop() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = null;
    this.#onState("paused");
  }

  /** Reconnects because another request went unanswered, which means that the stream is dead too. */
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
      // Verdicts from before the stream was open.
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

/** Yields the events of a stream of JSON lines, in batches as they arrive. */
async function* batches(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await withTimeout(reader.read());
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    const events = lines.filter(Boolean).map((line) => JSON.parse(line));
    if (events.length > 0) yield events;
  }
}

/** Rejects if the promise takes too long. */
function withTimeout(promise) {
  let timer;
  const late = new Promise((_, fail) => (timer = setTimeout(() => fail(new Error("no data on the stream")), STREAM_TIMEOUT)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
