/** The page as things happen: what arrives appears, what is lost is said, and everything can be reached by keyboard. */
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import {
  axeViolations,
  bringUp,
  isLoaded,
  launchBrowser,
  type OpenedPage,
  openPage,
  overflowPx,
  screenshot,
} from "../support/browser.ts";
import { type BuiltPage, buildPage } from "../support/built-page.ts";
import { type PageGateway, startPageGateway } from "../support/page-gateway.ts";
import { camera, change, health, keyGroup, outcome, SCENES, type Scene, totals } from "../support/page-scenes.ts";

let built: BuiltPage;
let browser: Browser;
let endings: (() => Promise<void>)[] = [];

beforeAll(async () => {
  [built, browser] = await Promise.all([buildPage(), launchBrowser()]);
});

afterEach(async () => {
  for (const end of endings.reverse()) await end();
  endings = [];
});

afterAll(async () => {
  await browser.close();
  built.remove();
});

async function open(
  scene: Scene,
  how: Parameters<typeof openPage>[2] = {},
): Promise<OpenedPage & { gateway: PageGateway }> {
  const gateway = await startPageGateway(built.folder, scene);
  endings.push(() => gateway.stop());
  const opened = await openPage(browser, gateway.url, how);
  endings.push(() => opened.context.close());
  return { ...opened, gateway };
}

const verdicts = (page: Page) => page.locator("button[data-verdict]");
const marker = (page: Page, name: string) => page.locator(`.camera-marker[title^="${name}"]`);

test("a verdict appears live, newest first, with crop, camera, model, and the plain mark that it is simulated", async () => {
  const { page, gateway } = await open(SCENES.busy());
  const before = await verdicts(page).count();
  gateway.emitOutcome(outcome({ level: "high", cameraId: "north-gate", description: "A child runs into the road." }));
  const first = verdicts(page).first();
  await first.getByText("A child runs into the road.").waitFor();
  expect(await verdicts(page).count()).toBeGreaterThanOrEqual(Math.min(before + 1, 12));
  for (const words of ["High", "simulated", "North Gate", "simulated-vl"]) {
    expect(await first.getByText(words, { exact: false }).count()).toBeGreaterThan(0);
  }
  const crop = first.getByRole("img");
  expect(await crop.getAttribute("alt")).toBe("Group 1: car, person");
  await expect.poll(() => isLoaded(crop)).toBe(true);
});

test("a real model's verdict bears no mark, and without simulated key groups no note says so", async () => {
  const scene = SCENES.busy();
  scene.snapshot.keyGroups = [keyGroup(1, { id: "qwen-a", simulated: false })];
  scene.snapshot.outcomes = [outcome({ simulated: false })];
  for (const each of scene.cameras) if (each.event.risk) each.event.risk.simulated = false;
  const { page } = await open(scene);
  await verdicts(page).first().getByText("qwen-vl-plus").waitFor();
  expect(await page.getByText("simulated").count()).toBe(0);
});

test.each(["failed", "expired", "superseded"] as const)(
  "a group that %s is shown as that, never as no risk",
  async (kind) => {
    const scene = SCENES.busy();
    scene.snapshot.outcomes = [
      outcome({ outcome: kind, error: { code: "ATTEMPTS_EXHAUSTED", message: "Why it came so." } }),
    ];
    const { page } = await open(scene);
    const item = verdicts(page).first();
    await item.getByText("no verdict").waitFor();
    expect(String(await item.textContent()).toLowerCase()).toContain(kind);
    expect(String(await item.textContent())).toContain("Why it came so.");
    expect(String(await item.textContent())).not.toMatch(/no risk|none/i);
  },
);

test("a retry by hand replaces its outcome and says so", async () => {
  const scene = SCENES.busy();
  scene.snapshot.outcomes = [outcome({ outcome: "failed", taskId: "t1" })];
  const { page, gateway } = await open(scene);
  await verdicts(page).first().getByText("Failed no verdict").waitFor();
  gateway.emitOutcome(outcome({ taskId: "t1", revision: 2, level: "medium" }));
  await verdicts(page).first().getByText("retried by hand").waitFor();
  expect(await verdicts(page).count()).toBe(1);
  gateway.emitOutcome(outcome({ outcome: "failed", taskId: "t1" })); // the older revision once more, late
  gateway.emitOutcome(outcome({ taskId: "t2", description: "Something later." }));
  await verdicts(page).first().getByText("Something later.").waitFor();
  expect(await page.getByText("Failed no verdict").count()).toBe(0);
});

test("a camera's marker and tile follow its verdicts; only a new high pulses; an older verdict changes nothing", async () => {
  const { page, gateway } = await open(SCENES.busy());
  const high = camera(1, { riskLevel: "high", description: "Closing in." });
  const older = camera(1, { riskLevel: "low", capturedAtMs: 1 });
  gateway.emitNews({
    cameras: [high],
    snapshot: { ...SCENES.busy().snapshot, cameras: [high.event, older.event], outcomes: [] },
  });
  await marker(page, "North Gate High").waitFor();
  expect(await page.locator('[data-pulses="true"]').count()).toBe(1);
  expect(await marker(page, "North Gate High").locator('[data-look="high"]').count()).toBe(1);
  await page.locator('[data-camera="north-gate"]').getByText("High").waitFor();
  await page.getByText("High risk at North Gate (simulated)").waitFor({ state: "attached" }); // for screen readers
});

test("with reduced motion nothing moves", async () => {
  const { page, gateway } = await open(SCENES.busy(), { stillness: true });
  gateway.emitNews(SCENES.highRisk());
  const pulse = page.locator('[data-pulses="true"] > span').first();
  await pulse.waitFor();
  expect(await page.evaluate("document.getAnimations().filter((a) => a.playState === 'running').length")).toBe(0);
});

test("boxes are drawn into the live picture before it is acknowledged", async () => {
  const { page, gateway } = await open(SCENES.busy());
  await gateway.watched(4);
  await gateway.sendFrames(); // resolves with the acknowledgements
  const canvas = page.locator('[data-camera="harbour-road"] canvas');
  expect(await canvas.getAttribute("aria-label")).toBe("Harbour Road: 2 cars, 1 person");
  // On the upper edge of the group's box, between its dashes and the objects' own lines, lies the group's orange.
  const orange = await page.evaluate(`(() => {
    const canvas = document.querySelector('[data-camera="harbour-road"] canvas');
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let found = 0;
    for (let i = 0; i < data.length; i += 4) if (data[i] > 230 && data[i + 1] > 150 && data[i + 1] < 200 && data[i + 2] < 40) found += 1;
    return found;
  })()`);
  expect(orange).toBeGreaterThan(100);
});

test("a lost socket is said at once, nothing looks live any more, and it comes back by itself", async () => {
  const { page, gateway } = await open(SCENES.busy());
  await marker(page, "North Gate Medium").waitFor();
  gateway.cutOff();
  await page.getByRole("alert").getByText("The connection is lost.").waitFor();
  await marker(page, "North Gate No live data").waitFor();
  expect(await page.locator('.camera-marker [data-look="away"]').count()).toBe(4);
  expect(await axeViolations(page)).toEqual([]);
  gateway.admit();
  await page.getByText("The connection is lost.").waitFor({ state: "detached" });
  await page.getByText("Live", { exact: true }).waitFor();
  gateway.emitOutcome(outcome({ description: "After the return." }));
  await verdicts(page).first().getByText("After the return.").waitFor();
});

test("a store that goes away and comes back is said, as are other problems", async () => {
  const { page, gateway } = await open(SCENES.busy());
  gateway.emitHealth(health({ ok: false, store: "away", problems: ["the store is away"] }));
  await page.getByText("The store is away.").waitFor();
  await page.getByText("Not live", { exact: true }).waitFor();
  await marker(page, "North Gate No live data").waitFor();
  gateway.emitHealth(health({ ok: false, problems: ["detector does not answer"] }));
  await page.getByRole("alert").getByText("detector does not answer").waitFor();
  expect(await page.getByText("The store is away.").count()).toBe(0);
  gateway.emitHealth(health());
  await page.getByRole("alert").getByText("detector does not answer").waitFor({ state: "detached" });
});

test("what is wrong with Kafka is said with its particulars and what waits, and goes when it is mended", async () => {
  const { page, gateway } = await open(SCENES.busy());
  const { health: troubled } = SCENES.kafkaAway().snapshot;
  const refused = "kafka-1:9092: user vigilane is not let in: SASL Authentication failed";
  const topics = troubled.topics && {
    ...{ ...troubled.topics, code: "BROKER_LOGIN_FAILED", message: refused, remedy: "Correct kafkaUser." },
    ...{ title: "Kafka refuses the login", noticed: [{ role: "detector", processes: 1, of: 3 }], problem: null },
  };
  gateway.emitHealth({ ...troubled, ok: true, problems: [], topics });
  const alert = page.getByRole("alert");
  await alert.getByText("Kafka refuses the login.").waitFor();
  await alert.getByText("noticed by 1 of 3 detectors.").waitFor();
  expect(await page.getByText("No new verdict arrives").count()).toBe(0); // of each role one still reaches it
  expect(await alert.getByText(refused).count()).toBe(0);
  await page.getByRole("button", { name: "4/7 roles ready" }).click();
  const menu = page.locator("#health");
  for (const words of [
    "Something is wrong",
    refused,
    "Correct kafkaUser.",
    "Results to be sent: 312 of at most 50,000",
  ])
    await menu.getByText(words).waitFor();
  expect(await menu.getByText("waits for Kafka").count()).toBe(3);
  expect(await axeViolations(page)).toEqual([]);
  gateway.emitHealth(health());
  await alert.getByText("Kafka refuses the login.").waitFor({ state: "detached" });
  await menu.getByText("All is well").waitFor();
});

test("the list can be paused and goes on with what was missed", async () => {
  const { page, gateway } = await open(SCENES.busy());
  await page.getByRole("button", { name: "Pause" }).click();
  gateway.emitOutcome(outcome({ description: "While you read." }));
  await page.getByRole("button", { name: "Paused · 1 new" }).waitFor();
  expect(await page.getByText("While you read.").count()).toBe(0);
  await page.getByRole("button", { name: "Paused · 1 new" }).click();
  await verdicts(page).first().getByText("While you read.").waitFor();
});

test("keyboard: J and K walk the verdicts, Enter opens one with its evidence, Esc returns; a marker filters by camera", async () => {
  const { page } = await open(SCENES.busy());
  await verdicts(page).first().focus();
  await page.keyboard.press("j");
  expect(await verdicts(page).nth(1).and(page.locator(":focus")).count()).toBe(1);
  await page.keyboard.press("k");
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Verdict" });
  await dialog.getByText("Key group").waitFor();
  expect(await axeViolations(page)).toEqual([]);
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  expect(await verdicts(page).first().and(page.locator(":focus")).count()).toBe(1);

  await marker(page, "North Gate").focus();
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Only North Gate: show all cameras" }).waitFor();
  const names = await verdicts(page).locator("b").allInnerTexts();
  expect(new Set(names)).toEqual(new Set(["North Gate"]));
});

test("a camera's large picture opens from its tile", async () => {
  const { page, gateway } = await open(SCENES.busy());
  await gateway.watched(4);
  await gateway.sendFrames();
  await page.locator('[data-camera="old-market"] button').first().click();
  const dialog = page.getByRole("dialog", { name: "Old Market" });
  await dialog.getByRole("img", { name: "Old Market: 1 bus, 1 bicycle" }).waitFor();
  expect(await axeViolations(page)).toEqual([]);
});

test("a camera without a place has its picture and verdicts, and the map says that it is missing", async () => {
  const scene = SCENES.busy();
  const status = scene.cameras[2]?.event.status;
  if (status) Object.assign(status, { lat: null, lon: null });
  const { page } = await open(scene);
  await page.getByText("1 without a place on the map").waitFor();
  await page.locator('[data-camera="old-market"]').waitFor();
  await expect.poll(() => page.locator(".camera-marker").count()).toBe(3);
});

const rows = (page: Page) => page.locator("[data-group]");

test("key groups: the state with its cause, the cool-down counting down, refusals by cause; trouble comes first", async () => {
  const { page, gateway } = await open(SCENES.busy());
  await page.getByText("10 groups, all ready").waitFor();
  await page.getByText("No key group has changed its state yet.").waitFor();
  expect(await rows(page).first().getAttribute("data-group")).toBe("sim-1");
  const cools = (over: object) =>
    gateway.emitKeyGroup(
      keyGroup(9, {
        state: "cooling",
        cause: "RATE_LIMITED",
        failures: { RATE_LIMITED: 3, CALL_TIMED_OUT: 1 },
        ...over,
      }),
    );
  cools({ coolingLeftMs: 20_000 });
  const first = rows(page).first();
  await first.getByText("Rate limited").first().waitFor();
  expect(await first.getAttribute("data-group")).toBe("sim-9");
  expect(String(await first.textContent())).toMatch(/Cooling (21|20|19) s/);
  expect(await first.getByText(/3 Rate limited|1 Call timed out/).allInnerTexts()).toEqual([
    "3 Rate limited",
    "1 Call timed out",
  ]);
  await first.getByText("Cooling 18 s").waitFor();
  cools({ coolingLeftMs: 19_500 }); // told late: the countdown does not jump back
  gateway.emitTotals(totals({ groups: 77_777 }));
  await page.getByText("77,777").waitFor();
  expect(String(await first.textContent())).toMatch(/Cooling 1[0-8] s/);
  gateway.emitKeyGroup(keyGroup(9, { state: "available" }));
  await page.getByText("10 groups, all ready").waitFor();
  expect(await rows(page).first().getAttribute("data-group")).toBe("sim-1");
});

test("key groups: calls at once have a bar beside the windows, where they are limited", async () => {
  const { page } = await open(SCENES.keyTrouble());
  const full = page.locator('[data-group="sim-4"]');
  await full.getByText("at once").waitFor();
  expect(await full.getByText("8/8", { exact: true }).count()).toBe(1);
  expect(await full.getByRole("meter", { name: "sim-4, maxConcurrent" }).getAttribute("aria-valuetext")).toBe("100%");
  expect(await rows(page).getByText("at once").count()).toBe(2);
});

test("key groups: changes appear newest first, each once, with key, cause and what is left", async () => {
  const { page, gateway } = await open(SCENES.busy());
  const old = change(60_000, { keyGroup: "sim-2", to: "unmanned", cause: null, untilMs: null });
  const fresh = change(1_000, {
    ...{ keyGroup: "sim-3", keyId: "key-003", to: "disabled", cause: "KEY_REJECTED" },
    untilMs: Date.now() + 600_000,
  });
  for (const each of [fresh, old, fresh]) gateway.emitKeyGroupChange(each);
  const list = page.getByRole("list", { name: "Latest changes of key groups" }).getByRole("listitem");
  await list.nth(1).waitFor();
  expect(await list.count()).toBe(2);
  expect(String(await list.first().textContent())).toMatch(/^sim-3Disabled.*key-003: Key rejected, 10 min left$/);
  expect(String(await list.nth(1).textContent())).toMatch(/^sim-2No worker/);
});

test.each(["wide", "phone"] as const)("a hundred key groups stay readable (%s)", async (size) => {
  const { page } = await open(SCENES.hundredKeyGroups(), { size });
  await page.getByText("100 groups: 1 disabled, 1 cooling").waitFor();
  const ids = await rows(page).evaluateAll((all) =>
    all.map((row) => (row as unknown as { dataset: { group: string } }).dataset.group),
  );
  expect(ids).toHaveLength(100);
  expect(ids.slice(0, 5)).toEqual(["sim-88", "sim-64", "sim-1", "sim-2", "sim-3"]);
  expect(ids.at(-1)).toBe("sim-100");
  const { height } = (await rows(page).nth(10).boundingBox()) ?? { height: 1_000 };
  expect(height).toBeLessThan(size === "wide" ? 48 : 120);
  // They scroll in a place of their own, which the keyboard reaches; the page does not grow with them.
  const place = page.getByRole("region", { name: "All key groups" });
  await place.focus();
  await page.keyboard.press("End");
  await expect
    .poll(() => place.evaluate((element) => (element as unknown as { scrollTop: number }).scrollTop))
    .toBeGreaterThan(1_000);
  await page.keyboard.press("Home");
  await expect.poll(() => place.evaluate((element) => (element as unknown as { scrollTop: number }).scrollTop)).toBe(0);
  expect(await overflowPx(page)).toBe(0);
  // The same rows, ten of them, are judged in states.test.ts; a hundred take half a minute.
  if (process.env.VIGILANE_LONG) expect(await axeViolations(page)).toEqual([]);
  await bringUp(page, "Key groups");
  await screenshot(page, "key-groups-hundred", size);
});
