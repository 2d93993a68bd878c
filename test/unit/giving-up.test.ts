/** When a command gives up on the topics, and what it then says; by a clock that runs as fast as it is asked. */
import { expect, test } from "vitest";
import { givingUp } from "../../src/commands/giving-up.ts";
import type { Clock } from "../../src/context.ts";
import { VigilaneError } from "../../src/errors.ts";
import type { TopicTrouble } from "../../src/events.ts";
import type { TopicLog } from "../../src/topics/topic-log.ts";

const never = () => new Promise<never>(() => {});

function scene(inStore: boolean, parts: Partial<TopicLog> = {}) {
  let ms = 0;
  const clock: Clock = {
    nowMs: () => ms,
    monotonicMs: () => ms,
    sleep: async (forMs, until) => {
      await new Promise((resolve) => setImmediate(resolve));
      until?.throwIfAborted();
      ms += forMs;
    },
  };
  const stop = new AbortController();
  const silent: TopicLog = {
    ...{ name: "silent", start: never, stop: async () => {}, ensureTopic: never, publish: never, ends: never },
    ...{ lag: never, trouble: () => null, publishedAgain: () => 0 },
    subscribe: () => {
      throw new Error("not asked for");
    },
    async *tail() {},
    ...parts,
  };
  const log = givingUp(silent, { inStore, signal: stop.signal }, { clock });
  return { log, stop, elapsedMs: () => ms };
}

const TROUBLE: TopicTrouble = { code: "BROKER_LOGIN_FAILED", message: "alice", remedy: "Correct it.", sinceMs: 0 };

test("what has failed for ten seconds is given up, with what was found out last", async () => {
  const away = scene(true);
  await expect(away.log.publish("t", [])).rejects.toMatchObject({ code: "STORE_AWAY" });
  expect(away.elapsedMs()).toBeLessThan(11_000);

  const notLetIn = scene(false, { trouble: () => TROUBLE });
  for (const asked of [notLetIn.log.start(), notLetIn.log.publish("t", []), notLetIn.log.ends("t")]) {
    await expect(asked).rejects.toMatchObject({ code: "BROKER_LOGIN_FAILED", remedy: "Correct it." });
  }

  const refusing = scene(false, {
    ensureTopic: (_, failed) => {
      failed?.(new VigilaneError("BROKER_REFUSED", "the first"));
      failed?.(new VigilaneError("BROKER_REFUSED", "the last"));
      return never();
    },
  });
  await expect(refusing.log.ensureTopic("t")).rejects.toMatchObject({ code: "BROKER_REFUSED", message: "the last" });
  expect(refusing.elapsedMs()).toBeLessThan(11_000);
});

test("what takes long and fails nowhere has half a minute", async () => {
  const slow = scene(false);
  await expect(slow.log.publish("t", [])).rejects.toMatchObject({ code: "TIMED_OUT" });
  expect(slow.elapsedMs()).toBeGreaterThanOrEqual(30_000);
});

test("after a stop what is under way has a second to end; what does not is STOPPED", async () => {
  const waiting = scene(false);
  waiting.stop.abort();
  await expect(waiting.log.publish("t", [])).rejects.toMatchObject({ code: "STOPPED" });
  expect(waiting.elapsedMs()).toBeLessThan(2_000);

  const working = scene(false, { publish: async () => {}, ends: async () => ["7"] });
  working.stop.abort();
  await working.log.publish("t", []);
  expect(await working.log.ends("t")).toEqual(["7"]);
});
