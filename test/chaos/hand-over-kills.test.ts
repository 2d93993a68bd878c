/** A bridge that is killed (-9) in mid-work hands each group over exactly once. VIGILANE_LONG=1: more kills. */
import { setTimeout as wait } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { TaskMessage } from "../../src/messages.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { startWorld } from "../support/world.ts";

const KILLS = process.env.VIGILANE_LONG === "1" ? 20 : 3;

test(
  `${KILLS} kills of the bridge under 50 groups a second: every group is a task, none twice, and none has a result`,
  async () => {
    const world = await startWorld({
      roles: "bridge,results",
      env: { VIGILANE_ASSESSMENT_TASKS: "write", VIGILANE_INLINE_IMAGES: "true" },
    });
    onTestFinished(() => world.stop());
    let { pid } = await world.role("bridge");
    const seen: string[] = [];
    const ended = new AbortController();
    onTestFinished(() => ended.abort());
    await world.topics.ensureTopic(TOPICS.tasks);
    void (async () => {
      for await (const { value } of world.topics.tail(TOPICS.tasks, "earliest", ended.signal))
        seen.push(TaskMessage.parse(JSON.parse(value.toString())).taskId);
    })().catch(() => {});
    const offer = world.offer({ groupsPerSecond: 50 });
    for (let n = 0; n < KILLS; n += 1) {
      const before = seen.length;
      await expect.poll(() => seen.length, { timeout: 30_000, interval: 10 }).toBeGreaterThan(before + 20);
      // Whoever dies five times in a row within 5 s is given up: now and then it lives for longer.
      if (n % 4 === 3) await wait(5_000);
      await wait(Math.random() * 50); // somewhere in its work
      process.kill(pid, "SIGKILL");
      ({ pid } = await world.role("bridge", pid));
    }
    const ids = await offer.end();
    expect(ids.length).toBeGreaterThan(20 * KILLS);
    await expect.poll(() => new Set(seen).size, { timeout: 30_000 }).toBe(ids.length);
    expect(seen.toSorted()).toEqual(ids.toSorted());
    expect(world.results()).toEqual([]);
  },
  60_000 + KILLS * 20_000,
);
