/** The page in each of its states, at both sizes: what it says, that axe finds nothing, that nothing overflows. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { axeViolations, launchBrowser, openPage, overflowPx, type Size, screenshot } from "../support/browser.ts";
import { type BuiltPage, buildPage } from "../support/built-page.ts";
import { startPageGateway } from "../support/page-gateway.ts";
import { SCENES, type SceneName } from "../support/page-scenes.ts";

let built: BuiltPage;
let browser: Browser;

beforeAll(async () => {
  [built, browser] = await Promise.all([buildPage(), launchBrowser()]);
});

afterAll(async () => {
  await browser.close();
  built.remove();
});

/** For each state: the name of its picture, and words that must be there. */
const STATES: Record<SceneName, { picture: string; says: string[] }> = {
  empty: { picture: "empty", says: ["No camera yet", "Nothing judged yet", "No key group yet", "No live picture yet"] },
  busy: { picture: "busy", says: ["Verdicts are simulated.", "4 of 4 online", "Superseded", "Not assessed"] },
  offline: {
    picture: "offline-camera",
    says: ["Offline for 4 min", "RTSP: connection refused; next try in 8 s", "Stalled", "every 2.4 s, asked 1 s"],
  },
  storeAway: { picture: "store-away", says: ["The store is away."] },
  highRisk: { picture: "high-risk", says: ["Two pedestrians on the crossing", "Cooling", "Disabled"] },
};

describe.each(Object.entries(STATES))("%s", (name, { picture, says }) => {
  test.each<[Size, boolean]>([
    ["wide", false],
    ["phone", false],
    ["wide", true],
  ])("at size %s (dark: %s)", async (size, dark) => {
    const scene = SCENES[name as SceneName]();
    // A high risk is one that arrives: it is told by events, to a page that is open already.
    const gateway = await startPageGateway(built.folder, name === "highRisk" ? SCENES.busy() : scene);
    const { page, context, complaints } = await openPage(browser, gateway.url, { size, dark });
    try {
      if (name === "highRisk") {
        gateway.emitScene({ ...scene, snapshot: { ...scene.snapshot, outcomes: scene.snapshot.outcomes.slice(0, 1) } });
      }
      for (const words of says) await page.getByText(words).first().waitFor();
      if (scene.cameras.length > 0) {
        await page
          .locator(".camera-marker")
          .nth(scene.cameras.length - 1)
          .waitFor();
        // Only what is in view is watched, and on a phone that is not all of them.
        await page.getByRole("list", { name: "Cameras" }).scrollIntoViewIfNeeded();
        await gateway.watched(size === "wide" ? scene.cameras.length : 1);
        await gateway.sendFrames();
        await page.locator('[data-picture="some"]').first().waitFor();
        await page.evaluate("scrollTo(0, 0)");
      }
      expect(await axeViolations(page)).toEqual([]);
      expect(await overflowPx(page)).toBe(0);
      if (!dark || name === "busy") await screenshot(page, dark ? `${picture}-dark` : picture, size);
      expect(complaints).toEqual([]);
    } finally {
      await context.close();
      await gateway.stop();
    }
  });
});
