/** `vigilane load`: offers detections of cameras that are none to the running system, and reports what became of them. */
import { writeFileSync } from "node:fs";
import { type LoadedSettings, loadSettings, wrongSettings } from "../config.ts";
import { type Context, createLogger, systemClock } from "../context.ts";
import { loadKeySet } from "../keys/load-key-set.ts";
import { Acquired } from "../lifecycle.ts";
import { ensureLoadCrops } from "../roles/load-crops.ts";
import { openImageStore } from "../roles/open-image-store.ts";
import type { Settings } from "../settings.ts";
import { createCameraLoad } from "../simulator/camera-load.ts";
import { createAudit } from "../supervisor/audit.ts";
import { quotaWarning } from "../supervisor/capacity.ts";
import { faultsOf, showReport } from "../supervisor/report.ts";
import { onStopSignals } from "../supervisor/stop-signals.ts";
import { prettyLine } from "../supervisor/terminal.ts";
import { openTopicLog } from "../topics/open-topic-log.ts";
import { nothingRuns, runningSystem } from "./running-system.ts";

/** What is offered. `rate`: groups a second of each camera. */
export interface Offer {
  cameras: number;
  rate: number;
  seconds: number;
  arrivals: "poisson" | "constant";
  seed: number;
}

const DEFAULTS = { cameras: 50, rate: 0.5, seconds: 60, seed: 1 };

/** Exit code 1 when anything was lost or doubled, or nothing could be offered. */
export async function load(argv: readonly string[]): Promise<number> {
  const loaded = loadSettings(argv, process.env, { rate: "string", seed: "string", constant: "boolean" });
  const offer = offerOf(loaded);
  const { settings } = runningSystem(loaded.settings) ?? nothingRuns(loaded.settings);
  const log = createLogger("load", settings.logLevel, { write: (line) => say(prettyLine(line.trimEnd(), "load")) });
  const context: Context = { clock: systemClock, log };
  const groupsPerSecond = offer.cameras * offer.rate;
  say(
    `Offering ${groupsPerSecond} groups a second (${offer.cameras} cameras at ${offer.rate}, ${offer.arrivals}) for ${offer.seconds} s.`,
  );
  const from = `${offer.cameras} cameras at ${offer.rate} groups a second each`;
  const warning = quotaWarning((await loadKeySet(settings)).groups, { groupsPerSecond, from });
  if (warning) say(warning);
  return await offerAndReport(offer, settings, context);
}

async function offerAndReport(offer: Offer, settings: Settings, context: Context): Promise<number> {
  const stop = new AbortController();
  const offSignals = onStopSignals(
    () => {
      say("Stopping: what was offered still gets its outcome (once more: at once) …");
      stop.abort();
    },
    () => process.exit(130),
  );
  const acquired = new Acquired();
  try {
    const { redisUrl = "" } = settings;
    const crops = await ensureLoadCrops(settings, context, stop.signal);
    const images = await acquired.start(openImageStore(settings, context));
    const topics = await acquired.start(openTopicLog(settings, redisUrl, context));
    const audit = createAudit(
      {
        redisUrl,
        topics: openTopicLog(settings, redisUrl, context),
        freshnessSeconds: () => settings.freshnessSeconds,
        counts: (cameraId) => cameraId.startsWith("load-"),
      },
      context,
    );
    await acquired.start(audit);
    const progress = await createCameraLoad({ ...offer, crops, topics, images }, context).run(stop.signal);
    say(
      `Offered ${progress.offered} groups: ${progress.published} accepted, ${progress.failed} refused by the topic, ${progress.late} sent late by this machine.`,
    );
    if (topics.publishedAgain() > 0)
      say(`The store had forgotten ${topics.publishedAgain()} of them: published again.`);
    await audit.drain();
    const report = audit.report();
    say(showReport(report));
    if (settings.report) writeFileSync(settings.report, `${JSON.stringify(report, null, 2)}\n`);
    const faults = faultsOf(report);
    if (faults.length > 0) say(`Failed: ${faults.join("; ")}.`);
    return faults.length > 0 ? 1 : 0;
  } finally {
    await acquired.unwind(context);
    offSignals();
  }
}

/** `--cameras 50` is a number here; a cameras' file of the settings' file or the environment is none of load's business. */
export function offerOf({ settings, origins, own }: Pick<LoadedSettings, "settings" | "origins" | "own">): Offer {
  const faults: string[] = [];
  const number = (name: string, text: unknown, fallback: number, least: number) => {
    const value = text === undefined ? fallback : Number(text);
    if (Number.isFinite(value) && value >= least) return value;
    faults.push(`flag --${name} = ${JSON.stringify(text)}: must be a number of at least ${least}`);
    return fallback;
  };
  const cameras = origins.get("cameras")?.startsWith("flag") ? settings.cameras : undefined;
  const offer: Offer = {
    cameras: Math.trunc(number("cameras", cameras, DEFAULTS.cameras, 1)),
    rate: number("rate", own.rate, DEFAULTS.rate, 0.001),
    seconds: settings.for ?? DEFAULTS.seconds,
    arrivals: own.constant === true ? "constant" : "poisson",
    seed: number("seed", own.seed, DEFAULTS.seed, 0),
  };
  if (faults.length > 0) throw wrongSettings(faults);
  return offer;
}

const say = (text: string) => void process.stdout.write(`${text}\n`);
