/** The page in each of its states, at both sizes: what it says, that axe finds nothing, that nothing overflows. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { axeViolations, bringUp, launchBrowser, openPage, overflowPx, SIZES, screenshot } from "../support/browser.ts";
import { type BuiltPage, buildPage } from "../support/built-page.ts";
import { type PageGateway, startPageGateway } from "../support/page-gateway.ts";
import { SCENES, type Scene } from "../support/page-scenes.ts";

let built: BuiltPage;
let browser: Browser;

beforeAll(async () => {
  [built, browser] = await Promise.all([buildPage(), launchBrowser()]);
});

afterAll(async () => {
  await browser.close();
  built.remove();
});

interface State {
  /** Name of its screenshot. */
  picture: string;
  scene: () => Scene;
  /** What happens once the page is open. */
  happens?: (gateway: PageGateway) => void;
  /** Words that must be there. */
  says: string[];
  /** The panel that the picture is of; default: the page from its top. */
  panel?: string;
}

const STATES: State[] = [
  {
    picture: "empty",
    scene: SCENES.empty,
    says: ["No camera yet", "Nothing judged yet", "No key group yet", "No live picture yet"],
  },
  {
    picture: "busy",
    scene: SCENES.busy,
    says: ["Verdicts are simulated.", "4 of 4 online", "Superseded", "Not assessed"],
  },
  {
    picture: "offline-camera",
    scene: SCENES.offline,
    says: ["Offline for 4 min", "RTSP: connection refused; next try in 8 s", "Stalled", "every 2.4 s, asked 1 s"],
  },
  {
    picture: "kafka-away",
    scene: SCENES.kafkaAway,
    says: [
      "Kafka cannot be reached.",
      "What to do: Start the Kafka broker again",
      "(3 min), noticed by bridge, detector, results",
      "62 wait, 1,204 older ones dropped",
      "312 of at most 50,000 results wait in the store",
    ],
  },
  { picture: "store-away", scene: SCENES.storeAway, says: ["The store is away.", "No live data"] },
  {
    picture: "high-risk",
    scene: SCENES.busy,
    // A high risk is one that arrives, to a page that is open already.
    happens: (gateway) => gateway.emitNews(SCENES.highRisk(), 1),
    says: ["Two pedestrians on the crossing", "Cooling", "Disabled"],
  },
  {
    picture: "key-groups",
    scene: SCENES.keyTrouble,
    panel: "Key groups",
    says: [
      "10 groups: 1 disabled, 1 no worker, 1 cooling",
      "1 of 3 keys out",
      "Key rejected",
      "11 Rate per minute",
      "Balance",
      "at once",
      "no latency yet",
    ],
  },
  {
    picture: "connection-lost",
    scene: SCENES.busy,
    happens: (gateway) => gateway.cutOff(),
    says: ["The connection is lost.", "No live data"],
  },
];

const LONG = process.env.VIGILANE_LONG === "1";
/** The dark page has the same parts in other colours: of these, which hold all of them, it is looked at each time. */
const DARK_TOO = ["busy", "key-groups"];

/** Each is opened once, and looked at in a wide window and in a phone's; a page opened by a phone is in live.test.ts. */
describe.each(STATES)("$picture", ({ picture, scene, happens, says, panel }) => {
  test.each(LONG || DARK_TOO.includes(picture) ? [false, true] : [false])(
    "at both sizes (dark: %s)",
    {
      timeout: 90_000,
    },
    async (dark) => {
      const gateway = await startPageGateway(built.folder, scene());
      const { page, context, complaints } = await openPage(browser, gateway.url, { dark });
      try {
        const cameras = gateway.scene.cameras.length;
        if (cameras > 0) {
          await page
            .locator(".camera-marker")
            .nth(cameras - 1)
            .waitFor();
          await gateway.watched(cameras);
          await gateway.sendFrames();
          await page.locator('[data-picture="some"]').first().waitFor();
        }
        expect(complaints).toEqual([]); // of the policy, of pictures that are not there, of a script's faults
        happens?.(gateway);
        for (const words of says) await page.getByText(words).first().waitFor();
        for (const size of dark && !LONG ? (["wide"] as const) : (["wide", "phone"] as const)) {
          await page.setViewportSize(SIZES[size]);
          await page.evaluate("scrollTo(0, 0)");
          for (const words of says) await page.getByText(words).first().waitFor();
          expect(await axeViolations(page)).toEqual([]);
          expect(await overflowPx(page)).toBe(0);
          if (panel) await bringUp(page, panel);
          if (!dark || (picture === "busy" && size === "wide")) {
            await screenshot(page, dark ? `${picture}-dark` : picture, size);
          }
        }
      } finally {
        await context.close();
        await gateway.stop();
      }
    },
  );
});
