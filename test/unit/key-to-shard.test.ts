import { expect, test } from "vitest";
import { keyToShard } from "../../src/topics/key-to-shard.ts";

/** From Apache Kafka's own test of its hash (UtilsTest.testMurmur2). */
test.each([
  ["21", -973932308],
  ["foobar", -790332482],
  ["a-little-bit-long-string", -985981536],
  ["a-little-bit-longer-string", -1486304829],
  ["lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971],
  ["abc", 479470107],
])("%s goes where Kafka's producers would put it", (key, murmur2) => {
  expect(keyToShard(key, 2 ** 31)).toBe(murmur2 & 0x7fffffff);
  expect(keyToShard(key, 16)).toBe((murmur2 & 0x7fffffff) % 16);
});

test("a thousand cameras fill sixteen shards evenly", () => {
  const counts = new Array<number>(16).fill(0);
  for (let camera = 0; camera < 1_000; camera += 1) {
    const shard = keyToShard(`camera-${camera}`, 16);
    counts[shard] = (counts[shard] ?? 0) + 1;
  }
  expect(Math.min(...counts)).toBeGreaterThan(35);
  expect(Math.max(...counts)).toBeLessThan(95);
});
