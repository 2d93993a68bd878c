/**
 * The image store in a bucket of an S3 server, for several machines. The key of an image is its reference without
 * `vigilane:`, that is images/<camera>/<yyyymmddhh>/<name>.jpg; nothing else in the bucket is ever touched.
 *
 * An image's age goes by the server's clock (LastModified), which many servers keep in whole seconds: of images of one
 * second the sweep takes the first by name. The SDK is loaded by the start: who keeps images in a folder never pays for it.
 */
import type { S3Client } from "@aws-sdk/client-s3";
import type { Context } from "../context.ts";
import { type ErrorCode, explain, VigilaneError } from "../errors.ts";
import { service } from "../lifecycle.ts";
import { IMAGE_REFERENCE, type ImageStore, jpegName, partsOf, safeName, toHour } from "./image-store.ts";

export interface S3Place {
  bucket: string;
  region: string;
  /** Undefined: AWS' own of the region. */
  endpoint: string | undefined;
  /** endpoint/bucket/key instead of bucket.endpoint/key. */
  pathStyle: boolean;
  /** Undefined: what AWS' own chain finds (its variables, its profile, the machine's or container's role). */
  key: { id: string; secret: string } | undefined;
}

type Sdk = typeof import("@aws-sdk/client-s3");

const SCHEME = "vigilane:";
const PREFIX = "images/";
const HOUR_MS = 3_600_000;
/** The most that S3 deletes at once. */
const AT_ONCE = 1_000;
/**
 * Of a try, ms, the wait for one of SOCKETS included. The SDK makes one more try by itself where that may help; whoever
 * calls has a way of its own to try later.
 */
const TRY_MS = 5_000;
const TRIES = 2;
const SOCKETS = 64;
/** Whoever only asks is told sooner. */
const ASK_MS = 3_000;

/** Its only lines are about many requests waiting for a socket, and by default they go to the console. */
const nothing = () => {};
const SILENT = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing };

interface Listed {
  key: string;
  bytes: number;
  writtenMs: number;
}

export function createS3ImageStore(place: S3Place, context: Context): ImageStore {
  let connected: { sdk: Sdk; client: S3Client } | undefined;
  const base = service("images on S3", context, async (acquired, signal) => {
    const { sdk, client } = await connect(place);
    connected = acquired.add({ sdk, client }, "S3 connections", () => client.destroy());
    try {
      await ask(sdk, client, place, signal);
    } catch (error) {
      // Who is refused now is refused for ever; a server that is away comes back, and each call asks it anew.
      if (!(error instanceof VigilaneError) || error.code !== "IMAGES_AWAY") throw error;
      noteFault(error);
    }
  });
  let fault: ErrorCode | undefined;

  /** Once, and not for each crop. */
  function noteFault(error: VigilaneError): void {
    if (error.code === fault || error.code === "IMAGE_GONE") return;
    fault = error.code;
    context.log.warn({ code: fault }, explain(error));
  }

  /** The SDK's errors become ours. IMAGE_GONE only where the reference is given. */
  async function call<T>(work: (sdk: Sdk, client: S3Client) => Promise<T>, reference?: string): Promise<T> {
    if (!connected) throw new VigilaneError("STOPPED", "the image store is not started");
    try {
      const done = await work(connected.sdk, connected.client);
      if (fault) context.log.info({}, `the images' ${showPlace(place)} can be used again`);
      fault = undefined;
      return done;
    } catch (error) {
      const ours = toOurs(error, place, reference);
      noteFault(ours);
      throw ours;
    }
  }

  const exists = (key: string) =>
    call(async (sdk, client) => {
      try {
        await client.send(new sdk.HeadObjectCommand({ Bucket: place.bucket, Key: key }));
        return true;
      } catch (error) {
        if (statusOf(error) === 404) return false;
        throw error;
      }
    });

  const removeKeys = (keys: readonly string[]) =>
    call(async (sdk, client) => {
      for (let i = 0; i < keys.length; i += AT_ONCE) {
        const Objects = keys.slice(i, i + AT_ONCE).map((Key) => ({ Key }));
        const request = new sdk.DeleteObjectsCommand({ Bucket: place.bucket, Delete: { Objects, Quiet: true } });
        // Another sweep took it at the same moment: S3 itself says nothing of that, Versity's gateway does.
        const [fault] = ((await client.send(request)).Errors ?? []).filter(({ Code }) => Code !== "NoSuchKey");
        if (fault) throw refused(place, `${fault.Code} for ${fault.Key}: ${fault.Message}`);
      }
    });

  return {
    ...base,

    async put(camera, name, jpeg) {
      const keyOf = (ms: number) => `${PREFIX}${safeName(camera)}/${toHour(ms)}/${jpegName(name)}`;
      const nowMs = context.clock.nowMs();
      // An image that is put again after the turn of the hour is overwritten where it is, not doubled.
      const earlier = keyOf(nowMs - HOUR_MS);
      const key = (await exists(earlier)) ? earlier : keyOf(nowMs);
      const request = { Bucket: place.bucket, Key: key, Body: jpeg, ContentType: "image/jpeg" };
      await call((sdk, client) => client.send(new sdk.PutObjectCommand(request)));
      return `${SCHEME}${key}`;
    },

    async get(reference) {
      const key = keyOfReference(reference);
      return await call(async (sdk, client) => {
        const { Body } = await client.send(new sdk.GetObjectCommand({ Bucket: place.bucket, Key: key }));
        return Buffer.from((await Body?.transformToByteArray()) ?? []);
      }, reference);
    },

    async has(reference) {
      return await exists(keyOfReference(reference));
    },

    async remove(references) {
      await removeKeys(references.map(keyOfReference));
    },

    async sweep({ maxAgeMs, maxBytes }) {
      const oldestMs = context.clock.nowMs() - maxAgeMs;
      const images = await call((sdk, client) => listAll(sdk, client, place.bucket));
      images.sort((a, b) => a.writtenMs - b.writtenMs || (a.key < b.key ? -1 : 1));
      let bytes = images.reduce((sum, image) => sum + image.bytes, 0);
      const leaving: string[] = [];
      for (const image of images) {
        if (image.writtenMs >= oldestMs && bytes <= maxBytes) break;
        leaving.push(image.key);
        bytes -= image.bytes;
      }
      await removeKeys(leaving);
      return { removed: leaving.length, bytes };
    },
  };
}

/** Rejects with IMAGES_AWAY or IMAGES_REFUSED, within seconds, where the bucket cannot be looked into. */
export async function askS3(place: S3Place): Promise<void> {
  const { sdk, client } = await connect(place, ASK_MS, 1);
  try {
    await ask(sdk, client, place);
  } finally {
    client.destroy();
  }
}

/** For people: never with the key. */
export const showPlace = ({ bucket, endpoint, region }: S3Place) =>
  `bucket ${bucket} at ${endpoint ?? `AWS ${region}`}`;

async function connect({ endpoint, region, pathStyle, key }: S3Place, tryMs = TRY_MS, tries = TRIES) {
  const sdk = await import("@aws-sdk/client-s3");
  const client = new sdk.S3Client({
    region,
    forcePathStyle: pathStyle,
    maxAttempts: tries,
    requestHandler: {
      connectionTimeout: tryMs,
      requestTimeout: tryMs,
      throwOnRequestTimeout: true,
      socketTimeout: tryMs,
      httpAgent: { keepAlive: true, maxSockets: SOCKETS },
      httpsAgent: { keepAlive: true, maxSockets: SOCKETS },
      logger: SILENT,
    },
    // Checksums of AWS' own kind are refused by other servers, older ones above all.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    ...(endpoint !== undefined && { endpoint }),
    ...(key && { credentials: { accessKeyId: key.id, secretAccessKey: key.secret } }),
  });
  return { sdk, client };
}

/** A list and not the bucket's head: of a head's refusal the server never says the reason. */
async function ask(sdk: Sdk, client: S3Client, place: S3Place, signal?: AbortSignal): Promise<void> {
  const request = new sdk.ListObjectsV2Command({ Bucket: place.bucket, Prefix: PREFIX, MaxKeys: 1 });
  try {
    await client.send(request, signal && { abortSignal: signal });
  } catch (error) {
    throw toOurs(error, place);
  }
}

/** Ours alone; a request for each thousand. */
async function listAll(sdk: Sdk, client: S3Client, bucket: string): Promise<Listed[]> {
  const images: Listed[] = [];
  for await (const page of sdk.paginateListObjectsV2({ client }, { Bucket: bucket, Prefix: PREFIX })) {
    for (const { Key: key, Size: bytes = 0, LastModified } of page.Contents ?? []) {
      if (key === undefined || !IMAGE_REFERENCE.test(SCHEME + key)) continue;
      images.push({ key, bytes, writtenMs: LastModified?.getTime() ?? 0 });
    }
  }
  return images;
}

/** Throws IMAGE_FOREIGN for anything but our own spelling. */
function keyOfReference(reference: string): string {
  partsOf(reference);
  return reference.slice(SCHEME.length);
}

/** The status of the server's answer; undefined: there was none. */
const statusOf = (error: unknown): number | undefined =>
  (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode ??
  (error as { $response?: { statusCode?: number } }).$response?.statusCode;

function toOurs(error: unknown, place: S3Place, reference?: string): VigilaneError {
  if (error instanceof VigilaneError) return error;
  const { name = "", message = "" } = error instanceof Error ? error : {};
  const status = statusOf(error);
  // By its name alone: some servers answer 404 to a key that they do not know, too.
  if (reference !== undefined && name === "NoSuchKey") {
    return new VigilaneError("IMAGE_GONE", `the image ${reference} is not there any more`);
  }
  if (name === "CredentialsProviderError") return refused(place, "no key is set, and none is found otherwise");
  // No cause is handed on: what hangs on the SDK's errors tells the request with its signature.
  if (status === undefined || status >= 500 || status === 429) {
    const why = status === undefined ? networkFault(error) : `${status} ${name}`;
    return new VigilaneError("IMAGES_AWAY", `the images' ${showPlace(place)} cannot be reached: ${why}`);
  }
  return refused(place, `${name}${message && message !== name ? `: ${message}` : ""} (${status})`);
}

const refused = (place: S3Place, why: string) =>
  new VigilaneError("IMAGES_REFUSED", `the images' ${showPlace(place)} cannot be used: ${why}`);

/** "connect ECONNREFUSED …"; several addresses' faults have no words of their own, but a code. */
function networkFault(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message || (error as NodeJS.ErrnoException).code || error.name;
}
