/** CPU time of other processes; Linux only. */
import { readdirSync, readFileSync } from "node:fs";

/** Of all threads that these processes have, since their start, µs. */
export function cpuMicros(pids: readonly number[]): number {
  const threads = pids.flatMap((pid) => readdirSync(`/proc/${pid}/task`).map((task) => `/proc/${pid}/task/${task}`));
  return threads.reduce(
    (sum, path) => sum + Number(readFileSync(`${path}/schedstat`, "utf8").split(" ")[0]) / 1_000,
    0,
  );
}

/** Of the kernel's ticks as programs see them there are 100 a second. */
const TICK_US = 10_000;

/** As cpuMicros, of one process, with its threads that have ended (a JVM has such), but in steps of 10 ms. */
export function cpuMicrosInTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The second field is the name, in brackets, and may hold anything; utime and stime are the 14th and 15th.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_US;
}
