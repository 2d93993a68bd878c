import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/** npm run test:flink: by hand, and no part of `npm test`. */
export default defineConfig({
  test: {
    root: fileURLToPath(new URL("../..", import.meta.url)),
    include: ["test/flink/**/*.test.ts"],
    reporters: ["verbose"],
    testTimeout: 420_000,
    hookTimeout: 420_000,
    fileParallelism: false,
    disableConsoleIntercept: true,
  },
});
