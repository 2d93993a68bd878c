/** /jobs in a real browser: bull-board in its frame under our policy, the waiting room and the outcomes beside it. */
import type { Browser } from "playwright-core";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AssessmentTask } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { axeViolations, launchBrowser, openPage, overflowPx, type Size } from "../support/browser.ts";
import { appendOutcomes, gatewayWorld, TOKEN, taskView } from "../support/gateway.ts";
import { runJobs } from "../support/jobs.ts";
import { resultOf } from "../support/results.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser.close());

const HOSTILE = '<img src=x onerror="document.title = 1">';

async function scene() {
  const world = await gatewayWorld();
  const group = {
    ...{ id: "sim-a", provider: "simulator", model: "sim-vl", simulated: true, state: "available", cause: null },
    ...{
      coolingLeftMs: 0,
      inFlight: 0,
      windows: [],
      calls: 0,
      ok: 0,
      rejected429: 0,
      failures: {},
      medianLatencyMs: null,
    },
  };
  await world.redis.hset(KEYS.keyGroups, "sim-a", JSON.stringify(group));
  const jpeg = await sharp({ create: { width: 80, height: 60, channels: 3, background: "#486" } })
    .jpeg()
    .toBuffer();
  const imageUrl = await world.images.put("north-gate", "m1", jpeg);
  const hostile = resultOf({ taskId: "m2_group1", outcome: "failed" });
  const error = { code: "VERDICT_UNREADABLE", message: HOSTILE };
  await appendOutcomes(world.redis, resultOf({ taskId: "m1_group1", riskLevel: "high", imageUrl }), {
    ...hostile,
    error,
  });
  const task = AssessmentTask.parse({
    ...{ taskId: "m3_group2", requestId: "m3", cameraId: "south-gate", timestamp: "", groupIndex: 2, imageUrl: null },
    ...{ objects: [], memberIndices: [], bbox: [0, 0, 1, 1], imageWidth: 1, imageHeight: 1, features: null },
    ...{ score: 0.75, capturedAtMs: 0, detectedAtMs: 0, freshnessSeconds: 10 },
  });
  world.waiting.tasks.set(task.taskId, taskView(task.taskId, { task, remainingMs: 4_000 }));
  return { world, url: (await world.start()).url() };
}

test.each<Size>(["wide", "phone"])("board, waiting room and outcomes in one frame (%s)", async (size) => {
  const { world, url } = await scene();
  const { page, context, complaints } = await openPage(browser, `${url}/jobs`, { size });
  try {
    await page.frameLocator("iframe").getByText("assess-sim-a").first().waitFor();
    const row = page.locator("#waiting tr");
    expect(await row.first().locator("td").allTextContents()).toEqual([
      "south-gate",
      "2",
      "0.75",
      expect.any(String),
      "4.0 s",
    ]);
    await page.getByText("north-gate · group 1: high (simulated)").waitFor();
    await page.getByText(HOSTILE).waitFor(); // as text
    expect(await page.title()).toContain("vigilane");

    await appendOutcomes(world.redis, resultOf({ taskId: "m4_group1", riskLevel: "medium" }));
    await page.getByText("north-gate · group 1: medium (simulated)").waitFor(); // by itself
    world.waiting.tasks.clear();
    await page.getByText("Nobody waits.").waitFor();
    expect(await axeViolations(page)).toEqual([]);
    expect(await overflowPx(page)).toBe(0);
    expect(complaints).toEqual([]);

    await world.store.kill("SIGKILL");
    await page.getByText(/Not up to date: the store is away/).waitFor();
  } finally {
    await context.close();
  }
});

test("a session opened by the address with the token may retry; the board's page sends its XSRF token", async () => {
  const { world, url } = await scene();
  await runJobs(world, "sim-a", ["m2_group1"]);
  const { page, context, complaints } = await openPage(browser, `${url}/jobs`);
  try {
    await page.goto(`${url}/?token=${TOKEN}`);
    expect(page.url()).toBe(`${url}/`);
    expect(await context.cookies().then((all) => all.map(({ name, httpOnly }) => [name, httpOnly]).sort())).toEqual([
      ["XSRF-TOKEN", false],
      ["vigilane_session", true],
    ]);
    await page.goto(`${url}/jobs/board/queue/assess-sim-a?status=failed`);
    const answered = page.waitForResponse((response) => response.request().method() === "PUT");
    await page
      .getByRole("button", { name: /retry all/i })
      .first()
      .click();
    await page.getByRole("button", { name: /confirm/i }).click();
    expect((await answered).status()).toBe(200);
    expect(world.waiting.reopened).toEqual(["m2_group1"]);
    expect(complaints.filter((text) => !text.includes("favicon"))).toEqual([]);
  } finally {
    await context.close();
  }
});
