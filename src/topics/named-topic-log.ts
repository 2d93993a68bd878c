/** A log by the design names of its topics, whatever they are called on the wire. Messages say where they really lie. */
import { type TopicNames, topicNameOf } from "../topic-names.ts";
import type { Places, SubscribeOptions, TopicLog } from "./topic-log.ts";

export function namedTopicLog(log: TopicLog, names: TopicNames): TopicLog {
  const wire = topicNameOf(names);
  return {
    ...log,
    ensureTopic: (topic, failed) => log.ensureTopic(wire(topic), failed),
    publish: (topic, messages) => log.publish(wire(topic), messages),
    subscribe: (topic: string, options: SubscribeOptions) => log.subscribe(wire(topic), options),
    lag: (topic, group) => log.lag(wire(topic), group),
    tail: (topic: string, start: Places | "earliest", signal: AbortSignal) => log.tail(wire(topic), start, signal),
    ends: (topic) => log.ends(wire(topic)),
  };
}
