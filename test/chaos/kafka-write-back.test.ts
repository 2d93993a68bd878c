/** Write-back to Kafka is exactly once for readers of committed messages, whoever is killed or stopped when. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { brokerThere, someKafka } from "../support/kafka.ts";
import { moves, writeBackScene } from "../support/write-back-scene.ts";

const KILLS = process.env.VIGILANE_LONG ? 50 : 4;
const STOPS = process.env.VIGILANE_LONG ? 10 : 2;

describe.skipIf(!brokerThere)("write-back to a real Kafka broker", () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await someKafka();
  }, 120_000);
  afterAll(() => kafka.stop());

  test(`${KILLS} writers killed in mid-work lose nothing and double nothing`, {
    timeout: 60_000 + KILLS * 20_000,
  }, async () => {
    const { offer, writer, published, offered } = await writeBackScene(kafka.brokers);
    await offer(300);
    for (let kill = 0; kill < KILLS; kill += 1) {
      const child = writer();
      await moves(child, 1);
      await offer(200);
      // At another place of its work each time.
      await systemClock.sleep((kill * 7) % 30);
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    writer();
    expect(await published()).toEqual(offered());
  });

  test("a writer that was stopped and wakes up doubles nothing", { timeout: 60_000 + STOPS * 20_000 }, async () => {
    const { offer, writer, published, offered } = await writeBackScene(kafka.brokers);
    await offer(300);
    for (let stop = 0; stop < STOPS; stop += 1) {
      const zombie = writer();
      await moves(zombie, 1);
      await offer(200);
      zombie.kill("SIGSTOP");
      const successor = writer();
      await moves(successor, 1);
      zombie.kill("SIGCONT");
      await offer(100);
      await Promise.race([moves(zombie, 1), moves(successor, 1)]);
      for (const child of [zombie, successor]) child.kill("SIGKILL");
      await Promise.all([zombie, successor].map((child) => (child.signalCode ? undefined : once(child, "exit"))));
    }
    writer();
    expect(await published()).toEqual(offered());
  });
});
