/** `vigilane topics tail`: shows messages as they come, or from a time on. */

import { readBetween } from "../topics/read-topic.ts";
import type { TopicMessage } from "../topics/topic-log.ts";
import { messageToJson, messageToText } from "./message-view.ts";
import { readWhen } from "./quantities.ts";
import { countOf, needOperands, say, type TopicsCall, topicThere } from "./topics-call.ts";
import { topicsUsage } from "./topics-help.ts";

export async function tail(call: TopicsCall): Promise<void> {
  const { tools, context, flag, given, signal } = call;
  const [name = ""] = needOperands(call, 1, topicsUsage("tail"));
  const topic = await topicThere(call, name);
  const most = countOf(call, "count") ?? Number.POSITIVE_INFINITY;
  const from = readWhen("from", flag("from") ?? (given("no-follow") ? "earliest" : "latest"), context.clock.nowMs());
  const start = await tools.placesAt(topic, from);
  const log = await call.log();
  const enough = new AbortController();
  const until = AbortSignal.any([signal, enough.signal]);
  const messages: AsyncIterable<TopicMessage> = given("no-follow")
    ? readBetween({ log, tools }, topic, start, await log.ends(topic), context, until)
    : log.tail(topic, start, until);
  let shown = 0;
  for await (const message of messages) {
    if (flag("key") !== undefined && message.key !== flag("key")) continue;
    say(given("json") ? messageToJson(message) : `${messageToText(message, { whole: given("whole") })}\n`);
    shown += 1;
    if (shown >= most) enough.abort();
  }
}
