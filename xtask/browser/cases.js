// What the page must do, in the order of the making. Every case has a visit of its own; resets add up.

import assert from "node:assert/strict";
import { contrasts, overflow, paint } from "./look.js";
import { hostile } from "./hostile.js";

const PROMPT = 2000;

async function aResetIsThereAtOnce(visit, lab) {
  await visit.open();
  const port = await lab.row("3");
  const rows = visit.verdicts(`:${port}`);
  await rows.first().waitFor({ timeout: PROMPT });
  await visit.until("both ends", async () => (await rows.count()) === 2, PROMPT);
  for (const word of ["unread_data", "certain, by", "close() with 5 received bytes unread"]) {
    assert.equal(await rows.filter({ hasText: word }).count(), 2, word);
  }
}

async function theChartFollows(visit, lab) {
  await visit.open();
  const chart = visit.page.locator("#minutes");
  const sum = async () => Number(await chart.getAttribute("data-sum"));
  await visit.until("a first sum", async () => (await sum()) >= 2);
  const [before, refused] = [await sum(), await visit.legend("refused")];
  await lab.row("1");
  await visit.until("the legend", async () => (await visit.legend("refused")) === refused + 2 || (await visit.legend("refused")), PROMPT);
  assert.equal(await sum(), before + 2);
  assert.equal(await visit.legend("refused", 1), refused + 2, "since the start");
  assert.match(await chart.getAttribute("data-causes"), /^refused .*unread_data/, "the order of the vocabulary");
  const colours = await paint(visit.page, "#minutes canvas", ["--cause-refused", "--cause-unread_data"]);
  assert.ok(colours.every((pixels) => pixels > 20), `painted pixels: ${colours}`);
  await visit.page.hover("#minutes .u-over", { position: { x: 10, y: 50 } });
  await visit.until("what is under the pointer", async () => /\d\d:\d\d {2}\d+ reset/.test(await visit.page.textContent("#readout")));
}

async function idleTimesAndTimeouts(visit, lab) {
  await visit.open();
  const port = await lab.row("5");
  await visit.verdicts(`:${port}`).first().waitFor({ timeout: PROMPT });
  await visit.until("the timeout", async () => (await visit.page.locator("#timeouts tbody tr").filter({ hasText: `:${port}` }).count()) === 1, 8000);
  const [mark, bar] = await paint(visit.page, "#idle canvas", ["--mark", "--cause-idle_reaped"]);
  assert.ok(mark > 10 && bar > 20, `painted pixels: ${mark} ${bar}`);
}

async function aFullQueueIsThere(visit, lab) {
  await visit.open();
  const port = await lab.crowd();
  const row = visit.page.locator("#listeners tbody tr").filter({ hasText: `:${port}` });
  await visit.until("the full queue, its owner and its overflows", async () => {
    const text = (await row.count()) === 1 ? await row.textContent() : "";
    return (text.includes("lab-queue") && text.includes("9 / 9") && /[1-9]\d*$/.test(text.trim())) || text;
  }, 12_000);
}

async function filtersWork(visit, lab) {
  const port = await lab.row("2");
  await visit.open();
  const { page } = visit;
  await visit.until("both ends", async () => (await visit.verdicts(`:${port}`).count()) === 2);
  const all = await page.locator("details.verdict").count();
  const causes = () => page.locator("details.verdict .cause b").allTextContents();
  const one = async (what, is) => visit.until(what, async () => ((await is()) && (await causes()).length > 0 ? true : causes()));

  await visit.field("Cause").selectOption("linger_abort");
  await one("the cause alone", async () => (await causes()).every((cause) => cause === "linger_abort"));
  assert.equal(await page.getAttribute("#minutes", "data-causes"), "linger_abort");
  assert.ok(page.url().endsWith("#cause=linger_abort"), page.url());
  await page.locator("#legend button", { hasText: "unread_data" }).click();
  await one("by the legend", async () => (await causes()).every((cause) => cause === "unread_data"));
  assert.equal(await page.locator("#legend button[aria-pressed=true]").textContent(), "unread_data");
  await page.getByRole("button", { name: "Clear" }).click();
  await visit.until("all again", async () => (await causes()).length === all);

  await visit.field("Direction").selectOption("received");
  await one("the direction alone", async () => (await page.locator(".way").allTextContents()).every((way) => way === "received"));
  assert.match(await page.textContent("#sum"), /^0 sent, [1-9]/);
  await visit.field("Direction").selectOption("");

  await visit.field("Peer").fill(`:${port}`);
  await one("the peer alone", async () => (await page.locator(".flow").allTextContents()).every((flow) => flow.endsWith(`:${port}`)));
  assert.equal(await page.locator("details.verdict").count(), 1);
  assert.equal(await page.textContent("#shown"), `1 of ${all} verdicts fit the filter`);
  await visit.field("Peer").fill("");

  await visit.field("Workload").fill("nginx");
  await one("the workload alone", async () => (await page.locator(".owner").allTextContents()).every((owner) => owner.startsWith("nginx[")));

  // The address carries it all.
  const shared = new URL(page.url()).hash;
  await visit.open(`${shared}&direction=sent`);
  assert.equal(await visit.field("Workload").inputValue(), "nginx");
  assert.equal(await visit.field("Direction").inputValue(), "sent");
  await one("the shared view", async () => (await page.locator(".owner").allTextContents()).every((owner) => owner.startsWith("nginx[")));
  await visit.field("Workload").fill("no such");
  await page.getByText("No verdict fits the filter.").waitFor();
}

async function theListCanBePaused(visit, lab) {
  await visit.open();
  await visit.page.getByRole("button", { name: "Pause" }).click();
  const port = await lab.row("2");
  await visit.until("the note", async () => (await visit.page.textContent("#shown")).endsWith("2 waiting"), PROMPT);
  assert.equal(await visit.verdicts(`:${port}`).count(), 0);
  await visit.page.getByRole("button", { name: "Resume" }).click();
  await visit.until("both", async () => (await visit.verdicts(`:${port}`).count()) === 2);
}

async function theKeyboardUnfoldsTheAdvice(visit) {
  await visit.open();
  const { page } = visit;
  await page.locator("details.verdict").first().waitFor();
  const on = () => page.evaluate(() => document.activeElement.matches("details.verdict > summary"));
  for (let i = 0; i < 60 && !(await on()); i++) await page.keyboard.press("Tab");
  assert.ok(await on(), "Tab reaches a verdict");
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none", "focus shows");
  const row = page.locator("details.verdict:focus-within");
  assert.equal(await row.locator(".advice").count(), 0);
  await page.keyboard.press("Enter");
  await row.locator(".advice").waitFor({ state: "visible" });
  assert.ok((await row.locator(".advice").textContent()).length > 10);
  for (const part of ["What to change", "Evidence", "What was seen"]) assert.ok(await row.getByText(part).isVisible(), part);
  await page.keyboard.press("Enter");
  await row.locator(".advice").waitFor({ state: "hidden" });
}

async function newVerdictsLeaveTheOpenOneAlone(visit, lab) {
  await visit.open();
  const open = visit.page.locator("details.verdict[open]");
  await visit.page.locator("details.verdict > summary").first().click();
  const before = await open.locator("time").getAttribute("datetime");
  const legend = visit.page.locator("#legend button", { hasText: "linger_abort" });
  const counted = await visit.legend("linger_abort");
  await legend.focus();
  const port = await lab.row("2-client");
  await visit.until("both ends", async () => (await visit.verdicts(`:${port}`).count()) === 2, PROMPT);
  assert.equal(await open.locator("time").getAttribute("datetime"), before);
  await visit.until("the legend", async () => (await visit.legend("linger_abort")) === counted + 2, PROMPT);
  assert.ok(await legend.evaluate((it) => it === document.activeElement), "the focus stays");
  const times = await visit.page.locator("details.verdict time").evaluateAll((all) => all.map((it) => it.dateTime.slice(0, 19)));
  assert.deepEqual(times, times.toSorted().reverse(), "the newest first");
}

async function fitsAPhone(visit) {
  await visit.page.setViewportSize({ width: 375, height: 800 });
  await visit.open();
  await visit.page.locator("details.verdict > summary").first().click();
  await visit.page.locator("#probes summary").click();
  assert.deepEqual(await overflow(visit.page), []);
  for (const id of ["#minutes canvas", "#idle canvas"]) {
    const { width } = await visit.page.locator(id).boundingBox();
    assert.ok(width > 250 && width < 375, `${id}: ${width}`);
  }
}

async function lightAndDark(visit) {
  await visit.open();
  await visit.page.locator("details.verdict > summary").first().click();
  const background = () => visit.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const seen = new Set();
  for (const colorScheme of ["light", "dark"]) {
    await visit.page.emulateMedia({ colorScheme });
    // What has just arrived fades.
    await visit.page.evaluate(() => Promise.all(document.getAnimations().map((it) => it.finished)));
    seen.add(await background());
    assert.deepEqual(await contrasts(visit.page, 4.5), [], colorScheme);
    const [refused] = await paint(visit.page, "#minutes canvas", ["--cause-refused"]);
    assert.ok(refused > 20, `${colorScheme}: the chart has the scheme's colours`);
  }
  assert.equal(seen.size, 2);
}

async function worksWithoutScripts(visit) {
  const { page } = visit;
  const answer = await page.request.get(visit.url);
  const plain = /<noscript>(.*)<\/noscript>/s.exec(await answer.text())[1];
  assert.match(plain, /<td>unread_data<td>close\(\) with received data unread/);
  assert.match(plain, /<b>unread_data<\/b> certain, by/);
  assert.match(plain, /<td>tcp_send_reset<td>ok/);
  assert.ok(!plain.includes("<img") && !plain.includes("<script"), "hostile names are text");
}

async function itSaysWhenTheStreamEnds(visit, lab) {
  await visit.open();
  await lab.stop();
  await visit.state("reconnecting");
  assert.equal(await visit.page.textContent("#state"), "reconnecting");
  await lab.start();
  await visit.state("live");
  const port = await lab.row("2");
  await visit.verdicts(`:${port}`).first().waitFor({ timeout: PROMPT });
  visit.forgive();
}

async function aHiddenPageLetsGo(visit, lab) {
  await visit.open();
  const hide = (is) =>
    visit.page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, is);
  await hide(true);
  await visit.state("paused");
  const port = await lab.row("2");
  assert.equal(await visit.verdicts(`:${port}`).count(), 0);
  await hide(false);
  await visit.verdicts(`:${port}`).first().waitFor({ timeout: PROMPT });
  await visit.state("live");
}

/** The agent serves sixteen followers; who comes later still sees what happens. */
async function tooManyReaders(visit, lab) {
  const done = new AbortController();
  const follow = () => fetch(`${visit.url}api/v1/events?follow=1`, { signal: done.signal });
  const answers = await Promise.all(Array.from({ length: 16 }, follow));
  assert.ok(answers.every(({ status }) => status === 200));
  await visit.page.goto(visit.url);
  await visit.state("busy");
  const port = await lab.row("2");
  await visit.verdicts(`:${port}`).first().waitFor({ timeout: 8000 });
  done.abort();
  await visit.state("live");
  visit.forgive();
}

export const CASES = [
  ["a reset is on the page within 2 s", aResetIsThereAtOnce],
  ["chart and legend follow", theChartFollows],
  ["idle times, and timeouts marked", idleTimesAndTimeouts],
  ["a full accept queue, its owner and overflows", aFullQueueIsThere],
  ["filters by direction, cause, peer, workload; shared by address", filtersWork],
  ["the list can be paused", theListCanBePaused],
  ["the keyboard unfolds the advice", theKeyboardUnfoldsTheAdvice],
  ["new verdicts leave the open one alone", newVerdictsLeaveTheOpenOneAlone],
  ...hostile,
  ["fits a phone", fitsAPhone],
  ["light and dark are legible", lightAndDark],
  ["works without scripts", worksWithoutScripts],
  ["lets go of the stream while hidden", aHiddenPageLetsGo],
  ["reads without a stream where there are too many readers", tooManyReaders],
  ["says when the stream ends, and goes on", itSaysWhenTheStreamEnds],
];
