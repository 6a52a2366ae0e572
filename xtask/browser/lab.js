// Client of the harness in xtask/src/browser: makes resets, and stops and starts the agent. One line per request and response.

import { createInterface } from "node:readline";

export class Lab {
  #answers;

  constructor() {
    const lines = createInterface({ input: process.stdin });
    // The harness has exited.
    lines.on("close", () => process.exit(1));
    this.#answers = lines[Symbol.asyncIterator]();
  }

  async #request(line) {
    process.stdout.write(`${line}\n`);
    const { value } = await this.#answers.next();
    if (!value.startsWith("ok ")) throw new Error(`${line}: ${value}`);
    return value.slice(3);
  }

  /** Runs a row of the lab. Returns the server's port. */
  async row(id) {
    const answer = await this.#request(`row ${id}`);
    if (answer.startsWith("lacks")) throw new Error(`row ${id} ${answer}`);
    return answer;
  }

  /** A process with this name connects and aborts. Returns the server's port. */
  abort = (name) => this.#request(`abort ${name}`);
  /** Overflows an accept queue that holds nine connections. Returns the server's port. */
  overflow = () => this.#request("overflow");
  stop = () => this.#request("stop");
  start = () => this.#request("start");
}
