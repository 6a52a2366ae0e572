// A session with the page in its own browser context. It records errors, dialogs, requests to other hosts and CSP violations.

import assert from "node:assert/strict";

export class Session {
  #problems = [];
  #context;

  static async begin(browser, url, options = {}) {
    const session = new Session();
    session.url = url;
    session.#context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", ...options });
    await session.#context.addInitScript(() => {
      globalThis.violations = [];
      addEventListener("securitypolicyviolation", (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    });
    session.page = await session.#context.newPage();
    session.#watch();
    return session;
  }

  #watch() {
    const { page } = this;
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && this.#problems.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => this.#problems.push(`error: ${error.stack}`));
    page.on("dialog", (dialog) => (this.#problems.push(`dialog: ${dialog.message()}`), dialog.dismiss()));
    page.on("request", (request) => new URL(request.url()).origin === new URL(this.url).origin || this.#problems.push(`request to ${request.url()}`));
  }

  /** Opens the page and waits until it is live. */
  async open(fragment = "") {
    await this.page.goto("about:blank");
    await this.page.goto(this.url + fragment);
    await this.state("live");
  }

  /** Waits for a state of the connection. */
  state = (word) => this.page.locator(`#state[data-state="${word}"]`).waitFor({ timeout: 15_000 });

  /** A field of the filter by its label. */
  // A select's label holds its options too, so the label is matched at its beginning.
  field = (label) => this.page.getByRole("form", { name: "Filter" }).getByLabel(new RegExp(`^\\s*${label}\\b`));

  /** The verdicts that contain this text. */
  verdicts = (text) => this.page.locator("details.verdict").filter({ hasText: text });

  /** Waits until `ask` returns true; otherwise fails with the last value. */
  async until(what, ask, timeout = 3000) {
    const end = Date.now() + timeout;
    for (;;) {
      const got = await ask();
      if (got === true) return;
      if (Date.now() > end) assert.fail(`${what}: still ${JSON.stringify(got)}`);
      await new Promise((next) => setTimeout(next, 20));
    }
  }

  /** A count in the legend. */
  async legend(cause, column = 0) {
    const cells = this.page.locator(`#legend tr[data-cause="${cause}"] td`);
    return (await cells.count()) > 0 ? Number((await cells.nth(column).textContent()).replaceAll(",", "")) : 0;
  }

  /** Ignores failed requests, for cases in which the agent refuses them or is stopped. */
  ignoreFailedRequests() {
    this.#problems = this.#problems.filter((problem) => !/console: Failed to load resource: (net::ERR_|.*status of 503)/.test(problem));
  }

  /** Fails if anything was recorded, and closes the session. */
  async end() {
    const violations = await this.page.evaluate(() => globalThis.violations ?? []);
    assert.deepEqual([...this.#problems, ...violations], []);
    await this.#context.close();
  }

  /** Closes the session without checks. */
  close = () => this.#context.close();
}
