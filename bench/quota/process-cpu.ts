/** CPU time of other processes; Linux only. */
import { readdirSync, readFileSync } from "node:fs";

/** Of all threads of these processes since their start, µs. */
export function cpuMicros(pids: readonly number[]): number {
  const threads = pids.flatMap((pid) => readdirSync(`/proc/${pid}/task`).map((task) => `/proc/${pid}/task/${task}`));
  return threads.reduce(
    (sum, path) => sum + Number(readFileSync(`${path}/schedstat`, "utf8").split(" ")[0]) / 1_000,
    0,
  );
}
