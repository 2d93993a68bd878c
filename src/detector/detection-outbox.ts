/**
 * Detections on their way to the topic: crops into the image store first, then the message. When store or topic are slow
 * or away, looking goes on; the newest detections of each camera wait here, older ones are dropped and counted. (What was
 * never appended was never accepted; by the time the store is back it would be stale.)
 */
import type { Context } from "../context.ts";
import type { ToPublish } from "../events.ts";
import type { ImageStore } from "../images/image-store.ts";
import { loop } from "../lifecycle.ts";
import type { Detection } from "../messages.ts";
import { TOPICS, type TopicLog } from "../topics/topic-log.ts";
import type { OlderDetectionKeys } from "./older-detection-key.ts";

/** A detection without its images' references, and the images. */
export interface Parcel {
  detection: Detection & { cameraId: string };
  /** imageHash: where verdicts are to be re-used. */
  crops: { groupIndex: number; jpeg: Buffer; imageHash?: string }[];
}

/** Detections of one camera that wait at most. */
const WAITING_PER_CAMERA = 10;
const BATCH = 50;
/** Of a message with its crops in it: brokers take 1 MiB, librdkafka by default a million bytes. */
const MOST_BYTES = 900_000;
/** Of one crop's entry besides the picture. */
const ENTRY_BYTES = 300;

export interface OutboxOptions {
  /** Crops stand in the messages themselves, as far as there is room; else as references into the image store. */
  inlineImages?: boolean;
  olderKeys?: OlderDetectionKeys | undefined;
}

export class DetectionOutbox {
  readonly #topics: Pick<TopicLog, "publish">;
  readonly #images: Pick<ImageStore, "put">;
  readonly #context: Context;
  readonly #options: OutboxOptions;
  #waiting: Parcel[] = [];
  /** Handed to the topic, and without its word so far. */
  #sending = 0;
  #wake: () => void = () => {};
  published = 0;
  dropped = 0;

  constructor(
    topics: Pick<TopicLog, "publish">,
    images: Pick<ImageStore, "put">,
    context: Context,
    options: OutboxOptions = {},
  ) {
    this.#options = options;
    this.#topics = topics;
    this.#images = images;
    this.#context = context;
  }

  /** Never waits. */
  offer(parcel: Parcel): void {
    this.#waiting.push(parcel);
    const { cameraId } = parcel.detection;
    const ofCamera = this.#waiting.filter((other) => other.detection.cameraId === cameraId);
    if (ofCamera.length > WAITING_PER_CAMERA) {
      this.#waiting.splice(this.#waiting.indexOf(ofCamera[0] as Parcel), 1);
      this.dropped += 1;
    }
    this.#wake();
  }

  /** What waits now, of what as many cameras may have waiting. */
  toPublish(cameras: number): ToPublish {
    const most = cameras * WAITING_PER_CAMERA + BATCH;
    return { waiting: this.#waiting.length + this.#sending, most, dropped: this.dropped, paused: false };
  }

  /** Publishes until `signal` aborts; then what waits is sent once more, for as long as the caller's deadline allows. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener("abort", () => this.#wake(), { once: true });
    let batch: Parcel[] = [];
    await loop(this.#context, signal, "publishing detections", async () => {
      if (batch.length === 0) batch = this.#waiting.splice(0, BATCH);
      if (batch.length === 0) return await this.#offered(signal);
      this.#sending = batch.length;
      await this.#send(batch);
      batch = [];
      this.#sending = 0;
    });
    await this.#send([...batch, ...this.#waiting.splice(0)]);
  }

  /** Repeatable: references and message ids are the same the second time, and consumers are idempotent by them. */
  async #send(parcels: readonly Parcel[]): Promise<void> {
    if (parcels.length === 0) return;
    const messages = await Promise.all(parcels.map((parcel) => this.#message(parcel)));
    await this.#options.olderKeys?.write(parcels);
    await this.#topics.publish(TOPICS.detections, messages);
    this.published += parcels.length;
  }

  async #message({ detection, crops }: Parcel) {
    let roomBytes = this.#options.inlineImages ? MOST_BYTES - Buffer.byteLength(JSON.stringify(detection)) : 0;
    const groupImages = await Promise.all(
      crops.map(async ({ groupIndex, jpeg, imageHash }) => {
        const rest = imageHash ? { imageHash } : {};
        const inlineBytes = Math.ceil(jpeg.length / 3) * 4 + ENTRY_BYTES;
        if (inlineBytes <= roomBytes) {
          roomBytes -= inlineBytes;
          const group = detection.trafficGroups.find((one) => one.groupIndex === groupIndex);
          const about = { objectCount: group?.objectCount ?? 0, classes: group?.classes ?? [] };
          return { groupIndex, ...about, imageBase64: jpeg.toString("base64"), ...rest };
        }
        const name = `${detection.messageId}_group${groupIndex}`;
        const imageUrl = await this.#images.put(detection.cameraId, name, jpeg);
        return { groupIndex, imageUrl, ...rest };
      }),
    );
    const complete: Detection = { ...detection, groupImages };
    return { key: detection.cameraId, value: Buffer.from(JSON.stringify(complete)) };
  }

  #offered(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (this.#waiting.length > 0 || signal.aborted) resolve();
    });
  }
}
