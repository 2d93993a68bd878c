/** Settings that are well by themselves and cannot be kept here: refused before anything is started. */

import { VigilaneError } from "../errors.ts";
import type { Settings } from "../settings.ts";

/** Throws SETTINGS_INVALID for a report of a run that has no end. */
export function refuseEndlessReport(settings: Pick<Settings, "for" | "report">): void {
  if (settings.report === undefined || settings.for !== undefined) return;
  throw new VigilaneError("SETTINGS_INVALID", `report = ${settings.report}: a run without an end has no report`, {
    remedy: "Add --for with the seconds that it is to run, or leave --report out.",
  });
}
