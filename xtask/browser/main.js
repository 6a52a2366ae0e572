// Tests the agent's page in Chromium. `cargo xtask browser` runs it: node main.js CHROMIUM SCREENSHOTS MINUTES URL

import { chromium } from "playwright-core";
import { CASES } from "./cases.js";
import { Lab } from "./lab.js";
import { takeScreenshots } from "./screenshots.js";
import { Session } from "./session.js";

const [program, folder, minutes, url] = process.argv.slice(2);

/** Longer than the tests take; ends a run in which the browser hangs. */
const LIMIT = (180 + Number(minutes) * 70) * 1000;
setTimeout(() => fail(new Error(`the tests did not finish within ${LIMIT / 1000} s`)), LIMIT).unref();

/** Disables the browser's background requests, and resolves no host but the agent. */
const ARGS = [
  "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

function fail(error) {
  console.error(error.stack ?? error);
  process.exit(1);
}

async function main() {
  const browser = await chromium.launch({ executablePath: program, args: ARGS });
  const lab = new Lab();
  for (const [name, run] of CASES) {
    const begun = performance.now();
    const session = await Session.begin(browser, url);
    try {
      await run(session, lab);
      await session.end();
    } catch (error) {
      await session.page.screenshot({ path: `${folder}/failed.png` }).catch(() => {});
      error.stack = `${name}: ${error.stack}`;
      throw error;
    }
    console.error(`  ${name} (${((performance.now() - begun) / 1000).toFixed(1)} s)`);
  }
  await takeScreenshots(browser, lab, { url, folder, minutes: Number(minutes) });
  await browser.close();
}

main().then(() => process.exit(0), fail);
