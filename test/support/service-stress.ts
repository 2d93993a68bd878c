/** Starts and stops a service in every order that the Service contract allows, and one whose start fails. */
import { Redis } from "ioredis";
import { expect } from "vitest";
import type { Service } from "../../src/lifecycle.ts";

/** Rejects when any of it does. */
export async function stressStartStop(create: () => Service): Promise<void> {
  await create().stop(); // before any start
  const twice = create();
  await Promise.all([twice.start(), twice.start()]);
  await Promise.all([twice.stop(), twice.stop()]);
  await twice.start(); // again after a stop
  await twice.stop();
  const hasty = create();
  const started = hasty.start().catch(() => {}); // may be broken off by the stop
  await hasty.stop();
  await started;
}

/** What is still there of a service that was stopped, such as its connections: names for people. */
export type Leftovers = () => Promise<string[]>;

/** As stressStartStop, and nothing may be left at its end. */
export async function stressAndLeaveNothing(create: () => Service, left: Leftovers): Promise<void> {
  const before = await left();
  const witness = create();
  await witness.start();
  expect(await left(), "what is looked for is there while it runs").not.toEqual(before);
  await witness.stop();
  await stressStartStop(create);
  await expectOnly(before, left);
}

/** A start that fails rejects with an error like `why` and leaves nothing, already before any stop; a stop, and another start, are safe after it. */
export async function failToStart(create: () => Service, why: object, left: Leftovers): Promise<void> {
  const before = await left();
  const broken = create();
  const failures = await Promise.allSettled([broken.start(), broken.start()]);
  for (const failure of failures) expect(failure).toMatchObject({ status: "rejected", reason: why });
  await expectOnly(before, left);
  await Promise.all([broken.stop(), broken.stop()]);
  await expect(broken.start()).rejects.toMatchObject(why);
  await broken.stop();
  await expectOnly(before, left);
}

/** The store hears of a closed connection a moment later. */
async function expectOnly(before: readonly string[], left: Leftovers): Promise<void> {
  await expect.poll(left, { timeout: 2_000, interval: 20 }).toEqual(before);
}

/** The connections to a store but the one that asks, as address of the client. */
export async function connectionsTo(storeUrl: string): Promise<string[]> {
  const redis = new Redis(storeUrl);
  try {
    const [own, list] = [await redis.client("ID"), String(await redis.client("LIST"))];
    const clients = list.split("\n").filter((line) => line !== "" && !line.startsWith(`id=${own} `));
    return clients.map((line) => line.replace(/^.*? addr=(\S+).*$/, "$1")).toSorted();
  } finally {
    redis.disconnect();
  }
}
