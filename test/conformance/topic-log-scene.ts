/** What the topics' conformance tests set their scenes with. */
import { randomUUID } from "node:crypto";
import type { OutgoingMessage, SubscribeOptions, TopicLog, TopicMessage } from "../../src/topics/topic-log.ts";
import type { TopicTools } from "../../src/topics/topic-tools.ts";
import type { TopicLogSpec, TopicLogWishes } from "../support/open-topic-log.ts";
import { TopicReader } from "../support/topic-reader.ts";

export interface TopicLogFixture {
  /** Describes the log, for this process and others. */
  spec(overrides?: Partial<TopicLogWishes>): TopicLogSpec;
  /** A started log with connections of its own, as another process would have; stopped at the test's end. */
  open(overrides?: Partial<TopicLogWishes>): Promise<TopicLog>;
  /** Tools of the same topics, started; stopped at the test's end. */
  openTools(): Promise<TopicTools>;
  /** Not started. */
  create(): TopicLog;
  /** kill -9 of the store or broker, and back again on the same address. */
  crashStore(): Promise<void>;
  restoreStore(): Promise<void>;
  /** How long the store or broker may take to be back, ms. */
  restartMs: number;
}

/** A topic of its own on a log of its own. */
export async function sceneOf(fixture: TopicLogFixture, shards: number) {
  const topic = `t-${randomUUID()}`;
  const open = async () => {
    const log = await fixture.open({ shards });
    await log.ensureTopic(topic);
    const reader = (options: Partial<SubscribeOptions> = {}, of = topic) =>
      new TopicReader(log, of, { group: "readers", consumer: "a", ...options });
    return { log, reader };
  };
  /** `another`: the same topic as another process would have it. */
  return { topic, ...(await open()), another: open };
}

export const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);
export const keysOf = (count: number) => upTo(count).map((n) => `camera-${n}`);

/** A message that says its key and its number. */
export const said = (key: string, n: number): OutgoingMessage => ({ key, value: Buffer.from(`${key} ${n}`) });

export const numbersOf = (messages: readonly Pick<TopicMessage, "key" | "value">[], key: string) =>
  messages.filter((m) => m.key === key).map((m) => Number(m.value.toString().slice(key.length + 1)));
