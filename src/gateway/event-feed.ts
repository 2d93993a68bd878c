/**
 * The gateways' share of the stream of events: one consumer group over all gateways, so that each event is emitted by one
 * of them (and reaches the others' clients through socket.io's adapter). At least once: an event whose gateway died before
 * it was acknowledged is emitted by another. Clients are idempotent by task id and revision.
 */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import { CameraEvent } from "../events.ts";
import { loop } from "../lifecycle.ts";
import { AssessmentResult, type Timings } from "../messages.ts";
import { CONSUMER_GROUPS, KEYS } from "../names.ts";
import { StoreScript } from "../store.ts";
import { fieldsOf } from "./recent-outcomes.ts";

export type FeedEvent = { type: "outcome"; result: AssessmentResult } | { type: "camera"; event: CameraEvent };

/** Events that their gateway has not acknowledged for so long are taken over. */
const TAKE_OVER_AFTER_MS = 5_000;
const BATCH = 200;
const WAIT_MS = 1_000;
const GROUP = CONSUMER_GROUPS.gateway;

const acknowledgeShown = new StoreScript(new URL("./acknowledge-shown.lua", import.meta.url));

export interface FeedOptions {
  /** Used by nobody else: it blocks. */
  reader: Redis;
  /** The same connection that the emitter publishes on: its commands go out before the acknowledgement. */
  commands: Redis;
  /** Unique among living gateways. */
  consumer: string;
  /** Shows the event to everyone and returns when it did, ms since the epoch. */
  show: (event: FeedEvent) => number;
}

/** Runs until `signal` aborts (and `reader` is disconnected). */
export async function feedEvents(options: FeedOptions, context: Context, signal: AbortSignal): Promise<void> {
  const { reader, commands, consumer } = options;
  let lastTakeOverMs = Number.NEGATIVE_INFINITY;
  let acknowledging: Promise<void> = Promise.resolve();
  /** The next events are read while these are being acknowledged: what is new need not wait for the store's disk. */
  const show = async (entries: readonly Entry[]) => {
    const before = acknowledging;
    acknowledging = showAll(entries, options, context);
    acknowledging.catch(() => {}); // heard at the next wait
    await before;
  };
  await loop(context, signal, "showing events", async () => {
    if (context.clock.monotonicMs() - lastTakeOverMs > WAIT_MS) {
      await show(await takeOver(commands, consumer));
      lastTakeOverMs = context.clock.monotonicMs();
    }
    await show(await readNext(reader, commands, consumer));
  });
  await acknowledging.catch(() => {});
}

type Entry = [id: string, fields: string[] | null];

async function readNext(reader: Redis, commands: Redis, consumer: string): Promise<Entry[]> {
  try {
    const read = reader.xreadgroup(
      "GROUP",
      GROUP,
      consumer,
      "COUNT",
      BATCH,
      "BLOCK",
      WAIT_MS,
      "STREAMS",
      KEYS.events,
      ">",
    );
    const streams = (await read) as [string, Entry[]][] | null;
    return streams?.[0]?.[1] ?? [];
  } catch (error) {
    if (!isMissingGroup(error)) throw error;
    await createGroup(commands);
    return [];
  }
}

async function takeOver(commands: Redis, consumer: string): Promise<Entry[]> {
  try {
    const answer = await commands.xautoclaim(KEYS.events, GROUP, consumer, TAKE_OVER_AFTER_MS, "0-0", "COUNT", BATCH);
    return (answer as [string, Entry[]])[1];
  } catch (error) {
    if (!isMissingGroup(error)) throw error;
    await createGroup(commands);
    return [];
  }
}

/** From the stream's beginning: what happened before the first gateway started is shown too. */
async function createGroup(commands: Redis): Promise<void> {
  await commands.xgroup("CREATE", KEYS.events, GROUP, "0", "MKSTREAM").catch((error: unknown) => {
    if (!(error instanceof Error && error.message.startsWith("BUSYGROUP"))) throw error;
  });
}

const isMissingGroup = (error: unknown) => error instanceof Error && error.message.startsWith("NOGROUP");

/** Shows the entries in order, then acknowledges all of them and notes the outcomes as shown, in one step. */
async function showAll(entries: readonly Entry[], options: FeedOptions, { log }: Context): Promise<void> {
  if (entries.length === 0) return;
  const args: (string | number)[] = [];
  for (const [id, fields] of entries) {
    const event = fields === null ? null : eventOf(fields);
    if (event === null) log.warn({ id }, "an event that cannot be read was left out");
    const shownAt = event === null ? 0 : options.show(event);
    if (event?.type === "outcome") {
      const { taskId, revision, outcome, metadata } = event.result;
      const timings: Timings & { shownAt: number } = { ...metadata.timings, shownAt };
      args.push(id, taskId, revision, outcome, JSON.stringify(timings));
    } else args.push(id, "", 0, "", "");
  }
  await acknowledgeShown.run(options.commands, [KEYS.events, KEYS.shown], [GROUP, ...args]);
}

function eventOf(fields: readonly string[]): FeedEvent | null {
  const { type, json } = fieldsOf(fields);
  try {
    const value: unknown = JSON.parse(json ?? "");
    if (type === "outcome") return { type, result: AssessmentResult.parse(value) };
    if (type === "camera") return { type, event: CameraEvent.parse(value) };
  } catch {
    // reported by the caller
  }
  return null;
}
