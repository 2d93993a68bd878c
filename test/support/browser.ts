/** Chromium for the page's tests: opened at a size, judged by axe, photographed on demand. Needs no network. */
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import axe from "axe-core";
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from "playwright-core";
import sharp from "sharp";

export const SIZES = { wide: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } } as const;
export type Size = keyof typeof SIZES;

export async function launchBrowser(): Promise<Browser> {
  return await chromium.launch({
    executablePath: process.env.CHROMIUM_PATH ?? "/usr/bin/chromium",
    args: [
      ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ],
  });
}

export interface OpenedPage {
  page: Page;
  context: BrowserContext;
  /** Errors and violated policies that the page has reported so far. */
  complaints: string[];
}

export async function openPage(
  browser: Browser,
  url: string,
  { size = "wide", dark = false, stillness = false }: { size?: Size; dark?: boolean; stillness?: boolean } = {},
): Promise<OpenedPage> {
  const context = await browser.newContext({
    viewport: SIZES[size],
    colorScheme: dark ? "dark" : "light",
    reducedMotion: stillness ? "reduce" : "no-preference",
    hasTouch: size === "phone",
    locale: "en-GB",
    timezoneId: "Europe/Berlin",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`${message.text()} (${message.location().url})`);
  });
  await page.goto(url);
  await page.locator("[data-loaded=true]").waitFor();
  return { page, context, complaints };
}

interface AxeResult {
  violations: { id: string; impact: string | null; nodes: { target: unknown; failureSummary?: string }[] }[];
}

/**
 * What axe finds wrong, one line for each element; empty when nothing. Runs in spite of the page's policy. Every rule is
 * tried on every element; what passed is not described (resultTypes), which is a third of axe's work.
 */
export async function axeViolations(page: Page): Promise<string[]> {
  if (await page.evaluate("typeof axe === 'undefined'")) await page.evaluate(axe.source);
  const { violations } = (await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")) as AxeResult;
  return violations.flatMap(({ id, impact, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id} (${impact}): ${JSON.stringify(target)} ${failureSummary ?? ""}`),
  );
}

/** Whether an <img> has its picture. */
export const isLoaded = (img: Locator) =>
  img.evaluate((element) => {
    const { complete, naturalWidth } = element as unknown as { complete: boolean; naturalWidth: number };
    return complete && naturalWidth > 0;
  });

/** How far the page's content is wider than its window, px; 0 when it fits. */
export async function overflowPx(page: Page): Promise<number> {
  return (await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")) as number;
}

/** Scrolls until the region of that title stands below the page's bar, as far as the page goes. */
export async function bringUp(page: Page, title: string): Promise<void> {
  const region = page.getByRole("region", { name: title, exact: true });
  await region.evaluate((element) => {
    const { style } = element as unknown as { style: { scrollMarginTop: string } };
    style.scrollMarginTop = "64px";
    (element as unknown as { scrollIntoView(where: object): void }).scrollIntoView({ block: "start" });
  });
}

/** Writes docs/screenshots/<name>-<width>x<height>.png when VIGILANE_SCREENSHOTS=1. */
export async function screenshot(page: Page, name: string, size: Size): Promise<void> {
  if (process.env.VIGILANE_SCREENSHOTS !== "1") return;
  const folder = resolve(import.meta.dirname, "../../docs/screenshots");
  mkdirSync(folder, { recursive: true });
  const { width, height } = SIZES[size];
  // Held at one moment, a pulse is seen.
  await page.evaluate("for (const each of document.getAnimations()) { each.pause(); each.currentTime = 500; }");
  const png = await page.screenshot();
  await sharp(png)
    .png({ palette: true, effort: 10 })
    .toFile(join(folder, `${name}-${width}x${height}.png`));
}
