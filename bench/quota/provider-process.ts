/** The simulated provider as a process of its own, and what it has seen; its windows are exact sliding ones. */
import { z } from "zod";
import type { FaultChange } from "../../src/simulator/simulator-config.ts";
import { startRole } from "./role-process.ts";

const Stats = z.object({
  accounts: z.array(
    z.object({
      id: z.string(),
      calls: z.number(),
      admitted: z.number(),
      ok: z.number(),
      refused: z.record(z.string(), z.number()),
    }),
  ),
});

/** What some accounts have seen since their start, and when that was asked (monotonic, ms). */
export interface Seen {
  atMs: number;
  calls: number;
  /** Not refused at the door: these took a place in the windows and are answered. */
  admitted: number;
  ok: number;
  /** Refused because a window was full. */
  refusedForRate: number;
}

export interface ProviderProcess {
  readonly pid: number;
  /** Of all accounts, or of those that are named. */
  seen(accounts?: readonly string[]): Promise<Seen>;
  /** Changes what goes wrong at these accounts. */
  fail(accounts: readonly string[], change: FaultChange): Promise<void>;
  /** Everything as configured again. */
  heal(): Promise<void>;
  stop(): Promise<void>;
}

/** `url`: where it listens, "http://127.0.0.1:<port>/v1". */
export async function startProvider(url: string, env: Record<string, string>): Promise<ProviderProcess> {
  const role = await startRole("provider", { env });
  const ask = async (path: string, options: RequestInit = {}) => {
    const answer = await fetch(new URL(path, url), { ...options, headers: { "content-type": "application/json" } });
    if (!answer.ok) throw new Error(`the provider answered ${answer.status}: ${await answer.text()}`);
    return (await answer.json()) as unknown;
  };
  return {
    pid: role.pid,
    async seen(names) {
      const { accounts } = Stats.parse(await ask("/simulator/stats"));
      const meant = accounts.filter(({ id }) => names === undefined || names.includes(id));
      const sum = (of: (account: (typeof accounts)[number]) => number) =>
        meant.reduce((total, account) => total + of(account), 0);
      return {
        atMs: performance.now(),
        calls: sum(({ calls }) => calls),
        admitted: sum(({ admitted }) => admitted),
        ok: sum(({ ok }) => ok),
        refusedForRate: sum(({ refused }) =>
          Object.entries(refused)
            .filter(([why]) => why.startsWith("requestsPer") || why === "concurrency")
            .reduce((total, [, n]) => total + n, 0),
        ),
      };
    },
    async fail(accounts, change) {
      for (const account of accounts)
        await ask("/simulator/faults", { method: "POST", body: JSON.stringify({ account, ...change }) });
    },
    async heal() {
      await ask("/simulator/faults", { method: "DELETE" });
    },
    stop: () => role.stop(),
  };
}
