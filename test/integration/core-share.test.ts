/** Benchmarks hold processes to a share of a core, and leave nothing behind. Needs the right to make control groups. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { type CoreShares, confine, coreSharesOf, findCoreShares } from "../../bench/quota/core-share.ts";
import { cpuMicros } from "../../bench/quota/process-cpu.ts";

const where = (() => {
  try {
    return findCoreShares();
  } catch {
    return undefined;
  }
})();
const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

function started(args: readonly string[]): { child: ChildProcess; pid: number } {
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  if (child.pid === undefined) throw new Error("not started");
  return { child, pid: child.pid };
}
const busy = () => started(["-e", "for (;;);"]);
const groupsOf = (pid: number) => readFileSync(`/proc/${pid}/cgroup`, "utf8");

test("control groups are found by what is mounted: v1 with the CPU's, else v2 that has it", () => {
  const tmp = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755";
  const v1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct";
  const cpusets = "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset";
  const v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw";
  const having = (controllers: string) => () => `${controllers}\n`;
  const first = { version: 1, under: "/sys/fs/cgroup/cpu,cpuacct" };
  expect(coreSharesOf([tmp, cpusets, v1, v2].join("\n"), having("memory"))).toEqual(first);
  const second = { version: 2, under: "/sys/fs/cgroup/unified" };
  expect(coreSharesOf([tmp, cpusets, v2].join("\n"), having("cpuset cpu io"))).toEqual(second);
  expect(coreSharesOf([tmp, cpusets, v2].join("\n"), having("cpuset io"))).toBeUndefined();
});

test("where there are none, or none can be made, that is said with a remedy", () => {
  expect(() => findCoreShares("")).toThrow(/none are mounted here\. Without --core-share .* run it on a Linux/);
  const readOnly = "32 31 0:29 / /proc/self rw - cgroup cgroup rw,cpu";
  expect(() => findCoreShares(readOnly)).toThrow(/cannot make control groups under \/proc\/self: .* Run it as root/);
});

// A tool of the benchmarks, which say themselves where it cannot be had: nothing of vigilane's goes untried there.
if (where) describe("with control groups", () => withControlGroups(where));
else console.log("no control groups can be made here: what benchmarks do with them is not tried");

function withControlGroups(where: CoreShares) {
  test("a busy process gets its share and no more until it is released", async () => {
    const { pid } = busy();
    const confined = confine(pid, 0.2, where);
    try {
      const [cpu, begun] = [cpuMicros([pid]), performance.now()];
      // So many periods in which it wanted more.
      await expect.poll(() => confined.periods().heldBack, { timeout: 10_000 }).toBeGreaterThan(50);
      const cores = (cpuMicros([pid]) - cpu) / 1_000 / (performance.now() - begun);
      expect(cores).toBeLessThan(0.3);
      expect(cores).toBeGreaterThan(0);
      expect(groupsOf(pid)).toContain("vigilane-bench-");
    } finally {
      confined.release();
    }
    confined.release();
    expect(groupsOf(pid)).not.toContain("vigilane-bench-");
    expect(ours(process.pid)).toEqual([]);
  });

  test("one that has ended is released all the same", async () => {
    const { child, pid } = busy();
    const confined = confine(pid, 0.2, where);
    child.kill("SIGKILL");
    await once(child, "exit");
    confined.release();
    expect(ours(process.pid)).toEqual([]);
  });

  test("a benchmark that is interrupted leaves no group; what a killed one leaves goes with the next", async () => {
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      const held = busy();
      const bench = started(["--input-type=module", "-e", BENCH, String(held.pid)]);
      if (bench.child.stdout) await once(bench.child.stdout, "data");
      expect(ours(bench.pid)).toHaveLength(1);
      bench.child.kill(signal);
      await once(bench.child, "exit");
      if (signal === "SIGKILL") {
        held.child.kill("SIGKILL");
        await once(held.child, "exit");
        findCoreShares();
      } else {
        expect(groupsOf(held.pid)).not.toContain("vigilane-bench-");
      }
      expect(ours(bench.pid)).toEqual([]);
    }
  });

  const ours = (pid: number) => readdirSync(where.under).filter((name) => name.startsWith(`vigilane-bench-${pid}-`));
}

const BENCH = `
  import { confine, findCoreShares } from ${JSON.stringify(new URL("../../bench/quota/core-share.ts", import.meta.url).href)};
  process.once("SIGTERM", () => process.exit(130));
  confine(Number(process.argv.at(-1)), 0.5, findCoreShares());
  setInterval(() => {}, 1_000);
  console.log("held");
`;
