// Names, evidence and addresses that want to be markup or code. They must be shown as they are.

import assert from "node:assert/strict";

/** A process's name has 15 bytes at most. */
const NAMES = ["<img src=x o>", "<script>x()", "<b onclick=a()>", '"><svg/onload=', "javascript:a()"];

const MARKUP = '<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script>';

/** Nothing ran, and nothing of it became an element. */
async function isHarmless(page) {
  const places = "#verdicts, #legend, #filter, #probes, #listeners, #timeouts, #losses, #tables";
  const made = await page.evaluate((where) => {
    const inside = [...document.querySelectorAll(where)].flatMap((place) => [...place.querySelectorAll("img, script, svg, iframe, a")]);
    return [typeof globalThis.hacked, inside.length, document.querySelectorAll("script").length];
  }, places);
  assert.deepEqual(made, ["undefined", 0, 2]);
}

async function namesOfProcesses(visit, lab) {
  await visit.open();
  for (const name of NAMES) {
    const port = await lab.abort(name);
    const row = visit.verdicts(`:${port}`).filter({ hasText: "sent" });
    await row.waitFor({ timeout: 2000 });
    const owner = await row.locator(".owner").textContent();
    assert.ok(owner.startsWith(`${name}[`), owner);
    await row.locator("summary").click();
  }
  await visit.field("Workload").fill(NAMES[0]);
  await visit.until("the one", async () => (await visit.page.locator("details.verdict").count()) === 1);
  await isHarmless(visit.page);
}

async function fragments(visit) {
  const { page } = visit;
  const text = encodeURIComponent(MARKUP);
  await visit.open(`#cause=${text}&workload=${text}&peer=${text}&direction=${text}`);
  assert.equal(await visit.field("Cause").inputValue(), "");
  assert.equal(await visit.field("Direction").inputValue(), "");
  assert.equal(await visit.field("Workload").inputValue(), MARKUP);
  await page.getByText("No verdict fits the filter.").waitFor();
  await visit.open("#cause=__proto__&peer=%00%ff%F0&x=1");
  assert.equal(await visit.field("Cause").inputValue(), "");
  await isHarmless(page);
}

/** An agent whose every text is hostile, and whose queues and tables are full. */
async function everyText(visit) {
  const { page } = visit;
  const spoil = (value) => {
    if (Array.isArray(value)) return value.map(spoil);
    if (typeof value === "string") return MARKUP;
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, it]) => [key, KEPT.includes(key) ? it : spoil(it)]));
    return value;
  };
  const KEPT = ["time", "direction", "cause", "local"];
  await page.route(/api\/v1\/events\?advice/, async (route) => {
    const events = await (await route.fetch()).json();
    await route.fulfill({ json: events.map(spoil) });
  });
  await page.route(/api\/v1\/status/, async (route) => {
    const status = await (await route.fetch()).json();
    const workload = { kind: "pod", namespace: MARKUP, name: MARKUP, container: null };
    const queue = { address: "::", port: 443, workload, netns: 1, sockets: 1, length: 129, limit: 128, overflows: 1234 };
    const capacity = {
      listeners: [queue, { ...queue, address: MARKUP, length: 0, overflows: 0 }],
      unattributed_overflows: 3,
      conntrack: { entries: 250_000, limit: 262_144 },
      conntrack_elsewhere: [[4026532000, 7]],
      out_rsts_difference: -2,
      out_rsts_over: [1, 2],
      folded_overflows: 4,
      listeners_folded: 5,
      netns_unreadable: 1,
      conntrack_drops: { full: 7, early_drop: null, insert_failed: 0, invalid: 0 },
      stack: { orphans: 1, orphans_limit: 10, time_wait: null, time_wait_limit: null, memory_bytes: 2 ** 20, memory_limit_bytes: 2 ** 30 },
      probes: spoil(status.probes),
      lost: { ring_full: 12, [MARKUP]: 3 },
      totals: [...status.totals, { direction: "sent", cause: "unsampled", counts: 12 }],
    };
    await route.fulfill({ json: { ...status, ...capacity } });
  });
  await visit.open();
  await page.locator("details.verdict > summary").first().click();
  await page.locator("#probes > details > summary").click();
  assert.ok((await page.locator("details.verdict .advice").first().textContent()).includes(MARKUP));
  const listeners = await page.textContent("#listeners");
  for (const part of ["[::]:443", "129 / 129", "1,234", MARKUP, "3 overflows more", "5 listeners beyond the limit are not shown, with 4 overflows"]) assert.ok(listeners.includes(part), `${part} in ${listeners}`);
  assert.equal(await page.locator("#listeners .fill.full").count(), 1);
  const tables = await page.textContent("#tables");
  for (const part of ["250,000 of 262,144", "conntrack dropped: full 7", "conntrack, netns 40265320007 of 262,144", "1.0 MiB of 1.0 GiB"]) assert.ok(tables.includes(part), `${part} in ${tables}`);
  assert.ok(!tables.includes("TIME_WAIT"), "what was not seen is left out");
  assert.match(await page.textContent("#losses"), /12 resets without details.*ring_full/s);
  assert.ok((await page.textContent("#losses")).includes("by -2; before, it counted 1 more and 2 fewer; 1 network namespace could not be read."));
  assert.equal(await visit.legend("unsampled", 1), 12);
  await isHarmless(page);
}

export const hostile = [
  ["hostile names of processes are text", namesOfProcesses],
  ["hostile fragments are text", fragments],
  ["whatever the agent says is text; queues and tables", everyText],
];
