// One visit of the page in a browser profile of its own, with an eye on what must never happen.

import assert from "node:assert/strict";

export class Visit {
  #troubles = [];
  #context;

  static async begin(browser, url, options = {}) {
    const visit = new Visit();
    visit.url = url;
    visit.#context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", ...options });
    await visit.#context.addInitScript(() => {
      globalThis.violations = [];
      addEventListener("securitypolicyviolation", (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    });
    visit.page = await visit.#context.newPage();
    visit.#watch();
    return visit;
  }

  #watch() {
    const { page } = this;
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && this.#troubles.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => this.#troubles.push(`error: ${error.stack}`));
    page.on("dialog", (dialog) => (this.#troubles.push(`dialog: ${dialog.message()}`), dialog.dismiss()));
    page.on("request", (request) => new URL(request.url()).origin === new URL(this.url).origin || this.#troubles.push(`asked for ${request.url()}`));
  }

  /** Opens the page and waits until it is live. */
  async open(fragment = "") {
    await this.page.goto("about:blank");
    await this.page.goto(this.url + fragment);
    await this.state("live");
  }

  /** Waits for the word of the connection's state. */
  state = (word) => this.page.locator(`#state[data-state="${word}"]`).waitFor({ timeout: 15_000 });

  /** A field of the filter, by its label. */
  field = (label) => this.page.getByRole("form", { name: "Filter" }).getByLabel(label);

  /** The verdicts that hold this text. */
  verdicts = (text) => this.page.locator("details.verdict").filter({ hasText: text });

  /** Waits until it is true of the page; an error that says what was so instead. */
  async until(what, ask, timeout = 3000) {
    const end = Date.now() + timeout;
    for (;;) {
      const got = await ask();
      if (got === true) return;
      if (Date.now() > end) assert.fail(`${what}: still ${JSON.stringify(got)}`);
      await new Promise((next) => setTimeout(next, 20));
    }
  }

  /** A number in the legend. */
  async legend(cause, column = 0) {
    const cells = this.page.locator(`#legend tr[data-cause="${cause}"] td`);
    return (await cells.count()) > 0 ? Number((await cells.nth(column).textContent()).replaceAll(",", "")) : 0;
  }

  /** The agent refused or went away on purpose: that requests failed is no trouble. */
  forgive() {
    this.#troubles = this.#troubles.filter((trouble) => !/console: Failed to load resource: (net::ERR_|.*status of 503)/.test(trouble));
  }

  /** Nothing must have happened that must never happen. */
  async end() {
    const violations = await this.page.evaluate(() => globalThis.violations ?? []);
    assert.deepEqual([...this.#troubles, ...violations], []);
    await this.#context.close();
  }

  /** Without a last look. */
  close = () => this.#context.close();
}
