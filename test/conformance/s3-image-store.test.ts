/** The image store on a real S3 server (test/support/s3.ts), and what each of its refusals is told as. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type Clock, systemClock } from "../../src/context.ts";
import { explain } from "../../src/errors.ts";
import { toHour } from "../../src/images/image-store.ts";
import { askS3, createS3ImageStore, type S3Place } from "../../src/images/s3-image-store.ts";
import { imagePlace } from "../../src/roles/open-image-store.ts";
import { Settings } from "../../src/settings.ts";
import { s3There, startS3, type TestS3 } from "../support/s3.ts";
import { type ImageStoreFixture, imageStoreConformance } from "./image-store.suite.ts";

const log = pino({ level: "silent" });
const HOUR_MS = 3_600_000;
const jpeg = Buffer.alloc(1_000, 0xd8);

describe.skipIf(!s3There)("on a real S3 server", () => {
  let s3: TestS3;
  beforeAll(async () => {
    s3 = await startS3();
  });
  afterAll(() => s3.stop());

  async function opened(place: S3Place, clock: Clock = systemClock) {
    const store = createS3ImageStore(place, { clock, log });
    onTestFinished(() => store.stop());
    await store.start();
    return store;
  }

  let last: S3Place;
  const fixture: ImageStoreFixture = {
    open(clock) {
      last = s3.bucket();
      return opened(last, clock);
    },
    openAgain: () => opened(last),
    create: () => createS3ImageStore(s3.bucket(), { clock: systemClock, log }),
  };

  imageStoreConformance("S3", fixture);

  test("more images than the server lists or deletes at once are swept, and what is not ours is left alone", async () => {
    const place = s3.bucket();
    const store = await opened(place);
    const hour = toHour(systemClock.nowMs());
    const bytes = 10;
    s3.putForeign(
      place,
      Array.from({ length: 1_050 }, (_, n) => `images/c/${hour}/m${n}.jpg`),
      bytes,
    );
    s3.putForeign(place, ["images/notes.txt", "images/c/readme.md", "other/c/2026010100/x.jpg"]);
    expect(await store.sweep({ maxAgeMs: HOUR_MS, maxBytes: 1e9 })).toEqual({ removed: 0, bytes: 1_050 * bytes });
    expect(await store.sweep({ maxAgeMs: HOUR_MS, maxBytes: 99 })).toEqual({ removed: 1_041, bytes: 90 });
    expect(await store.sweep({ maxAgeMs: -HOUR_MS, maxBytes: 99 })).toEqual({ removed: 9, bytes: 0 });
    expect(s3.keysOf(place)).toEqual(["images/c/readme.md", "images/notes.txt", "other/c/2026010100/x.jpg"]);
  });

  test("several that sweep at once take together what one alone would take", async () => {
    const place = s3.bucket();
    const stores = await Promise.all([opened(place), opened(place), opened(place)]);
    const references: string[] = [];
    for (let n = 0; n < 60; n += 1) references.push(await (stores[0] as (typeof stores)[0]).put(`c${n}`, "m", jpeg));
    await Promise.all(stores.map((store) => store.sweep({ maxAgeMs: HOUR_MS, maxBytes: 20_000 })));
    expect(s3.keysOf(place)).toHaveLength(20);
  });

  test("a bucket that is not there, a wrong key and a wrong secret are refused at the start, each by its name", async () => {
    const place = s3.bucket();
    const said = async (wrong: Partial<S3Place>) => {
      const store = createS3ImageStore({ ...place, ...wrong }, { clock: systemClock, log });
      const fault: unknown = await store.start().catch((error: unknown) => error);
      expect(fault).toMatchObject({ code: "IMAGES_REFUSED", retry: "never", blames: "setting" });
      return explain(fault);
    };
    expect(await said({ bucket: "not-there" })).toMatch(
      /bucket not-there at http:.*NoSuchBucket.*404.*Make the bucket/,
    );
    const wrongId = await said({ key: { id: "somebody-else", secret: "planted-0123456789" } });
    expect(wrongId).toMatch(/InvalidAccessKeyId|XAdminUserNotFound/);
    const wrongSecret = await said({ key: { id: s3.key.id, secret: "planted-0123456789" } });
    expect(wrongSecret).toMatch(/SignatureDoesNotMatch/);
    for (const text of [wrongId, wrongSecret]) expect(text).not.toContain("planted");
  });

  test("while the server is away every call says so within seconds, and goes on when it is back", async () => {
    const own = await startS3();
    onTestFinished(() => own.stop());
    const lines: string[] = [];
    const told = pino({ level: "info" }, { write: (line) => lines.push(line) });
    const store = createS3ImageStore(own.bucket(), { clock: systemClock, log: told });
    onTestFinished(() => store.stop());
    await store.start();
    const reference = await store.put("c", "m", jpeg);
    await own.halt();
    const since = performance.now();
    const away = {
      code: "IMAGES_AWAY",
      retry: "later",
      message: expect.stringMatching(/cannot be reached: .*ECONNREFUSED/),
    };
    await expect(store.get(reference)).rejects.toMatchObject(away);
    await expect(store.has(reference)).rejects.toMatchObject(away);
    await expect(store.put("c", "m2", jpeg)).rejects.toMatchObject(away);
    await expect(store.remove([reference])).rejects.toMatchObject(away);
    await expect(store.sweep({ maxAgeMs: 0, maxBytes: 0 })).rejects.toMatchObject(away);
    expect(performance.now() - since).toBeLessThan(3 * 5_000);
    // One that begins meanwhile waits for nothing, and has its images when the server is back.
    const later = await opened({ ...own.bucket(), bucket: "crops-1" });
    await own.start();
    expect(await store.get(reference)).toEqual(jpeg);
    expect(await later.get(reference)).toEqual(jpeg);
    // Two lines in all, however many crops there were meanwhile.
    expect(lines).toEqual([
      expect.stringMatching(/cannot be reached.*IMAGES_AWAY.*Start the S3 server again/),
      expect.stringContaining("can be used again"),
    ]);
  });
});

test("a server that takes the connection and never answers is away, within seconds", async () => {
  const mute = createServer(() => {}).listen(0, "127.0.0.1");
  await new Promise((resolve) => mute.once("listening", resolve));
  onTestFinished(() => {
    mute.closeAllConnections();
    mute.close();
  });
  const { port } = mute.address() as AddressInfo;
  const key = { id: "id", secret: "secret" };
  const place = { bucket: "crops", region: "us-east-1", endpoint: `http://127.0.0.1:${port}`, pathStyle: true, key };
  const since = performance.now();
  await expect(askS3(place)).rejects.toMatchObject({ code: "IMAGES_AWAY" });
  expect(performance.now() - since).toBeLessThan(3 * 8_000);
});

test("what answers and is no S3 server is refused", async () => {
  const page = createServer((_request, response) =>
    response.writeHead(404, { "content-type": "text/html" }).end("<p>no"),
  );
  page.listen(0, "127.0.0.1");
  await new Promise((resolve) => page.once("listening", resolve));
  onTestFinished(() => void page.close());
  const { port } = page.address() as AddressInfo;
  const key = { id: "id", secret: "secret" };
  const place = { bucket: "crops", region: "us-east-1", endpoint: `http://127.0.0.1:${port}`, pathStyle: true, key };
  await expect(askS3(place)).rejects.toMatchObject({ code: "IMAGES_REFUSED", message: expect.stringContaining("404") });
});

describe("the settings", () => {
  const place = (given: Partial<Settings>, env: NodeJS.ProcessEnv = {}) =>
    imagePlace({ ...Settings.parse({ data: "/d" }), ...given }, env);

  test("without a bucket the crops are in the data folder; with one they are there", () => {
    expect(place({})).toEqual({ kind: "folder", folder: "/d/images" });
    expect(place({ s3Bucket: "crops" })).toMatchObject({
      kind: "s3",
      endpoint: undefined,
      pathStyle: false,
      key: undefined,
    });
    expect(place({ s3Bucket: "crops", s3Endpoint: "http://s3:9000" })).toMatchObject({ pathStyle: true });
    expect(place({ s3Bucket: "crops", s3Endpoint: "http://s3:9000", s3PathStyle: false })).toMatchObject({
      pathStyle: false,
    });
  });

  test("the secret may be in a file or in another variable; half a key and a half-named place are refused", () => {
    const folder = mkdtempSync(join(tmpdir(), "vigilane-s3-secret-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, "secret");
    writeFileSync(file, "from-a-file\n");
    const given = { s3Bucket: "crops", s3AccessKeyId: "id" };
    const key = (secret: string, env = {}) => place({ ...given, s3SecretAccessKey: secret }, env);
    expect(key(`file:${file}`)).toMatchObject({ key: { id: "id", secret: "from-a-file" } });
    expect(key("$" + "{ELSEWHERE}", { ELSEWHERE: "from-there" })).toMatchObject({ key: { secret: "from-there" } });
    expect(() => key("file:/no/such/file")).toThrow(/s3SecretAccessKey: the file \/no\/such\/file cannot be read/);
    expect(() => place(given)).toThrow(/s3SecretAccessKey is not/);
    expect(() => place({ s3Bucket: "crops", s3SecretAccessKey: "planted" })).toThrow(/s3AccessKeyId is not/);
    expect(() => place({ s3Endpoint: "http://s3:9000" })).toThrow(/s3Bucket is not/);
  });
});
