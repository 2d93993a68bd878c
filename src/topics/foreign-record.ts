/** What is done to messages so that `foreign` (topic-log.ts) goes where they go. Pure. */
import type { OutgoingMessage } from "./topic-log.ts";

/**
 * What its shard is chosen by. Without a key it is the empty one, so that such messages keep their order; librdkafka's
 * partitioners `murmur2` and `consistent` do the same.
 */
export const keyOf = ({ key, foreign }: OutgoingMessage): string | Buffer => (foreign ? (foreign.key ?? "") : key);

/** What another topic is to take of a message. */
export const contentOf = ({ key, value, headers, foreign }: OutgoingMessage): OutgoingMessage => ({
  ...{ key, value },
  ...(headers && { headers }),
  ...(foreign && { foreign }),
});

/** The same message with these headers in the place of its own of these names. */
export function withHeaders(message: OutgoingMessage, more: Readonly<Record<string, string>>): OutgoingMessage {
  const { headers, foreign, ...rest } = withoutHeaders(message, Object.keys(more));
  const added = Object.entries(more).map(([name, text]) => [name, Buffer.from(text)] as const);
  return {
    ...rest,
    headers: { ...headers, ...more },
    ...(foreign && { foreign: { ...foreign, headers: [...foreign.headers, ...added] } }),
  };
}

export function withoutHeaders(message: OutgoingMessage, names: readonly string[]): OutgoingMessage {
  const { headers = {}, foreign, ...rest } = contentOf(message);
  const isOther = ([name]: readonly [string, unknown]) => !names.includes(name);
  return {
    ...rest,
    headers: Object.fromEntries(Object.entries(headers).filter(isOther)),
    ...(foreign && { foreign: { ...foreign, headers: foreign.headers.filter(isOther) } }),
  };
}
