// The test cases, in the order in which they run. Each has its own session, but resets accumulate.

import assert from "node:assert/strict";
import { lowContrast, overflow, countPixels } from "./measure.js";
import { hostile } from "./hostile.js";

/** Maximum delay until a reset appears on the page, in milliseconds. */
const MAX_DELAY = 2000;

async function showsNewResets(session, lab) {
  await session.open();
  const port = await lab.row("3");
  const rows = session.verdicts(`:${port}`);
  await rows.first().waitFor({ timeout: MAX_DELAY });
  await session.until("both ends", async () => (await rows.count()) === 2, MAX_DELAY);
  for (const word of ["unread_data", "certain, by", "close() with 5 received bytes unread"]) {
    assert.equal(await rows.filter({ hasText: word }).count(), 2, word);
  }
}

async function updatesChartAndLegend(session, lab) {
  await session.open();
  const chart = session.page.locator("#minutes");
  const sum = async () => Number(await chart.getAttribute("data-sum"));
  await session.until("a first sum", async () => (await sum()) >= 2);
  const [before, refused] = [await sum(), await session.legend("refused")];
  await lab.row("1");
  await session.until("the legend", async () => (await session.legend("refused")) === refused + 2 || (await session.legend("refused")), MAX_DELAY);
  assert.equal(await sum(), before + 2);
  assert.equal(await session.legend("refused", 1), refused + 2, "since the start");
  assert.match(await chart.getAttribute("data-causes"), /^refused .*unread_data/, "the order of the vocabulary");
  const colours = await countPixels(session.page, "#minutes canvas", ["--cause-refused", "--cause-unread_data"]);
  assert.ok(colours.every((pixels) => pixels > 20), `painted pixels: ${colours}`);
  await session.page.hover("#minutes .u-over", { position: { x: 10, y: 50 } });
  await session.until("the readout", async () => /\d\d:\d\d {2}\d+ reset/.test(await session.page.textContent("#readout")));
}

async function showsIdleTimeouts(session, lab) {
  await session.open();
  const port = await lab.row("5");
  await session.verdicts(`:${port}`).first().waitFor({ timeout: MAX_DELAY });
  await session.until("the timeout", async () => (await session.page.locator("#timeouts tbody tr").filter({ hasText: `:${port}` }).count()) === 1, 8000);
  const [mark, bar] = await countPixels(session.page, "#idle canvas", ["--mark", "--cause-idle_reaped"]);
  assert.ok(mark > 10 && bar > 20, `painted pixels: ${mark} ${bar}`);
}

async function showsFullQueues(session, lab) {
  await session.open();
  const port = await lab.overflow();
  const row = session.page.locator("#listeners tbody tr").filter({ hasText: `:${port}` });
  await session.until("the full queue with owner and overflows", async () => {
    const text = (await row.count()) === 1 ? await row.textContent() : "";
    return (text.includes("lab-queue") && text.includes("9 / 9") && /[1-9]\d*$/.test(text.trim())) || text;
  }, 12_000);
}

async function filters(session, lab) {
  const port = await lab.row("2");
  await session.open();
  const { page } = session;
  await session.until("both ends", async () => (await session.verdicts(`:${port}`).count()) === 2);
  const all = await page.locator("details.verdict").count();
  const causes = () => page.locator("details.verdict .cause b").allTextContents();
  const only = async (what, is) => session.until(what, async () => ((await is()) && (await causes()).length > 0 ? true : causes()));

  await session.field("Cause").selectOption("linger_abort");
  await only("the cause", async () => (await causes()).every((cause) => cause === "linger_abort"));
  assert.equal(await page.getAttribute("#minutes", "data-causes"), "linger_abort");
  assert.ok(page.url().endsWith("#cause=linger_abort"), page.url());
  await page.locator("#legend button", { hasText: "unread_data" }).click();
  await only("the cause from the legend", async () => (await causes()).every((cause) => cause === "unread_data"));
  assert.equal(await page.locator("#legend button[aria-pressed=true]").textContent(), "unread_data");
  await page.getByRole("button", { name: "Clear" }).click();
  await session.until("all verdicts", async () => (await causes()).length === all);

  await session.field("Direction").selectOption("received");
  await only("the direction", async () => (await page.locator(".flow .direction").allTextContents()).every((direction) => direction === "received"));
  assert.match(await page.textContent("#sum"), /^0 sent, [1-9]/);
  await session.field("Direction").selectOption("");

  await session.field("Peer").fill(`:${port}`);
  await only("the peer", async () => (await page.locator(".flow").allTextContents()).every((flow) => flow.endsWith(`:${port}`)));
  assert.equal(await page.locator("details.verdict").count(), 1);
  assert.equal(await page.textContent("#shown"), `1 of ${all} verdicts match the filter`);
  await session.field("Peer").fill("");

  await session.field("Workload").fill("nginx");
  await only("the workload", async () => (await page.locator(".owner").allTextContents()).every((owner) => owner.startsWith("nginx[")));

  // The URL contains the whole filter.
  const shared = new URL(page.url()).hash;
  await session.open(`${shared}&direction=sent`);
  assert.equal(await session.field("Workload").inputValue(), "nginx");
  assert.equal(await session.field("Direction").inputValue(), "sent");
  await only("the filter of the shared URL", async () => (await page.locator(".owner").allTextContents()).every((owner) => owner.startsWith("nginx[")));
  await session.field("Workload").fill("no such");
  await page.getByText("No verdict matches the filter.").waitFor();
}

async function pausesTheList(session, lab) {
  await session.open();
  await session.page.getByRole("button", { name: "Pause" }).click();
  const port = await lab.row("2");
  await session.until("the number of waiting verdicts", async () => (await session.page.textContent("#shown")).endsWith("2 waiting"), MAX_DELAY);
  assert.equal(await session.verdicts(`:${port}`).count(), 0);
  await session.page.getByRole("button", { name: "Resume" }).click();
  await session.until("both", async () => (await session.verdicts(`:${port}`).count()) === 2);
}

async function opensAdviceByKeyboard(session) {
  await session.open();
  const { page } = session;
  await page.locator("details.verdict").first().waitFor();
  const on = () => page.evaluate(() => document.activeElement.matches("details.verdict > summary"));
  for (let i = 0; i < 60 && !(await on()); i++) await page.keyboard.press("Tab");
  assert.ok(await on(), "Tab focuses a verdict");
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none", "the focus is visible");
  const row = page.locator("details.verdict:focus-within");
  assert.equal(await row.locator(".advice").count(), 0);
  await page.keyboard.press("Enter");
  await row.locator(".advice").waitFor({ state: "visible" });
  assert.ok((await row.locator(".advice").textContent()).length > 10);
  for (const part of ["What to do", "Evidence", "Observed values"]) assert.ok(await row.getByText(part).isVisible(), part);
  await page.keyboard.press("Enter");
  await row.locator(".advice").waitFor({ state: "hidden" });
}

async function keepsOpenVerdicts(session, lab) {
  await session.open();
  const open = session.page.locator("details.verdict[open]");
  await session.page.locator("details.verdict > summary").first().click();
  const before = await open.locator("time").getAttribute("datetime");
  const legend = session.page.locator("#legend button", { hasText: "linger_abort" });
  const counted = await session.legend("linger_abort");
  await legend.focus();
  const port = await lab.row("2-client");
  await session.until("both ends", async () => (await session.verdicts(`:${port}`).count()) === 2, MAX_DELAY);
  assert.equal(await open.locator("time").getAttribute("datetime"), before);
  await session.until("the legend", async () => (await session.legend("linger_abort")) === counted + 2, MAX_DELAY);
  assert.ok(await legend.evaluate((it) => it === document.activeElement), "the focus stays");
  const times = await session.page.locator("details.verdict time").evaluateAll((all) => all.map((it) => it.dateTime.slice(0, 19)));
  assert.deepEqual(times, times.toSorted().reverse(), "newest first");
}

async function fitsPhones(session) {
  await session.page.setViewportSize({ width: 375, height: 800 });
  await session.open();
  await session.page.locator("details.verdict > summary").first().click();
  await session.page.locator("#probes summary").click();
  assert.deepEqual(await overflow(session.page), []);
  for (const id of ["#minutes canvas", "#idle canvas"]) {
    const { width } = await session.page.locator(id).boundingBox();
    assert.ok(width > 250 && width < 375, `${id}: ${width}`);
  }
}

async function supportsLightAndDark(session) {
  await session.open();
  await session.page.locator("details.verdict > summary").first().click();
  const background = () => session.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const seen = new Set();
  for (const colorScheme of ["light", "dark"]) {
    await session.page.emulateMedia({ colorScheme });
    // New verdicts fade in.
    await session.page.evaluate(() => Promise.all(document.getAnimations().map((it) => it.finished)));
    seen.add(await background());
    assert.deepEqual(await lowContrast(session.page, 4.5), [], colorScheme);
    const [refused] = await countPixels(session.page, "#minutes canvas", ["--cause-refused"]);
    assert.ok(refused > 20, `${colorScheme}: the chart uses the colours of the scheme`);
  }
  assert.equal(seen.size, 2);
}

async function worksWithoutJavaScript(session) {
  const { page } = session;
  const answer = await page.request.get(session.url);
  const plain = /<noscript>(.*)<\/noscript>/s.exec(await answer.text())[1];
  assert.match(plain, /<td>unread_data<td>close\(\) with received data unread/);
  assert.match(plain, /<b>unread_data<\/b> certain, by/);
  assert.match(plain, /<td>tcp_send_reset<td>ok/);
  assert.ok(!plain.includes("<img") && !plain.includes("<script"), "hostile names are shown as text");
}

async function reconnects(session, lab) {
  await session.open();
  await lab.stop();
  await session.state("reconnecting");
  assert.equal(await session.page.textContent("#state"), "reconnecting");
  await lab.start();
  await session.state("live");
  const port = await lab.row("2");
  await session.verdicts(`:${port}`).first().waitFor({ timeout: MAX_DELAY });
  session.ignoreFailedRequests();
}

async function closesTheStreamWhileHidden(session, lab) {
  await session.open();
  const hide = (is) =>
    session.page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, is);
  await hide(true);
  await session.state("paused");
  const port = await lab.row("2");
  assert.equal(await session.verdicts(`:${port}`).count(), 0);
  await hide(false);
  await session.verdicts(`:${port}`).first().waitFor({ timeout: MAX_DELAY });
  await session.state("live");
}

/** The agent serves sixteen followers; a page beyond that polls instead. */
async function pollsWithoutAStream(session, lab) {
  const done = new AbortController();
  const follow = () => fetch(`${session.url}api/v1/events?follow=1`, { signal: done.signal });
  const answers = await Promise.all(Array.from({ length: 16 }, follow));
  assert.ok(answers.every(({ status }) => status === 200));
  await session.page.goto(session.url);
  await session.state("busy");
  const port = await lab.row("2");
  await session.verdicts(`:${port}`).first().waitFor({ timeout: 8000 });
  done.abort();
  await session.state("live");
  session.ignoreFailedRequests();
}

export const CASES = [
  ["shows a reset within 2 s", showsNewResets],
  ["updates chart and legend", updatesChartAndLegend],
  ["shows idle times and marks timeouts", showsIdleTimeouts],
  ["shows a full accept queue with owner and overflows", showsFullQueues],
  ["filters by direction, cause, peer and workload, and from the URL", filters],
  ["pauses the list", pausesTheList],
  ["opens advice by keyboard", opensAdviceByKeyboard],
  ["keeps an open verdict open", keepsOpenVerdicts],
  ...hostile,
  ["fits phones", fitsPhones],
  ["is legible in light and dark", supportsLightAndDark],
  ["works without JavaScript", worksWithoutJavaScript],
  ["closes the stream while hidden", closesTheStreamWhileHidden],
  ["polls if there are too many followers", pollsWithoutAStream],
  ["reports a lost stream and reconnects", reconnects],
];
