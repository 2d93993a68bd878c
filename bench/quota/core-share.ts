/**
 * Holds a process to a share of a core, by a CPU-time quota of a Linux control group of its own (v1 `cpu.cfs_quota_us`, v2
 * `cpu.max`), so that several of them can be measured side by side on a machine that one alone would fill. Needs the right to
 * make control groups: root, as a rule.
 */
import { accessSync, constants, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * A process that has used up its part waits for the next period: so short that this waiting looks like a busy core, and is no
 * stall to those who wait for it.
 */
const PERIOD_US = 10_000;
/** The kernel wants at least so much of each period. */
const LEAST_QUOTA_US = 1_000;
const PREFIX = "vigilane-bench-";

/** Where control groups with CPU-time quotas are made. */
export interface CoreShares {
  version: 1 | 2;
  /** A folder. */
  under: string;
}

export interface Confined {
  /** Since it was confined: periods in which it ran, and those in which it had to wait because its part was used up. */
  periods(): { all: number; heldBack: number };
  /** The process has the machine again. Safe when it has ended, and twice. */
  release(): void;
}

/** What this machine allows; throws with what is in the way and a remedy when processes cannot be confined here. */
export function findCoreShares(mountInfo = readMounts()): CoreShares {
  const mounted = coreSharesOf(mountInfo);
  const plain = "Without --core-share the processes are measured unconfined";
  if (!mounted)
    throw new Error(
      `--core-share needs Linux control groups with the CPU controller (v1 "cpu" or v2), and none are mounted here. ${plain}; or run it on a Linux machine where /sys/fs/cgroup has them.`,
    );
  const { version, under } = mounted;
  try {
    accessSync(under, constants.W_OK);
    if (version === 2) allowInChildren(under);
    sweep(under);
    // Its own, at once: a folder that looks writable may still refuse.
    const trial = join(under, `${PREFIX}${process.pid}-trial`);
    mkdirSync(trial);
    try {
      limit(mounted, trial, 0.5);
    } finally {
      rmdirSync(trial);
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(
      `--core-share cannot make control groups under ${under}: ${why}. Run it as root; in a container, with its control groups writable (--privileged). ${plain}.`,
    );
  }
  return mounted;
}

/** By the lines of /proc/self/mountinfo: v1's "cpu" where there is one, else v2 with the CPU controller. */
export function coreSharesOf(
  mountInfo: string,
  read: (path: string) => string = (path) => readFileSync(path, "utf8"),
): CoreShares | undefined {
  const mounts = mountInfo.split("\n").flatMap((line) => {
    // 31 23 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
    const [before = "", after = ""] = line.split(" - ");
    const [type, , options = ""] = after.split(" ");
    const at = before.split(" ")[4];
    return at === undefined ? [] : [{ type, at, options: options.split(",") }];
  });
  const v1 = mounts.find(({ type, options }) => type === "cgroup" && options.includes("cpu"));
  if (v1) return { version: 1, under: v1.at };
  const v2 = mounts.find(({ type, at }) => {
    return type === "cgroup2" && read(join(at, "cgroup.controllers")).split(/\s/).includes("cpu");
  });
  return v2 && { version: 2, under: v2.at };
}

/** From now on, all threads of this process together get this share of one core (above 1: of several). */
export function confine(pid: number, share: number, where: CoreShares): Confined {
  const folder = join(where.under, `${PREFIX}${process.pid}-${pid}`);
  const procs = join(where.under, "cgroup.procs");
  let done = false;
  const release = () => {
    if (done) return;
    done = true;
    process.off("exit", release);
    // Only an empty group can be removed: whoever is still in it goes back to all others.
    for (const one of readFileSync(join(folder, "cgroup.procs"), "utf8").split("\n").filter(Boolean))
      unlessGone(() => writeFileSync(procs, one));
    rmdirSync(folder);
  };
  mkdirSync(folder);
  // Also when the benchmark is interrupted.
  process.on("exit", release);
  try {
    limit(where, folder, share);
    writeFileSync(join(folder, "cgroup.procs"), String(pid));
  } catch (error) {
    release();
    throw error;
  }
  return {
    periods() {
      const stat = readFileSync(join(folder, "cpu.stat"), "utf8");
      const number = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(stat)?.[1] ?? Number.NaN);
      return { all: number("nr_periods"), heldBack: number("nr_throttled") };
    },
    release,
  };
}

function limit({ version }: CoreShares, folder: string, share: number): void {
  const periodUs = Math.max(PERIOD_US, Math.ceil(LEAST_QUOTA_US / share));
  const quotaUs = Math.round(periodUs * share);
  if (version === 2) {
    writeFileSync(join(folder, "cpu.max"), `${quotaUs} ${periodUs}`);
  } else {
    writeFileSync(join(folder, "cpu.cfs_period_us"), String(periodUs));
    writeFileSync(join(folder, "cpu.cfs_quota_us"), String(quotaUs));
  }
}

/** In v2 a group's children have only the controllers that it hands on. */
function allowInChildren(under: string): void {
  const path = join(under, "cgroup.subtree_control");
  if (!readFileSync(path, "utf8").split(/\s/).includes("cpu")) writeFileSync(path, "+cpu");
}

/** Groups of benchmarks that were killed, unless somebody lives on in them. */
function sweep(under: string): void {
  for (const name of readdirSync(under)) {
    const owner = Number(/^vigilane-bench-(\d+)-/.exec(name)?.[1] ?? process.pid);
    if (owner !== process.pid && !isAlive(owner)) unlessGone(() => rmdirSync(join(under, name)), ["EBUSY"]);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH");
  }
}

/** What is gone already needs nothing any more. */
function unlessGone(work: () => void, others: readonly string[] = []): void {
  try {
    work();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (!["ESRCH", "ENOENT", ...others].includes(code)) throw error;
  }
}

function readMounts(): string {
  try {
    return readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    return "";
  }
}
