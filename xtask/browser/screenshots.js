// The pictures of the documentation.

import { Visit } from "./visit.js";

/** Quick ones, where there is no time. */
const FEW = ["1", "3", "5", "8-input"];

/** A day of a host that is not well: mostly connections reaped while idle, and of everything else a little. */
const DAY = ["5", "1", "3", "5", "16", "5", "8-input", "2", "5", "6a", "1", "18a", "5", "9", "3", "4b", "5", "13"];

/** And now and then a server dies with many connections, and refuses new ones until it is back. */
const CRASH = ["4-many", "1", "1", "4", "1"];
const CRASHES = 4 * 60_000;

const pause = (ms) => new Promise((next) => setTimeout(next, ms));

async function make(lab, minutes) {
  const row = (id) => lab.row(id).catch((error) => console.error(`  not in the picture: ${error.message}`));
  if (minutes === 0) return void (await inTurn(FEW, row));
  await lab.crowd();
  const begun = Date.now();
  let crashes = 0;
  for (let i = 0; Date.now() < begun + minutes * 60_000; i++) {
    await row(DAY[i % DAY.length]);
    await pause(400 + 300 * (i % 5));
    if (Date.now() < begun + (crashes + 0.5) * CRASHES) continue;
    crashes++;
    await inTurn(CRASH, row);
  }
  // What the picture unfolds stands on top.
  await row("5");
}

async function inTurn(ids, row) {
  for (const id of ids) await row(id);
}

const PICTURES = [
  ["page-light.png", { viewport: { width: 1280, height: 1750 }, colorScheme: "light", deviceScaleFactor: 1.5 }],
  ["page-dark.png", { viewport: { width: 1280, height: 1750 }, colorScheme: "dark", deviceScaleFactor: 1.5 }],
  ["page-phone.png", { viewport: { width: 375, height: 1250 }, colorScheme: "light", deviceScaleFactor: 1.5 }],
];

export async function takePictures(browser, lab, { url, pictures, minutes }) {
  await make(lab, minutes);
  for (const [name, options] of PICTURES) {
    const visit = await Visit.begin(browser, url, options);
    await visit.open();
    await visit.until("a chart", async () => Number(await visit.page.getAttribute("#minutes", "data-sum")) > 0);
    await visit.page.locator('details.verdict[data-cause="idle_reaped"] > summary').first().click();
    await visit.page.evaluate(() => scrollTo(0, 0));
    // What has just arrived fades.
    await visit.page.evaluate(() => Promise.all(document.getAnimations().map((it) => it.finished)));
    await visit.page.screenshot({ path: `${pictures}/${name}` });
    await visit.close();
  }
}
