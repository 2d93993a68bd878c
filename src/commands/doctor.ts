/** `vigilane doctor`: looks at everything that a start needs; a line each, with the remedy. */
import { loadSettings } from "../config.ts";
import { createLogger, systemClock } from "../context.ts";
import { examine, type Finding, realMachine } from "../supervisor/checks.ts";

/** Exit code 1 when something is wrong. */
export async function doctor(argv: readonly string[]): Promise<number> {
  const { settings } = loadSettings(argv);
  const findings = await examine(settings, realMachine({ clock: systemClock, log: createLogger("doctor", "silent") }));
  for (const finding of findings) process.stdout.write(`${showFinding(finding)}\n`);
  const wrong = findings.filter((finding) => !finding.ok).length;
  process.stdout.write(
    wrong === 0 ? "\nAll is well: `npm start`.\n" : `\n${wrong} of ${findings.length} need a hand.\n`,
  );
  return wrong === 0 ? 0 : 1;
}

export const showFinding = ({ what, ok, text }: Finding) => `${ok ? "✓" : "✗"} ${what.padEnd(9)} ${text}`;
