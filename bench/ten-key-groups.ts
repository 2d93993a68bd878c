/**
 * Ten key groups beside one: calls a second that are made and answered under 1.5 times the load that the quota carries.
 *
 *     node bench/ten-key-groups.ts [seconds measured, default 20]
 *
 * Both in the same run, one after the other, each with processes of its own: redis-server, vigilane's roles under their
 * supervisor, and a provider that refuses what exceeds 5 calls a second of an account. Prints one line of JSON; the claim is
 * ratio ≥ 9.7.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { startWorld } from "../test/support/world.ts";

const LIMITS = { requestsPerSecond: 5, requestsPerMinute: 300 };
/** Until latency, guard and connections have settled. */
const WARM_UP_MS = 5_000;

async function callsPerSecond(groups: number, seconds: number) {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-bench-"));
  const names = Array.from({ length: groups }, (_, i) => `group-${i + 1}`);
  const keys = join(folder, "keys.yaml");
  const lines = names.map(
    (id) =>
      `  - { id: ${id}, provider: simulated, windows: ${JSON.stringify(LIMITS)}, keys: [{ id: key, secret: secret-${id} }] }`,
  );
  writeFileSync(keys, `keyGroups:\n${lines.join("\n")}\n`);
  const world = await startWorld({
    env: { VIGILANE_KEYS: keys, VIGILANE_CALLS_PER_DAY: "0", VIGILANE_FRESHNESS_SECONDS: "10" },
    simulator: {
      latency: { meanMs: 1_000, p95Ms: 1_450 },
      accounts: names.map((id) => ({ id, keys: [`secret-${id}`], windows: LIMITS })),
    },
  });
  try {
    const seen = () => {
      const { accounts } = world.provider.stats();
      const refused = accounts.flatMap((account) => Object.values(account.refused)).reduce((sum, n) => sum + n, 0);
      return { admitted: accounts.reduce((sum, account) => sum + account.admitted, 0), refused };
    };
    const offering = world.offer({ groupsPerSecond: groups * LIMITS.requestsPerSecond * 1.5 });
    await world.nextResult();
    await wait(WARM_UP_MS);
    const before = seen();
    const from = performance.now();
    await wait(seconds * 1_000);
    const after = seen();
    const took = (performance.now() - from) / 1_000;
    await offering.end();
    return {
      groups,
      admittedPerSecond: round((after.admitted - before.admitted) / took),
      shareOfQuota: round((after.admitted - before.admitted) / took / (groups * LIMITS.requestsPerSecond)),
      refused: after.refused - before.refused,
    };
  } finally {
    await world.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

const round = (value: number) => Math.round(value * 1_000) / 1_000;

const seconds = Number(process.argv[2] ?? 20);
const one = await callsPerSecond(1, seconds);
const ten = await callsPerSecond(10, seconds);
const ratio = round(ten.admittedPerSecond / one.admittedPerSecond);
console.log(JSON.stringify({ bench: "ten-key-groups", one, ten, ratio, claim: ">= 9.7", holds: ratio >= 9.7 }));
process.exitCode = ratio >= 9.7 ? 0 : 1;
