// Names, evidence and URLs that contain markup or code. The page must show them as text.

import assert from "node:assert/strict";

/** Process names have at most 15 bytes. */
const NAMES = ["<img src=x o>", "<script>x()", "<b onclick=a()>", '"><svg/onload=', "javascript:a()"];

const MARKUP = '<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script>';

/** No code ran, and no text became an element. */
async function assertHarmless(page) {
  const containers = "#verdicts, #legend, #filter, #probes, #listeners, #timeouts, #losses, #tables";
  const made = await page.evaluate((where) => {
    const inside = [...document.querySelectorAll(where)].flatMap((container) => [...container.querySelectorAll("img, script, svg, iframe, a")]);
    return [typeof globalThis.hacked, inside.length, document.querySelectorAll("script").length];
  }, containers);
  assert.deepEqual(made, ["undefined", 0, 2]);
}

async function processNames(session, lab) {
  await session.open();
  for (const name of NAMES) {
    const port = await lab.abort(name);
    const row = session.verdicts(`:${port}`).filter({ hasText: "sent" });
    await row.waitFor({ timeout: 2000 });
    const owner = await row.locator(".owner").textContent();
    assert.ok(owner.startsWith(`${name}[`), owner);
    await row.locator("summary").click();
  }
  await session.field("Workload").fill(NAMES[0]);
  await session.until("a single verdict", async () => (await session.page.locator("details.verdict").count()) === 1);
  await assertHarmless(session.page);
}

async function urlFragments(session) {
  const { page } = session;
  const text = encodeURIComponent(MARKUP);
  await session.open(`#cause=${text}&workload=${text}&peer=${text}&direction=${text}`);
  assert.equal(await session.field("Cause").inputValue(), "");
  assert.equal(await session.field("Direction").inputValue(), "");
  assert.equal(await session.field("Workload").inputValue(), MARKUP);
  await page.getByText("No verdict matches the filter.").waitFor();
  await session.open("#cause=__proto__&peer=%00%ff%F0&x=1");
  assert.equal(await session.field("Cause").inputValue(), "");
  await assertHarmless(page);
}

/** Replaces the agent's text with markup, and reports full queues and tables. */
async function agentText(session) {
  const { page } = session;
  const spoil = (value) => {
    if (Array.isArray(value)) return value.map(spoil);
    if (typeof value === "string") return MARKUP;
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, it]) => [key, KEPT.includes(key) ? it : spoil(it)]));
    return value;
  };
  const KEPT = ["time", "direction", "cause", "local"];
  await page.route(/api\/v1\/events\?advice/, async (route) => {
    const events = await (await route.fetch()).json();
    // Some causes have no advice, so add it to every event.
    await route.fulfill({ json: events.map((event) => ({ ...spoil(event), advice: MARKUP })) });
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
  await session.open();
  await page.locator("details.verdict > summary").first().click();
  await page.locator("#probes > details > summary").click();
  assert.ok((await page.locator("details.verdict .advice").first().textContent()).includes(MARKUP));
  const listeners = await page.textContent("#listeners");
  for (const part of ["[::]:443", "129 / 129", "1,234", MARKUP, "3 more overflows", "Not shown: 5 listeners beyond the limit, with 4 overflows"]) assert.ok(listeners.includes(part), `${part} in ${listeners}`);
  assert.equal(await page.locator("#listeners .fill.full").count(), 1);
  const tables = await page.textContent("#tables");
  for (const part of ["250,000 of 262,144", "conntrack dropped: full 7", "conntrack, netns 40265320007 of 262,144", "1.0 MiB of 1.0 GiB"]) assert.ok(tables.includes(part), `${part} in ${tables}`);
  assert.ok(!tables.includes("TIME_WAIT"), "unknown values are left out");
  assert.match(await page.textContent("#losses"), /12 resets without details.*ring_full/s);
  assert.ok((await page.textContent("#losses")).includes("by -2; earlier differences: 1 more, 2 fewer; 1 network namespace could not be read."));
  assert.equal(await session.legend("unsampled", 1), 12);
  await assertHarmless(page);
}

export const hostile = [
  ["shows hostile process names as text", processNames],
  ["shows hostile URL fragments as text", urlFragments],
  ["shows all text of the agent as text; queues and tables", agentText],
];
