/** Starts and stops a service in every order that the Service contract allows. Rejects when any of it does. */
import type { Service } from "../../src/lifecycle.ts";

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
