/** Clustering of 200 boxes in 1080p, spread and crowded: node bench/detector-clustering.ts */
import { cluster } from "../src/detector/cluster.ts";
import type { DetectedObject } from "../src/messages.ts";

let seed = 1;
const random = () => {
  seed = (seed * 48_271) % 2_147_483_647;
  return seed / 2_147_483_647;
};

for (const [name, width, height] of [
  ["spread", 1920, 1080],
  ["crowded", 600, 400],
] as const) {
  const scenes: DetectedObject[][] = Array.from({ length: 50 }, () =>
    Array.from({ length: 200 }, () => {
      const [x, y] = [random() * width, random() * height];
      return { class: "person", confidence: 0.5, bbox: [x, y, x + 30, y + 80] };
    }),
  );
  const times: number[] = [];
  for (let i = 0; i < 2_000; i += 1) {
    const startedMs = performance.now();
    cluster(scenes[i % scenes.length] ?? []);
    times.push(performance.now() - startedMs);
  }
  const sorted = times.slice(200).sort((p, q) => p - q);
  const at = (share: number) => ((sorted[Math.floor(sorted.length * share)] ?? 0) * 1000).toFixed(0);
  console.log(`200 boxes, ${name}: P50 ${at(0.5)} µs, P95 ${at(0.95)} µs`);
}
