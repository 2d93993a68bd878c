import { defineConfig } from "vitest/config";

/** One project a kind of test: the quick ones side by side, those that start processes one file after the other. */
export default defineConfig({
  test: {
    reporters: ["default"],
    projects: [
      {
        test: {
          name: "quick",
          include: ["test/unit/**/*.test.ts", "test/property/**/*.test.ts"],
          testTimeout: 15_000,
        },
      },
      {
        test: {
          name: "real",
          include: ["test/conformance/**/*.test.ts", "test/integration/**/*.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "whole",
          include: ["test/chaos/**/*.test.ts", "test/browser/**/*.test.ts"],
          testTimeout: 180_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
