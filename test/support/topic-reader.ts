/** Reads a subscription in a test: batch by batch, or so many messages, acknowledged as they come. */
import { onTestFinished } from "vitest";
import type { Batch, SubscribeOptions, TopicLog, TopicMessage } from "../../src/topics/topic-log.ts";

export class TopicReader {
  readonly #batches: AsyncIterator<Batch>;
  readonly #close: () => Promise<void>;
  readonly pause: () => void;
  readonly resume: () => void;

  constructor(log: TopicLog, topic: string, options: SubscribeOptions) {
    const subscription = log.subscribe(topic, options);
    this.#batches = subscription.batches()[Symbol.asyncIterator]();
    this.#close = () => subscription.close();
    this.pause = () => subscription.pause();
    this.resume = () => subscription.resume();
    onTestFinished(() => subscription.close());
  }

  /** The next batch, not ended. */
  async next(): Promise<Batch> {
    const { value, done } = await this.#batches.next();
    if (done) throw new Error("the subscription has ended");
    return value;
  }

  /** Acknowledges batches until `enough` says so of all that came; resolves with all messages. */
  async until(enough: (messages: readonly TopicMessage[]) => boolean): Promise<TopicMessage[]> {
    const messages: TopicMessage[] = [];
    while (!enough(messages)) {
      const batch = await this.next();
      messages.push(...batch.messages);
      await batch.acknowledge();
    }
    return messages;
  }

  take(count: number): Promise<TopicMessage[]> {
    return this.until((messages) => messages.length >= count);
  }

  close(): Promise<void> {
    return this.#close();
  }
}
