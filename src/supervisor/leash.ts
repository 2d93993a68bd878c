/**
 * The last to leave: a process of its own whose only tie to the supervisor is the pipe on its standard input. When that
 * closes, however the supervisor ended (kill -9 too), it ends what the supervisor had told it of: roles first, the store
 * after them, each with a chance to leave by itself. Reads lines `+<pid> role`, `+<pid> store` and `-<pid>`.
 *
 * It uses no parent-death signal since only Linux has one.
 */
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";

const ROLES_GRACE_MS = 6_000;
const STORE_GRACE_MS = 3_000;
const LOOK_EVERY_MS = 100;

const held = new Map<number, "role" | "store">();

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});

for await (const line of createInterface({ input: process.stdin })) {
  const [, sign, pid, kind] = /^([+-])(\d+)(?: (role|store))?$/.exec(line) ?? [];
  if (sign === "+") held.set(Number(pid), kind === "store" ? "store" : "role");
  if (sign === "-") held.delete(Number(pid));
}
await end("role", ROLES_GRACE_MS);
await end("store", STORE_GRACE_MS);

async function end(kind: "role" | "store", graceMs: number): Promise<void> {
  const pids = [...held].filter(([, k]) => k === kind).map(([pid]) => pid);
  for (const pid of pids) signal(pid, "SIGTERM");
  for (let waitedMs = 0; pids.some(alive) && waitedMs < graceMs; waitedMs += LOOK_EVERY_MS) await wait(LOOK_EVERY_MS);
  // The group, also when its leader has left: what it started may be there still.
  for (const pid of pids) signal(process.platform === "win32" ? pid : -pid, "SIGKILL");
}

function alive(pid: number): boolean {
  return signal(pid, 0);
}

function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}
