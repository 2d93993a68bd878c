/** What topics and consumer groups are called on the wire; inside of vigilane they have their names by design. */
import { z } from "zod";
import { CONSUMER_GROUPS } from "./names.ts";
import { deadLetterTopic, TOPICS } from "./topics/topic-log.ts";

/** As Kafka wants it, with room for `.dlq`. */
const topicName = (byDesign: string) =>
  z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,200}$/, "has to be 1 to 200 letters, digits, dots, dashes and underlines")
    .refine(
      (name) => !name.endsWith(".dlq") && !/^\.+$/.test(name),
      "may not end in .dlq, which is a topic's dead letters",
    )
    .default(byDesign);

const groupName = (byDesign: string) =>
  z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,100}$/, "has to be 1 to 100 letters, digits, dots, dashes and underlines")
    .default(byDesign);

export const topicNameSettings = {
  detectionsTopic: topicName(TOPICS.detections).describe(
    "Topic of detections; its dead letters are on the topic of this name and .dlq, as with the next three. Default detection-results.",
  ),
  tasksTopic: topicName(TOPICS.tasks).describe("Topic of tasks. Default assessment-tasks."),
  resultsTopic: topicName(TOPICS.results).describe("Topic of results. Default risk-assessment-results."),
  revisionsTopic: topicName(TOPICS.revisions).describe(
    "Topic of results of retries by hand, where older consumers read the results (olderConsumers). Default risk-assessment-revisions.",
  ),
  bridgeGroup: groupName(CONSUMER_GROUPS.bridge).describe(
    `Consumer group of the bridges, on Kafka with a dot and the topic's name behind it. Bridges of one group share the detections. Default ${CONSUMER_GROUPS.bridge}.`,
  ),
  resultsGroup: groupName(CONSUMER_GROUPS.results).describe(
    `Consumer group of the results roles, likewise. Default ${CONSUMER_GROUPS.results}.`,
  ),
};

const TOPIC_SETTINGS = ["detectionsTopic", "tasksTopic", "resultsTopic", "revisionsTopic"] as const;

export type TopicNames = Pick<z.infer<z.ZodObject<typeof topicNameSettings>>, (typeof TOPIC_SETTINGS)[number]>;

/** Two topics under one name: each would be read as the other. */
export function topicNameFaults(names: TopicNames): { setting: keyof TopicNames; why: string }[] {
  return TOPIC_SETTINGS.flatMap((setting, i) => {
    const same = TOPIC_SETTINGS.slice(0, i).find((other) => names[other] === names[setting]);
    return same ? [{ setting, why: `is the name of ${same}, too: each topic needs a name of its own` }] : [];
  });
}

/** From a topic's name by design to its name on the wire, and so for its dead letters; others keep theirs. */
export function topicNameOf(names: TopicNames): (topic: string) => string {
  const wire = new Map<string, string>([
    [TOPICS.detections, names.detectionsTopic],
    [TOPICS.tasks, names.tasksTopic],
    [TOPICS.results, names.resultsTopic],
    [TOPICS.revisions, names.revisionsTopic],
  ]);
  for (const [byDesign, name] of [...wire]) wire.set(deadLetterTopic(byDesign), deadLetterTopic(name));
  return (topic) => wire.get(topic) ?? topic;
}

/** A single name: of a topic by design, or one on the wire, which stays. */
export const wireName = (names: TopicNames, topic: string): string => topicNameOf(names)(topic);
