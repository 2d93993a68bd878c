import { expect, test } from "vitest";
import { loadSettings } from "../../src/config.ts";
import { readTopicNames, wireName } from "../../src/topic-names.ts";
import { namedTopicLog } from "../../src/topics/named-topic-log.ts";
import type { TopicLog } from "../../src/topics/topic-log.ts";

test("topics are called as the setting says, their dead letters after them, all others as they are", () => {
  const names = readTopicNames(["detection-results=cams", "assessment-tasks = tasks.v2"]);
  const wires = ["detection-results", "detection-results.dlq", "assessment-tasks", "risk-assessment-results", "cams"];
  expect(wires.map((topic) => wireName(names, topic))).toEqual([
    ...["cams", "cams.dlq", "tasks.v2", "risk-assessment-results", "cams"],
  ]);
});

test("older: each with -topic behind it, unless one is named besides", () => {
  const names = readTopicNames(["older", "risk-assessment-revisions=revisions"]);
  expect(wireName(names, "detection-results")).toBe("detection-results-topic");
  expect(wireName(names, "risk-assessment-results.dlq")).toBe("risk-assessment-results-topic.dlq");
  expect(wireName(names, "risk-assessment-revisions")).toBe("revisions");
});

test("what is no name, no topic of ours, or a name that two would have is refused with the reason", () => {
  const fault = (value: string) => () => loadSettings([], { VIGILANE_TOPIC_NAMES: value, VIGILANE_CONFIG: "" });
  expect(fault("detection-results")).toThrow(/topicNames = .*"detection-results" is not of the form name=name/);
  expect(fault("detections=a")).toThrow(/there is no topic detections; there are: detection-results/);
  expect(fault("detection-results=a b")).toThrow(/is not of the form/);
  expect(fault("detection-results=assessment-tasks")).toThrow(/two topics would be called assessment-tasks/);
  expect(fault("detection-results=x,assessment-tasks=x")).toThrow(/two topics would be called x/);
});

test("a log is asked by the names on the wire, whatever is asked of it", async () => {
  const asked: string[] = [];
  const note = (topic: string) => void asked.push(topic);
  const log = new Proxy({} as TopicLog, { get: () => note, ownKeys: () => [] });
  const named = namedTopicLog(log, readTopicNames(["older"]));
  const topic = "detection-results";
  const abort = AbortSignal.abort();
  named.subscribe(topic, { group: "g", consumer: "c" });
  named.tail(topic, "earliest", abort);
  await Promise.all([named.ensureTopic(topic), named.publish(topic, []), named.lag(topic, "g"), named.ends(topic)]);
  expect(asked).toEqual(Array(6).fill("detection-results-topic"));
});
