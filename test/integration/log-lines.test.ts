/** What a log line holds of an error: enough to find its cause, and nothing of the data that was under way. */
import { expect, onTestFinished, test } from "vitest";
import { createLogger, systemClock } from "../../src/context.ts";
import { VigilaneError } from "../../src/errors.ts";
import { connectStore } from "../../src/store.ts";
import { startRedis } from "../support/redis.ts";

const TASK_DATA = `task data ${"x".repeat(80_000)}`;

/** The line that logging `fields` makes, and its `err`. */
function logged(fields: Record<string, unknown>) {
  let line = "";
  createLogger("bridge", "info", {
    write: (text) => {
      line += text;
    },
  }).warn(fields, "it failed");
  return { line, err: JSON.parse(line).err };
}

async function redisOfTest() {
  const store = await startRedis();
  const log = createLogger("bridge", "silent");
  const redis = await connectStore(store.url, { clock: systemClock, log });
  onTestFinished(() => redis.disconnect());
  return redis;
}

test("a script that fails is told without the arguments that it was called with", async () => {
  const redis = await redisOfTest();
  const failed: unknown = await redis
    .eval("return redis.call('INCR', KEYS[1], 'too many')", 1, "k", TASK_DATA)
    .catch((error: unknown) => error);
  expect(JSON.stringify(failed)).toContain("task data"); // ioredis hangs it on the error
  const { line, err } = logged({ err: failed });
  expect(line).not.toContain("task data");
  expect(line.length).toBeLessThan(6_000);
  expect(err).toMatchObject({ type: "ReplyError", message: expect.stringContaining("Wrong number of args") });
  expect(err.stack).toContain("ReplyError");
});

test("neither are those of a cause, of a pipeline's errors, or of an error of many", async () => {
  const redis = await redisOfTest();
  await redis.set("k", "text");
  const reply = await redis.lpush("k", TASK_DATA).catch((error: unknown) => error);
  const pipeline = await redis
    .multi()
    .lpush("k", TASK_DATA)
    .call("GET", TASK_DATA, "one too many")
    .exec()
    .catch((error: unknown) => error);
  expect(pipeline).toHaveProperty("previousErrors");
  const errors = [
    new VigilaneError("STORE_AWAY", "nothing was admitted", { cause: new Error("inner", { cause: reply }) }),
    new AggregateError([reply, reply], "several"),
    pipeline,
  ];
  for (const error of errors) {
    const { line } = logged({ err: error });
    expect(line).not.toContain("task data");
    expect(line.length).toBeLessThan(20_000);
  }
  expect(logged({ err: errors[0] }).err).toMatchObject({
    code: "STORE_AWAY",
    message: "nothing was admitted",
    cause: { message: "inner", cause: { message: expect.stringContaining("WRONGTYPE") } },
  });
});

test("a long message is cut, also where the stack begins with it; what is short is kept", () => {
  const { line, err } = logged({
    err: Object.assign(new Error(TASK_DATA), { code: "E", long: TASK_DATA, status: 500 }),
  });
  expect(line.length).toBeLessThan(9_000);
  expect(err.message).toMatch(/^task data x{900,}…$/);
  expect(err.stack).toContain("log-lines.test.ts");
  expect(err).toMatchObject({ code: "E", status: 500 });
});

test("an error that is its own cause is told, too", () => {
  const error = new Error("round");
  error.cause = error;
  expect(logged({ err: error }).err.message).toBe("round");
});
