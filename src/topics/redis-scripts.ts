/** The Lua scripts of the Redis topics, each with the shared functions of redis-topic.lua before it. */
import { StoreScript } from "../store.ts";

const script = (file: string) =>
  new StoreScript(new URL(`./${file}.lua`, import.meta.url), [new URL("./redis-topic.lua", import.meta.url)]);

export const scripts = {
  publish: script("redis-publish"),
  tick: script("redis-tick"),
  release: script("redis-release"),
  handOut: script("redis-hand-out"),
  settle: script("redis-settle"),
  deadLetter: script("redis-dead-letter"),
  wake: script("redis-wake"),
  lag: script("redis-lag"),
  trim: script("redis-trim"),
  move: script("redis-move"),
  delete: script("redis-delete"),
  outboxTransfer: script("outbox-transfer"),
};
