import { defineConfig } from "vitest/config";

/** One project a kind of test, one after the other: the quick ones side by side, those that start servers two files at a time, those that start the whole one by one. */
export default defineConfig({
  test: {
    reporters: ["default"],
    projects: [
      {
        test: {
          name: "quick",
          sequence: { groupOrder: 0 },
          include: ["test/unit/**/*.test.ts", "test/property/**/*.test.ts"],
          testTimeout: 15_000,
        },
      },
      {
        test: {
          name: "real",
          sequence: { groupOrder: 1 },
          include: ["test/conformance/**/*.test.ts", "test/integration/**/*.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: "whole",
          sequence: { groupOrder: 2 },
          include: ["test/chaos/**/*.test.ts", "test/browser/**/*.test.ts"],
          testTimeout: 180_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
