import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * What our processes compile is kept for the next ones: the tests start hundreds, and each would strip the types off the
 * same files again. (Node's own: NODE_COMPILE_CACHE; it goes by the files' content.)
 */
const env = { NODE_COMPILE_CACHE: join(import.meta.dirname, "node_modules", ".cache", "node-compile") };

/**
 * A process of its own for each file would load the same modules again, a second of a core each time: half of what the quick
 * ones cost. So of the quick ones those that follow one another in a worker share it; what one sets in its environment, it takes back.
 */
const together = { isolate: false, unstubEnvs: true };

/** Rates and delays are measured in these: what else runs would move them. */
const ALONE = [
  "test/chaos/windows.test.ts",
  "test/chaos/detector.test.ts",
  "test/chaos/whole-in-memory.test.ts",
  "test/integration/detector.test.ts",
  "test/integration/life-of-a-task.test.ts",
  "test/integration/kafka-security.test.ts",
];
/** The longest of their projects, begun first, so that none of them runs on when all others have ended. */
const LONGEST = [
  "fresh-copy",
  "whole-command",
  "fail-points",
  "kafka-leader-kills",
  "kafka-away",
  "kills",
  "states",
  "kafka-topic-log-processes",
  "supervisor",
  "frame-source-rtsp",
  "redis-topic-log",
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const found = LONGEST.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
      return found < 0 ? LONGEST.length : found;
    };
    const group = ({ project }: TestSpecification) => project.config.sequence.groupOrder;
    return (await super.sort(files)).toSorted((a, b) => group(a) - group(b) || place(a) - place(b));
  }
}

/**
 * One project a kind of test, one after the other. Files of one project run side by side, as many as their kind bears on
 * two cores: the quick ones keep a core busy each; those with real servers, and still more those with the whole and with a
 * browser, wait for timers and for one another's processes most of the time.
 */
export default defineConfig({
  test: {
    reporters: ["default"],
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: "quick",
          sequence: { groupOrder: 0 },
          include: ["test/unit/**/*.test.ts", "test/property/**/*.test.ts"],
          testTimeout: 15_000,
          maxWorkers: 2,
          ...together,
          env,
        },
      },
      {
        test: {
          name: "real",
          sequence: { groupOrder: 1 },
          include: ["test/conformance/**/*.test.ts", "test/integration/**/*.test.ts"],
          exclude: ALONE,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 4,
          env,
        },
      },
      {
        test: {
          name: "whole",
          sequence: { groupOrder: 2 },
          include: ["test/chaos/**/*.test.ts", "test/browser/**/*.test.ts"],
          exclude: ALONE,
          testTimeout: 180_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
          env,
        },
      },
      {
        test: {
          name: "alone",
          sequence: { groupOrder: 3 },
          include: ALONE,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          fileParallelism: false,
          env,
        },
      },
    ],
  },
});
