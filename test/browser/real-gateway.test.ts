/** The built page on the real gateway over a real store: what roles write there appears on the page. */
import type { Browser, BrowserContext } from "playwright-core";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { KEYS } from "../../src/names.ts";
import { axeViolations, isLoaded, launchBrowser, openPage } from "../support/browser.ts";
import { type BuiltPage, buildPage } from "../support/built-page.ts";
import { type GatewayWorld, gatewayWorld, TOKEN } from "../support/gateway.ts";
import { camera, keyGroup, outcome, previewOf, totals } from "../support/page-scenes.ts";
import { cropOf, streetPicture } from "../support/street-picture.ts";

let built: BuiltPage;
let browser: Browser;

beforeAll(async () => {
  [built, browser] = await Promise.all([buildPage(), launchBrowser()]);
});

afterAll(async () => {
  await browser.close();
  built.remove();
});

/** Closes the page and waits until the gateway has noted its sockets (one for pictures where there is a camera): a gateway that stops meanwhile would complain. */
async function leave(context: BrowserContext, { redis }: GatewayWorld, sockets = 2) {
  const before = (await redis.keys("vl:socket-session:*")).length;
  await context.close();
  await expect
    .poll(async () => (await redis.keys("vl:socket-session:*")).length)
    .toBeGreaterThanOrEqual(before + sockets);
}

test("cameras, verdicts with their crops, totals, key groups and pictures reach the page; a store that goes is said", async () => {
  const world = await gatewayWorld();
  const { redis, images } = world;
  const northGate = camera(1, { riskLevel: "medium" });
  const { status, risk, cameraId } = northGate.event;
  const alive = () => redis.hset(KEYS.cameras, cameraId, JSON.stringify({ ...status, atMs: Date.now() }));
  await alive();
  // As a detector does it, for as long as the test takes: a status that is not renewed would make the camera offline.
  const beating = setInterval(() => void alive().catch(() => {}), 1_000);
  onTestFinished(() => clearInterval(beating));
  await redis.hset(KEYS.risks, cameraId, JSON.stringify(risk));
  await redis.hset(KEYS.keyGroups, "sim-1", JSON.stringify(keyGroup(1)));
  await redis.hset(KEYS.totals, "json", JSON.stringify(totals({ groups: 4_711 })));
  const gateway = await world.start({ pageFolder: built.folder });
  const { page, context, complaints } = await openPage(browser, gateway.url());

  await page.locator('.camera-marker[title^="North Gate Medium"]').waitFor();
  await page.getByText("4,711").waitFor();
  await page.getByText("sim-1").waitFor();
  await page.getByText("Verdicts are simulated.").waitFor();
  await page.getByText("Nothing judged yet").waitFor();

  const street = await streetPicture(northGate.objects);
  const imageUrl = await images.put(cameraId, "group1", await cropOf(street, northGate.group));
  const { result } = outcome({ cameraId, level: "high", description: "Straight from the store." });
  await redis.xadd(KEYS.events, "*", "type", "outcome", "json", JSON.stringify({ ...result, imageUrl }));
  const item = page.locator("button[data-verdict]").first();
  await item.getByText("Straight from the store.").waitFor();
  await expect.poll(() => isLoaded(item.getByRole("img"))).toBe(true);

  const worse = { ...risk, riskLevel: "high", capturedAtMs: Date.now(), completedAtMs: Date.now() };
  await redis.hset(KEYS.risks, cameraId, JSON.stringify(worse));
  await redis.xadd(KEYS.events, "*", "type", "camera", "json", JSON.stringify({ cameraId, status: null, risk: worse }));
  await page.locator('.camera-marker[title^="North Gate High"]').waitFor();

  const header = Buffer.from(JSON.stringify(previewOf(northGate)));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(header.length);
  const preview = Buffer.concat([length, header, street]);
  await expect.poll(() => redis.publish(KEYS.preview(cameraId), preview)).toBe(1);
  await page.getByRole("img", { name: /^North Gate: 2 persons, 1 car/ }).waitFor();
  expect(await axeViolations(page)).toEqual([]);
  expect(complaints).toEqual([]);

  await world.store.kill("SIGKILL");
  await page.getByText("The store is away.").waitFor();
  await world.store.restart();
  await page.getByText("The store is away.").waitFor({ state: "detached" });
  await leave(context, world);
});

test("a camera whose status is not renewed is offline on the page", async () => {
  const world = await gatewayWorld();
  const { status, cameraId } = camera(0).event;
  await world.redis.hset(KEYS.cameras, cameraId, JSON.stringify({ ...status, atMs: Date.now() - 60_000 }));
  const gateway = await world.start({ pageFolder: built.folder });
  const { page, context } = await openPage(browser, gateway.url());
  await page.locator('.camera-marker[title^="Harbour Road Offline"]').waitFor();
  await page.getByText("its detector does not answer").waitFor();
  await leave(context, world);
});

test("beyond loopback the page asks for the token; with it everything comes, sockets too", async () => {
  const world = await gatewayWorld();
  await world.redis.hset(KEYS.totals, "json", JSON.stringify(totals({ groups: 4_711 })));
  const gateway = await world.start({ pageFolder: built.folder, host: "0.0.0.0" });
  const url = `http://127.0.0.1:${new URL(gateway.url()).port}`;
  const context = await browser.newContext({ locale: "en-GB" });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(url);
  await page.getByRole("heading", { name: "This page needs the token" }).waitFor();
  expect(await axeViolations(page)).toEqual([]);
  await page.getByLabel("Token").fill(TOKEN);
  await page.getByRole("button", { name: "Open" }).click();
  await page.locator("[data-loaded=true]").waitFor();
  expect(page.url()).toBe(`${url}/`);
  await page.getByText("4,711").waitFor();
  await world.redis.hset(KEYS.totals, "json", JSON.stringify(totals({ groups: 4_712 })));
  await page.getByText("4,712").waitFor(); // by the socket
  await leave(context, world, 1);
});
