/**
 * A real S3 server for tests: Versity's S3 gateway over a temporary folder, on a free port. The program is
 * VIGILANE_TEST_S3_SERVER, else versitygw on the PATH, else what scripts/s3-server.mjs has built into the cache; where
 * there is none, `s3There` is false and the tests that need one are skipped.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { builtServer } from "../../scripts/s3-server.mjs";
import type { S3Place } from "../../src/images/s3-image-store.ts";
import type { Settings } from "../../src/settings.ts";
import { findOnPath } from "../../src/supervisor/programs.ts";
import { freePort } from "./redis.ts";

const PROGRAM = process.env.VIGILANE_TEST_S3_SERVER ?? findOnPath(["versitygw"], process.env) ?? builtServer();

export const s3There = existsSync(PROGRAM);

const KEY = { id: "vigilane-tests", secret: "only-for-tests-0123456789" };
const STARTS_WITHIN_MS = 30_000;

export interface TestS3 {
  endpoint: string;
  key: typeof KEY;
  /** A new, empty bucket of it, as an adapter is given it. */
  bucket(): S3Place;
  /** The same, as a role's process reads it. */
  environmentOf(place: S3Place): Record<string, string>;
  settingsOf(place: S3Place): Partial<Settings>;
  /** Puts files there, past the server. */
  putForeign(place: S3Place, keys: readonly string[], bytes?: number): void;
  /** What the bucket holds, sorted. */
  keysOf(place: S3Place): string[];
  /** Ends it; what it holds stays for the next `start`, on the same port. */
  halt(): Promise<void>;
  start(): Promise<void>;
  /** Ends it for good. It never outlives this process. */
  stop(): Promise<void>;
}

/** Resolves when it accepts connections; the caller stops it. */
export async function startS3(): Promise<TestS3> {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-s3-"));
  const buckets = join(folder, "buckets");
  const sidecar = join(folder, "metadata"); // not every file system has extended attributes
  for (const path of [buckets, sidecar]) mkdirSync(path);
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;
  let made = 0;
  const killWithUs = () => void child?.kill("SIGKILL");
  process.on("exit", killWithUs);

  async function halt() {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  async function start() {
    const args = ["--port", `127.0.0.1:${port}`, "--quiet", "--keep-alive", "posix", "--sidecar", sidecar, buckets];
    const env = { PATH: process.env.PATH, ROOT_ACCESS_KEY: KEY.id, ROOT_SECRET_KEY: KEY.secret };
    child = spawn(PROGRAM, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text: Buffer) => (said += text.toString()));
    for (const until = performance.now() + STARTS_WITHIN_MS; ; await wait(20)) {
      if (child.exitCode !== null) throw new Error(`the S3 server ended (${child.exitCode}): ${said}`);
      const answer = await fetch(endpoint).catch(() => undefined);
      await answer?.body?.cancel();
      if (answer) return;
      if (performance.now() > until) throw new Error(`the S3 server does not answer at ${endpoint}: ${said}`);
    }
  }

  await start();
  return {
    endpoint,
    key: KEY,
    bucket() {
      made += 1;
      const bucket = `crops-${made}`;
      mkdirSync(join(buckets, bucket));
      return { bucket, region: "us-east-1", endpoint, pathStyle: true, key: KEY };
    },
    environmentOf: ({ bucket }) => ({
      VIGILANE_S3_BUCKET: bucket,
      VIGILANE_S3_ENDPOINT: endpoint,
      VIGILANE_S3_ACCESS_KEY_ID: KEY.id,
      VIGILANE_S3_SECRET_ACCESS_KEY: KEY.secret,
    }),
    settingsOf: ({ bucket }) => ({
      s3Bucket: bucket,
      s3Endpoint: endpoint,
      s3AccessKeyId: KEY.id,
      s3SecretAccessKey: KEY.secret,
    }),
    putForeign({ bucket }, keys, bytes = 9) {
      for (const key of keys) {
        const path = join(buckets, bucket, key);
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, Buffer.alloc(bytes, "x"));
      }
    },
    keysOf({ bucket }) {
      const root = join(buckets, bucket);
      const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
      return files.map((file) => relative(root, join(file.parentPath, file.name))).sort();
    },
    halt,
    start,
    async stop() {
      process.off("exit", killWithUs);
      await halt();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
