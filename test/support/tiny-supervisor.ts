/**
 * A supervisor over tiny roles (tiny-role.mjs) as a process of its own, for tests that kill it. Writes what happens as
 * lines: `ready`, `stopped`, and each role's own lines. argv: the data folder, the roles.
 */
import { pino } from "pino";
import { loadSettings } from "../../src/config.ts";
import { systemClock } from "../../src/context.ts";
import type { Role } from "../../src/settings.ts";
import { onStopSignals } from "../../src/supervisor/stop-signals.ts";
import { createSupervisor } from "../../src/supervisor/supervisor.ts";
import { tinyLaunch } from "./tiny-launch.ts";

const [data = "", roles = ""] = process.argv.slice(2);
const { settings } = loadSettings(["--data", data, "--port", "0"], { PATH: process.env.PATH });
const say = (line: string) => process.stdout.write(`${line}\n`);
const supervisor = createSupervisor(
  settings,
  {
    roles: roles.split(",") as Role[],
    launch: tinyLaunch,
    onLine: (_instance, role, line) => role !== "store" && say(line),
    onStep: () => {},
    onFailed: (error) => say(`failed ${error.code}`),
  },
  { clock: systemClock, log: pino({ level: "silent" }) },
);
onStopSignals(
  () => {
    say("stopping");
    void supervisor.stop().then(() => say("stopped"));
  },
  () => {
    supervisor.killAll();
    process.exit(130);
  },
);
await supervisor.start();
say(`ready ${supervisor.settings.redisUrl}`);
