import { expect, test } from "vitest";
import { loadSettings } from "../../src/config.ts";
import { wireName } from "../../src/topic-names.ts";
import { namedTopicLog } from "../../src/topics/named-topic-log.ts";
import type { TopicLog } from "../../src/topics/topic-log.ts";

const namesOf = (env: NodeJS.ProcessEnv) => loadSettings([], { ...env, VIGILANE_CONFIG: "" }).settings;

test("topics are called as the settings say, their dead letters after them, all others as they are", () => {
  const names = namesOf({ VIGILANE_DETECTIONS_TOPIC: "cams", VIGILANE_TASKS_TOPIC: "tasks.v2" });
  const wires = ["detection-results", "detection-results.dlq", "assessment-tasks", "risk-assessment-results", "cams"];
  expect(wires.map((topic) => wireName(names, topic))).toEqual([
    ...["cams", "cams.dlq", "tasks.v2", "risk-assessment-results", "cams"],
  ]);
});

test("a log is asked by the names on the wire, whatever is asked of it", async () => {
  const asked: string[] = [];
  const note = (topic: string) => void asked.push(topic);
  const log = new Proxy({} as TopicLog, { get: () => note, ownKeys: () => [] });
  const named = namedTopicLog(log, namesOf({ VIGILANE_DETECTIONS_TOPIC: "detection-results-topic" }));
  const topic = "detection-results";
  const abort = AbortSignal.abort();
  named.subscribe(topic, { group: "g", consumer: "c" });
  named.tail(topic, "earliest", abort);
  await Promise.all([named.ensureTopic(topic), named.publish(topic, []), named.lag(topic, "g"), named.ends(topic)]);
  expect(asked).toEqual(Array(6).fill("detection-results-topic"));
});
