// The agent's page in Chromium. Run by `cargo xtask browser`: node main.js CHROMIUM PICTURES MINUTES URL

import { chromium } from "playwright-core";
import { CASES } from "./cases.js";
import { Lab } from "./lab.js";
import { takePictures } from "./pictures.js";
import { Visit } from "./visit.js";

const [program, pictures, minutes, url] = process.argv.slice(2);

/** Nothing here takes so long; a browser that hangs must not hold the tests. */
const LIMIT = (180 + Number(minutes) * 70) * 1000;
setTimeout(() => fail(new Error(`not done within ${LIMIT / 1000} s`)), LIMIT).unref();

/** No host but the agent is to be found, and the browser has no business of its own. */
const QUIET = [
  "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

function fail(error) {
  console.error(error.stack ?? error);
  process.exit(1);
}

async function main() {
  const browser = await chromium.launch({ executablePath: program, args: QUIET });
  const lab = new Lab();
  for (const [name, run] of CASES) {
    const begun = performance.now();
    const visit = await Visit.begin(browser, url);
    try {
      await run(visit, lab);
      await visit.end();
    } catch (error) {
      await visit.page.screenshot({ path: `${pictures}/failed.png` }).catch(() => {});
      error.stack = `${name}: ${error.stack}`;
      throw error;
    }
    console.error(`  ${name} (${((performance.now() - begun) / 1000).toFixed(1)} s)`);
  }
  await takePictures(browser, lab, { url, pictures, minutes: Number(minutes) });
  await browser.close();
}

main().then(() => process.exit(0), fail);
