/** Tasks whose crops are on a real S3 server, which goes away and comes back. */
import { once } from "node:events";
import { createServer } from "node:http";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { IMAGES_UNTIL, removeDue } from "../../src/results/image-life.ts";
import { openImageStore } from "../../src/roles/open-image-store.ts";
import { connectStore } from "../../src/store.ts";
import { type Pipeline, silent, startPipeline } from "../support/pipeline.ts";
import { s3There, startS3, type TestS3 } from "../support/s3.ts";

describe.skipIf(!s3There)("crops on S3", () => {
  let s3: TestS3;
  beforeAll(async () => {
    s3 = await startS3();
  });
  afterAll(() => s3.stop());

  async function pipeline(): Promise<Pipeline> {
    const world = await startPipeline({ settings: { ...s3.settingsOf(s3.bucket()), freshnessSeconds: 0 } });
    onTestFinished(() => world.stop());
    return world;
  }

  test("tasks whose crops cannot be had go back, call nobody, and are judged when the server is back", async () => {
    const world = await pipeline();
    await world.worker.stop();
    const ids = await world.offer(3);
    const away = await takeAway(s3);
    await world.worker.start();
    await away.asked(12); // each was taken and sent back, some of them again
    expect(world.provider.stats().accounts.reduce((sum, { calls }) => sum + calls, 0)).toBe(0);
    expect(world.results).toEqual([]);
    await away.over();
    const found = await world.outcomes(ids);
    for (const id of ids) {
      expect(found.get(id)).toMatchObject([{ outcome: "assessed", metadata: { attempts: 1 } }]);
    }
  });

  test("a detection with its image inside waits for the server, and is no poison however often it comes again", async () => {
    const world = await pipeline();
    const [, bytes] = await imageOf(world);
    const away = await takeAway(s3);
    const detection = {
      messageId: "inline",
      cameraId: "cam",
      timestamp: new Date().toISOString(),
      trafficGroups: [
        {
          groupIndex: 1,
          objectCount: 1,
          bbox: [0, 0, 9, 9],
          classes: ["car"],
          averageConfidence: 0.9,
          memberIndices: [0],
        },
      ],
      detectedObjects: [{ class: "car", confidence: 0.9, bbox: [0, 0, 9, 9] }],
      groupImages: [{ groupIndex: 1, imageBase64: bytes.toString("base64") }],
    };
    await world.publish([{ key: "cam", value: Buffer.from(JSON.stringify(detection)) }]);
    await away.asked(14); // two tries a time: more times than a poisonous message has
    await away.over();
    const found = await world.outcomes(["inline_group1"]);
    expect(found.get("inline_group1")).toMatchObject([{ outcome: "assessed" }]);
  });

  test("crops whose time is over while the server is away are deleted when it is back", async () => {
    const world = await pipeline();
    const images = openImageStore(world.settings, silent);
    onTestFinished(() => images.stop());
    await images.start();
    const redis = await connectStore(world.redis.url, silent);
    onTestFinished(() => redis.disconnect());
    const [due] = await imageOf(world);
    await redis.zadd(IMAGES_UNTIL, 1, due);
    const away = await takeAway(s3);
    await expect(removeDue(redis, images)).rejects.toMatchObject({ code: "IMAGES_AWAY" });
    await away.over();
    expect(await images.has(due)).toBe(true);
    expect(await removeDue(redis, images)).toBe(1);
    expect(await images.has(due)).toBe(false);
  });
});

/** The reference and bytes of a judged task's crop. */
async function imageOf(world: Pipeline): Promise<[reference: string, bytes: Buffer]> {
  const [id = ""] = await world.offer(1);
  const result = (await world.outcomes([id])).get(id)?.[0];
  const images = openImageStore(world.settings, silent);
  onTestFinished(() => images.stop());
  await images.start();
  const reference = String(result?.imageUrl);
  return [reference, await images.get(reference)];
}

/** In its place something answers that it cannot serve now, and counts. */
async function takeAway(s3: TestS3) {
  await s3.halt();
  let count = 0;
  let look = () => {};
  const standIn = createServer((request, response) => {
    count += 1;
    request.resume();
    response.writeHead(503).end();
    look();
  });
  standIn.listen(Number(new URL(s3.endpoint).port), "127.0.0.1");
  await once(standIn, "listening");
  const over = async () => {
    if (!standIn.listening) return;
    standIn.closeAllConnections();
    standIn.close();
    await once(standIn, "close");
    await s3.start();
  };
  onTestFinished(over);
  return {
    over,
    asked: (times: number) =>
      new Promise<void>((resolve) => {
        look = () => count >= times && resolve();
        look();
      }),
  };
}
