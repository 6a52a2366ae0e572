// Asks the other side for resets, and for the agent's end and beginning: one line each way.

import { createInterface } from "node:readline";

export class Lab {
  #answers;

  constructor() {
    const lines = createInterface({ input: process.stdin });
    // Without the other side there is nothing to test.
    lines.on("close", () => process.exit(1));
    this.#answers = lines[Symbol.asyncIterator]();
  }

  async #ask(line) {
    process.stdout.write(`${line}\n`);
    const { value } = await this.#answers.next();
    if (!value.startsWith("ok ")) throw new Error(`the lab, asked for ${line}: ${value}`);
    return value.slice(3);
  }

  /** Makes a row of the lab's table; the server's port. */
  async row(id) {
    const answer = await this.#ask(`row ${id}`);
    if (answer.startsWith("lacks")) throw new Error(`row ${id} ${answer}`);
    return answer;
  }

  /** A process of that name connects and aborts; the server's port. */
  abort = (name) => this.#ask(`abort ${name}`);
  /** More clients than a server's accept queue takes, which has room for nine; the server's port. */
  crowd = () => this.#ask("crowd");
  stop = () => this.#ask("stop");
  start = () => this.#ask("start");
}
