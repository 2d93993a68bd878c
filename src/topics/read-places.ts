/**
 * How far a group's reading has its effects in the store, for topics that lie elsewhere: those keep their positions when the
 * store comes back without its newest writes, and what was read in the lost time would be read by nobody again. So each position is
 * noted in the store too, after the effects of all before it and before the topic hears of it: a store that has forgotten
 * effects has forgotten their note as well, and its older note says from where to read again. Each note belongs to a run of the store,
 * and one that was begun in another run is refused.
 *
 * A store that syncs each write forgets nothing: then nothing is noted.
 */
import type { Redis } from "ioredis";
import { z } from "zod";
import type { Context } from "../context.ts";
import { within } from "../lifecycle.ts";
import { connectStore, StoreScript } from "../store.ts";
import { followRun, type StoreRun } from "../store-run.ts";

/** Hash of a group: field = shard, value = <run of the store>:<next position>. */
const keyOf = (group: string) => `vl:read-places:${group}`;
/** A store that does not answer for so long is asked again later. */
const ANSWER_MS = 500;

const script = new StoreScript(new URL("./read-places.lua", import.meta.url));
const Looked = z.tuple([z.string(), z.array(z.string())]);
const Noted = z.tuple([z.string()]);

export interface NotedPlaces {
  /** The store's run that notes of this reading belong to; "": nothing needs to be noted. */
  run: string;
  /** Of shards whose position was noted in an earlier run: what comes from here on may have no effects any more. */
  before: ReadonlyMap<number, bigint>;
  /** Of shards whose note belongs to this run. */
  now: ReadonlyMap<number, bigint>;
}

export class ReadPlaces {
  readonly #redisUrl: string;
  readonly #context: Context;
  readonly #signal: AbortSignal;
  readonly #onForgot: () => void;
  #redis: Redis | undefined;
  #run: StoreRun | undefined;
  #opening: Promise<void> | undefined;

  /** `onForgot`: the store is in another run; what was begun in the one before is to be begun anew. Ends with `signal`, and `close`. */
  constructor(redisUrl: string, context: Context, signal: AbortSignal, onForgot: () => void) {
    this.#redisUrl = redisUrl;
    this.#context = context;
    this.#signal = signal;
    this.#onForgot = onForgot;
  }

  /** Undefined: the store cannot be asked at present. */
  async look(group: string): Promise<NotedPlaces | undefined> {
    this.#opening ??= this.#open();
    const [redis, run] = [this.#redis, this.#run];
    if (redis?.status !== "ready" || run === undefined) return undefined;
    if (run.id() === "") return { run: "", before: new Map(), now: new Map() };
    const asked = () => script.run(redis, [keyOf(group)], [""]);
    const answer = await within(this.#context.clock, ANSWER_MS, "the store's answer", asked).catch(() => undefined);
    if (answer === undefined) return undefined;
    const [present, flat] = Looked.parse(answer);
    const before = new Map<number, bigint>();
    const now = new Map<number, bigint>();
    for (let i = 0; i < flat.length; i += 2) {
      const [noted, position = "0"] = (flat[i + 1] ?? "").split(":");
      (noted === present ? now : before).set(Number(flat[i]), BigInt(position));
    }
    return { run: present, before, now };
  }

  /**
   * Notes the next positions of shards, whose effects up to there are in the store. False: the store is in another run than the
   * one in which they were begun, and nothing was noted. Waits for a store that is away.
   */
  async note(group: string, run: string, positions: ReadonlyMap<number, bigint>): Promise<boolean> {
    if (run === "" || positions.size === 0) return true;
    if (this.#redis === undefined) return false;
    const flat = [...positions].flatMap(([shard, position]) => [shard, String(position)]);
    const [present] = Noted.parse(await script.run(this.#redis, [keyOf(group)], [run, ...flat]));
    return present === run;
  }

  /** As `note`, but false as well where the store does not answer soon. */
  noteSoon(group: string, run: string, positions: ReadonlyMap<number, bigint>): Promise<boolean> {
    const noting = () => this.note(group, run, positions);
    return within(this.#context.clock, ANSWER_MS, "the store's answer", noting).catch(() => false);
  }

  close(): void {
    this.#redis?.disconnect();
  }

  async #open(): Promise<void> {
    try {
      this.#redis ??= await connectStore(this.#redisUrl, this.#context, {}, this.#signal);
      this.#run = await followRun(this.#redis, this.#context, this.#signal, this.#onForgot);
    } catch (error) {
      this.#opening = undefined; // at the next look
      if (!this.#signal.aborted) this.#context.log.debug({ err: error }, "the store cannot be asked for places yet");
    }
  }
}
