// The pictures of the documentation.

import { Visit } from "./visit.js";

/** What is made for them; what needs a program that is not here is left out. */
const ROWS = ["1", "3", "5", "4", "2", "8-input", "6a", "9", "4b", "16", "18a", "20", "13"];

/** Goes round until the minutes are over; at least the quick ones are made. */
async function make(lab, minutes) {
  const end = Date.now() + minutes * 60_000;
  const rows = minutes > 0 ? ROWS : ["1", "3", "5", "8-input"];
  for (let round = 0; round === 0 || Date.now() < end; round++) {
    for (const id of rows.filter((_, i) => round === 0 || (i * 7 + round * 5) % 4 !== 0)) {
      await lab.row(id).catch((error) => console.error(`  not in the picture: ${error.message}`));
      if (round > 0 && Date.now() >= end) break;
    }
  }
}

const PICTURES = [
  ["page-light.png", { viewport: { width: 1280, height: 1000 }, colorScheme: "light", deviceScaleFactor: 1.5 }],
  ["page-dark.png", { viewport: { width: 1280, height: 1000 }, colorScheme: "dark", deviceScaleFactor: 1.5 }],
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
