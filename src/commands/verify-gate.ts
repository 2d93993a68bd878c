/** How `vigilane keys verify` keeps to the key groups' own windows: by its own pace, and in a running system's windows too. */
import type { Context } from "../context.ts";
import { CHECK_TOKENS } from "../processors/check-key.ts";
import type { KeyGroup } from "../queues/key-groups.ts";
import type { CallsApart } from "../queues/redis-apart.ts";
import { callsPerSecond, windowsByAccount } from "../queues/window.ts";

/** refused: the group's own windows do not allow the call for longer than anybody would wait. */
export type Passed =
  | { kind: "passed"; ended(tokens: number | undefined): Promise<void> }
  | { kind: "held"; why: string };

export interface Gate {
  /** Waits until this group may make one call more; one after the other, each ended before the next. */
  pass(group: KeyGroup, name: string): Promise<Passed>;
}

const MINUTE_MS = 60_000;
/** Beyond the length of a window of a minute: for its guard. */
const LONGEST_WAIT_MS = 75_000;

/** `apart`: the running system's windows; undefined: none runs. `say`: why it takes so long, for people. */
export function createGate(
  groups: readonly KeyGroup[],
  apart: CallsApart | undefined,
  { timeoutMs, say }: { timeoutMs: number; say: (line: string) => void },
  { clock }: Pick<Context, "clock">,
): Gate {
  const accounts = windowsByAccount(groups);
  const called = new Map<string, { calls: number; nextMs: number }>();

  /** Spaced so evenly that no window up to a minute can overflow; a longer one holds at most its limit of these calls. */
  async function ownPace({ account }: KeyGroup): Promise<string | undefined> {
    const windows = accounts.get(account)?.windows ?? [];
    const before = called.get(account) ?? { calls: 0, nextMs: 0 };
    const full = windows.find(
      ({ windowMs, limit, unit }) => windowMs > MINUTE_MS && unit !== "tokens" && limit <= before.calls,
    );
    if (full) return `its window ${full.name} allows no more`;
    await clock.sleep(before.nextMs - clock.monotonicMs());
    called.set(account, { ...before, calls: before.calls + 1 });
    return undefined;
  }

  /** Counted from the end of the call: whenever it arrived at the provider, it was before that. */
  function ended({ account }: KeyGroup): void {
    const short = (accounts.get(account)?.windows ?? []).filter(({ windowMs }) => windowMs <= MINUTE_MS);
    const apartMs = Math.max(0, ...short.map((window) => 1_000 / callsPerSecond(window, CHECK_TOKENS)));
    const calls = called.get(account)?.calls ?? 0;
    called.set(account, { calls, nextMs: clock.monotonicMs() + apartMs });
  }

  return {
    async pass(group, name) {
      const held = await ownPace(group);
      if (held !== undefined) return { kind: "held", why: held };
      if (!apart) return { kind: "passed", ended: async () => ended(group) };
      const untilMs = clock.monotonicMs() + LONGEST_WAIT_MS;
      for (;;) {
        const answer = await apart.reserve(group.id, name, CHECK_TOKENS, timeoutMs);
        if (answer.kind !== "wait") {
          const settle = async (tokens: number | undefined) => {
            ended(group);
            if (answer.kind === "granted") await apart.end(name, tokens);
          };
          return { kind: "passed", ended: settle };
        }
        if (clock.monotonicMs() + answer.ms > untilMs)
          return { kind: "held", why: `the running system has used its window ${answer.window} up` };
        if (answer.ms > 2_000)
          say(`${name}: ${Math.ceil(answer.ms / 1_000)} s until there is room in ${answer.window}`);
        await clock.sleep(answer.ms);
      }
    },
  };
}
