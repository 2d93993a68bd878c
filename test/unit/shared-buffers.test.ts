import { expect, test } from "vitest";
import { BufferNames, NamedBuffers } from "../../src/detector/shared-buffers.ts";

test("each buffer is posted once, and found by its number, however many there are", () => {
  const [names, buffers] = [new BufferNames(), new NamedBuffers()];
  const all = Array.from({ length: 100 }, () => new SharedArrayBuffer(8));
  let posted = 0;
  for (const data of [...all.slice(0, 60), ...all.slice(0, 60), ...all, ...all.slice(90)]) {
    const named = names.name(data);
    if (named.data) posted += 1;
    expect(buffers.find(named)).toBe(data);
  }
  expect(posted).toBeGreaterThanOrEqual(100);
  expect(posted).toBeLessThan(60 + 100 + 1);
  expect(() => buffers.find({ id: 9_999 })).toThrow();
});
