import { expect, test } from "vitest";
import type { PreviewHeader } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { connectClient, eventually, type GatewayWorld, gatewayWorld } from "../support/gateway.ts";

function preview(cameraId: string, n: number): Buffer {
  const header: PreviewHeader = {
    cameraId,
    messageId: `m${n}`,
    capturedAtMs: 1_000 + n,
    detectedAtMs: 1_050 + n,
    imageWidth: 768,
    imageHeight: 576,
    objects: [{ class: "car", confidence: 0.8, bbox: [1, 2, 3, 4] }],
    groups: [],
  };
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(json.length);
  return Buffer.concat([length, json, Buffer.from(`picture ${n}`)]);
}

/** Publishes and returns how many gateways listened. */
const publish = (world: GatewayWorld, cameraId: string, n: number) =>
  world.redis.publish(KEYS.preview(cameraId), preview(cameraId, n));

test("pictures come to those who watch, one at a time, the newest after each acknowledgement", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start();
  const client = await connectClient(gateway.url(), "/live");
  const frames: { id: string; jpeg: string; drawn: () => void }[] = [];
  let heard = () => {};
  client.on("frame", (header, jpeg, drawn) => {
    frames.push({ id: header.messageId, jpeg: jpeg.toString(), drawn });
    heard();
  });
  const next = () => new Promise<void>((resolve) => (heard = resolve));

  expect(await publish(world, "north", 0)).toBe(0); // nobody watches
  expect(await client.emitWithAck("watch", ["north", "south"])).toEqual(["north", "south"]);
  await eventually(() => publish(world, "north", 1)).toBe(1);
  if (frames.length === 0) await next();
  expect(frames.at(-1)).toMatchObject({ id: "m1", jpeg: "picture 1" });

  // Not drawn yet: of these only the newest is sent, when it is.
  for (const n of [2, 3, 4]) await publish(world, "north", n);
  await publish(world, "south", 5);
  await next(); // another camera has a credit of its own
  expect(frames.map(({ id }) => id)).toEqual(["m1", "m5"]);
  frames[0]?.drawn();
  await next();
  expect(frames.map(({ id }) => id)).toEqual(["m1", "m5", "m4"]);

  await client.emitWithAck("watch", []);
  await eventually(() => publish(world, "north", 6)).toBe(0); // the gateway has stopped listening
});

test("at most twelve cameras, and only readable requests", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start();
  const client = await connectClient(gateway.url(), "/live");
  const many = Array.from({ length: 20 }, (_, i) => `camera-${i}`);
  expect(await client.emitWithAck("watch", [...many, ...many])).toEqual(many.slice(0, 12));
  const anything = client as unknown as { emitWithAck(event: string, ...args: unknown[]): Promise<unknown> };
  expect(await anything.emitWithAck("watch", ["ok", 7, "", null, "x".repeat(300)])).toEqual(["ok"]);
  expect(await anything.emitWithAck("watch", { length: 3 })).toEqual([]);
  client.emit("watch", ["ok"]); // without wanting an answer
  expect(await client.emitWithAck("watch", ["still there"])).toEqual(["still there"]);
});

test("who never draws is disconnected, others see on; a preview that cannot be read harms nobody", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start({ drawnWithinMs: 100 });
  const lazy = await connectClient(gateway.url(), "/live", { reconnection: false });
  const keen = await connectClient(gateway.url(), "/live");
  const gone = new Promise<string>((resolve) => lazy.once("disconnect", resolve));
  const seen: string[] = [];
  keen.on("frame", (header, _jpeg, drawn) => {
    seen.push(header.messageId);
    drawn();
  });
  await Promise.all([lazy.emitWithAck("watch", ["north"]), keen.emitWithAck("watch", ["north"])]);
  await eventually(() => publish(world, "north", 1)).toBe(1);
  expect(await gone).toBe("io server disconnect");
  await world.redis.publish(KEYS.preview("north"), Buffer.from([0, 0, 255, 255, 1]));
  await publish(world, "north", 2);
  await eventually(() => seen.at(-1)).toBe("m2");
});

test("pictures come again by themselves when the store is back", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start();
  const client = await connectClient(gateway.url(), "/live");
  const seen: string[] = [];
  client.on("frame", (header, _jpeg, drawn) => {
    seen.push(header.messageId);
    drawn();
  });
  await client.emitWithAck("watch", ["north"]);
  await eventually(() => publish(world, "north", 1)).toBe(1);
  await world.store.kill("SIGKILL");
  await world.store.restart();
  await expect.poll(() => publish(world, "north", 2), { timeout: 10_000 }).toBe(1);
  await eventually(() => seen.at(-1)).toBe("m2");
});
