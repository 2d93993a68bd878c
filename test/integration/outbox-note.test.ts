/** What a real store keeps of what it has forgotten: however much that is, all of it or nothing. */
import { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { advance, keepForgotten, readForgotten, readNote } from "../../src/topics/outbox-note.ts";
import { startRedis } from "../support/redis.ts";

const OUTBOX = "{vl}:outbox";
/** More than fit into one piece. */
const names = Array.from({ length: 2_500 }, (_, n) => `task-${n}#1`);

async function store(): Promise<Redis> {
  const { url } = await startRedis({ appendonly: false });
  const redis = new Redis(url);
  onTestFinished(() => redis.disconnect());
  return redis;
}

test("all names are kept, and the note follows them; asked again, nothing changes", async () => {
  const redis = await store();
  const seal = await keepForgotten(redis, OUTBOX, names);
  for (const _ of ["first", "again"]) {
    expect(await advance(redis, OUTBOX, "", "next", { seal: seal ?? "" })).toBe("done");
    expect([...(await readForgotten(redis, OUTBOX))].toSorted()).toEqual(names.toSorted());
    expect(await readNote(redis, OUTBOX)).toBe("next");
  }
});

test("names that the store has forgotten before the note: the note does not follow", async () => {
  const redis = await store();
  const seal = await keepForgotten(redis, OUTBOX, names);
  await redis.del(`${OUTBOX}-forgotten`);
  expect(await advance(redis, OUTBOX, "", "next", { seal: seal ?? "" })).toBe("another");
  expect(await readNote(redis, OUTBOX)).toBe("");
});

test("a piece whose predecessor the store has forgotten is not kept", async () => {
  const redis = await store();
  const keeping = keepForgotten(redis, OUTBOX, names);
  // As soon as the first piece is there, the store loses it.
  const lost = "if redis.call('SCARD', KEYS[1]) > 0 then return redis.call('DEL', KEYS[1]) end return 0";
  while ((await redis.eval(lost, 1, `${OUTBOX}-forgotten`)) !== 1);
  expect(await keeping).toBeUndefined();
  expect(await readForgotten(redis, OUTBOX)).toEqual(new Set());
});
