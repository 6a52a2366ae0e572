// Takes the screenshots of the documentation.

import { Session } from "./session.js";

/** A few quick rows, for test runs. */
const FEW = ["1", "3", "5", "8-input"];

/** A typical mix of rows: mostly reaped idle connections, and some of each other cause. */
const MIX = ["5", "1", "3", "5", "16", "5", "8-input", "2", "5", "6a", "1", "18a", "5", "9", "3", "4b", "5", "13"];

/** A server dies with many connections and refuses new ones until it restarts. */
const CRASH = ["4-many", "1", "1", "4", "1"];
const CRASH_INTERVAL = 4 * 60_000;

const pause = (ms) => new Promise((next) => setTimeout(next, ms));

async function makeResets(lab, minutes) {
  const row = (id) => lab.row(id).catch((error) => console.error(`  skipped: ${error.message}`));
  if (minutes === 0) return void (await inTurn(FEW, row));
  await lab.overflow();
  const begun = Date.now();
  let crashes = 0;
  for (let i = 0; Date.now() < begun + minutes * 60_000; i++) {
    await row(MIX[i % MIX.length]);
    await pause(400 + 300 * (i % 5));
    if (Date.now() < begun + (crashes + 0.5) * CRASH_INTERVAL) continue;
    crashes++;
    await inTurn(CRASH, row);
  }
  // The screenshots open this verdict, so it must be on top.
  await row("5");
}

async function inTurn(ids, row) {
  for (const id of ids) await row(id);
}

const SCREENSHOTS = [
  ["page-light.png", { viewport: { width: 1280, height: 1750 }, colorScheme: "light", deviceScaleFactor: 1.5 }],
  ["page-dark.png", { viewport: { width: 1280, height: 1750 }, colorScheme: "dark", deviceScaleFactor: 1.5 }],
  ["page-phone.png", { viewport: { width: 375, height: 1250 }, colorScheme: "light", deviceScaleFactor: 1.5 }],
];

/** Makes resets for some minutes, then writes each screenshot to the folder. */
export async function takeScreenshots(browser, lab, { url, folder, minutes }) {
  await makeResets(lab, minutes);
  for (const [name, options] of SCREENSHOTS) {
    const session = await Session.begin(browser, url, options);
    await session.open();
    await session.until("a chart", async () => Number(await session.page.getAttribute("#minutes", "data-sum")) > 0);
    await session.page.locator('details.verdict[data-cause="idle_reaped"] > summary').first().click();
    await session.page.evaluate(() => scrollTo(0, 0));
    // New verdicts fade in.
    await session.page.evaluate(() => Promise.all(document.getAnimations().map((it) => it.finished)));
    await session.page.screenshot({ path: `${folder}/${name}` });
    await session.close();
  }
}
