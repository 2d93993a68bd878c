/**
 * On a real Kafka broker, under load and with freshness 0: bridge, worker, results and the broker itself are killed, and every
 * group has one outcome all the same, for a reader of committed messages (librdkafka's default) too.
 * VIGILANE_LONG=1: 25 groups a second, more rounds, the broker away for 20 s, and one of three brokers.
 */
import { setTimeout as wait } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { javaThere, startKafka } from "../support/kafka.ts";
import { resultsByLibrdkafka } from "../support/kcat.ts";
import { startWorld, type World } from "../support/world.ts";

const LONG = process.env.VIGILANE_LONG === "1";
const ROUNDS = LONG ? 5 : 1;
const GROUPS_PER_SECOND = LONG ? 25 : 10;
/** How long the only broker is away. */
const AWAY_MS = LONG ? 20_000 : 3_000;
/** Work resumes within 10 s of a role's death, and of the broker's return; three times that on a busy machine. */
const RESUMES_WITHIN_MS = 30_000;
const SETTLES_WITHIN_MS = 90_000;

describe.skipIf(!javaThere)("on a real Kafka broker", () => {
  /** Under load; `disturb` is run in its middle. */
  async function eachOnce(kafka: LocalKafka, disturb: (here: World) => Promise<void>) {
    const here = await startWorld({ kafkaBrokers: kafka.brokers });
    onTestFinished(() => here.stop());
    const offering = here.offer({ groupsPerSecond: GROUPS_PER_SECOND });
    await here.nextResult();
    for (let round = 0; round < ROUNDS; round += 1) await disturb(here);
    const ids = await offering.end();
    const { lost, doubled, results } = await here.settled(ids, SETTLES_WITHIN_MS);
    expect({ lost, doubled }).toEqual({ lost: [], doubled: [] });
    const others = results.filter((result) => result.outcome !== "assessed");
    expect(others.map((result) => [result.taskId, result.outcome, result.error])).toEqual([]);
    expect(await here.countedByResults(ids.length)).toBe(ids.length);
    const committed = await resultsByLibrdkafka(kafka.brokers, TOPICS.results);
    expect(committed.map(({ taskId }) => taskId).toSorted()).toEqual(ids.toSorted());
    console.log(`${ids.length} groups on Kafka, each judged once`);
  }

  async function killRole(here: World, role: string) {
    const { pid } = await here.role(role);
    process.kill(pid, "SIGKILL");
    await here.role(role, pid);
    await resumes(here, role);
  }

  test("bridge, worker, results and the broker are killed: one outcome for every group", {
    timeout: LONG ? 900_000 : 240_000,
  }, async () => {
    const kafka = await startKafka();
    onTestFinished(() => kafka.stop());
    await eachOnce(kafka, async (here) => {
      for (const role of ["bridge", "worker", "results"]) await killRole(here, role);
      const [broker] = kafka.nodes;
      await broker?.kill("SIGKILL");
      await wait(AWAY_MS); // what is offered meanwhile waits at its producer, what is judged in the outbox
      await broker?.start();
      await resumes(here, "broker");
    });
  });

  (LONG ? test : () => {})("one broker of three is killed, then the next", { timeout: 900_000 }, async () => {
    const kafka = await startKafka({ nodes: 3 });
    onTestFinished(() => kafka.stop());
    let nth = 0;
    await eachOnce(kafka, async (here) => {
      const node = kafka.nodes[nth++ % kafka.nodes.length];
      await node?.kill("SIGKILL");
      await resumes(here, `node ${node?.id}`);
      await node?.start();
      await wait(10_000); // until it is in step again: two of three must be
    });
  });
});

async function resumes(here: World, what: string): Promise<void> {
  const late = wait(RESUMES_WITHIN_MS).then(() => {
    throw new Error(`no result within ${RESUMES_WITHIN_MS} ms after the ${what} was killed`);
  });
  late.catch(() => {});
  await Promise.race([here.nextResult(), late]);
}
