import { describe } from "vitest";
import { javaThere } from "../support/kafka.ts";
import { kafkaFixture } from "../support/kafka-fixture.ts";
import { topicLogProcessConformance } from "./topic-log-processes.suite.ts";

// A file, and so a broker, of its own: one that has many partitions takes long to come back from kill -9.
describe.skipIf(!javaThere)("the topics on a real Kafka broker, when processes die", () =>
  topicLogProcessConformance("Kafka", kafkaFixture()),
);
