/** Edits of the keys' file change what they mean to, and keep comments and layout. */

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { addKey, nextKeyId, removeKeys, setEnabled } from "../../src/keys/edit-keys.ts";
import { changeYaml, mergeYaml } from "../../src/keys/edit-yaml.ts";

const example = { path: "keys.yaml", text: readFileSync("config/keys.example.yaml", "utf8") };
/** Lines that are in one text and not in the other. */
const changed = (before: string, after: string) => ({
  gone: before.split("\n").filter((line) => !after.split("\n").includes(line)),
  come: after.split("\n").filter((line) => !before.split("\n").includes(line)),
});

test("a key is disabled and enabled again; nothing else of the file changes", () => {
  const off = setEnabled(example, "qwen-a", "key-001", false);
  expect(off.done).toBe("key group qwen-a: disabled: key-001");
  expect(changed(example.text, off.text)).toEqual({
    gone: ["        enabled: true"],
    come: ["        enabled: false"],
  });
  expect(setEnabled({ ...example, text: off.text }, "qwen-a", "key-001", true).text).toBe(example.text);
  const all = setEnabled(example, "qwen-a", undefined, false);
  expect(parse(all.text).keyGroups[0].keys.map((key: { enabled: boolean }) => key.enabled)).toEqual([false, false]);
  expect(setEnabled({ ...example, text: all.text }, "qwen-a", undefined, false)).toEqual({
    text: all.text,
    done: "key group qwen-a: was disabled already: key-001, key-002",
  });
});

test("a key is added and removed; nothing else of the file changes", () => {
  expect(nextKeyId(example, "qwen-a")).toBe("key-003");
  const more = addKey(example, "qwen-a", { id: "key-003", secret: "$" + "{KEY_THREE}" }, undefined);
  expect(changed(example.text, more.text)).toEqual({
    gone: [],
    come: ["      - id: key-003", "        secret: $" + "{KEY_THREE}"],
  });
  expect(removeKeys({ ...example, text: more.text }, "qwen-a", "key-003").text).toBe(example.text);
  const less = removeKeys(example, "qwen-a", "key-001");
  expect(parse(less.text).keyGroups[0].keys).toEqual([{ id: "key-002", secret: "$" + "{DASHSCOPE_KEY_002}" }]);
  expect(changed(example.text, less.text).come).toEqual([]);
});

test("a group is added and removed, the last key takes its group with it", () => {
  const group = { provider: "custom", baseUrl: "https://x.example/v1", model: "m", windows: { requestsPerSecond: 1 } };
  const more = addKey(example, "third", { id: "k", secret: "sk-x" }, group);
  expect(parse(more.text).keyGroups[2]).toEqual({ id: "third", ...group, keys: [{ id: "k", secret: "sk-x" }] });
  expect(changed(example.text, more.text).gone).toEqual([]);
  const without = removeKeys({ ...example, text: more.text }, "third", "k");
  expect(without.done).toBe("key group third removed, with its last key k");
  expect(without.text).toBe(example.text);
  const first = removeKeys(example, "qwen-a", undefined);
  expect(parse(first.text).keyGroups.map(({ id }: { id: string }) => id)).toEqual(["local-vllm"]);
});

test("in one line as in many", () => {
  const file = {
    path: "keys.yaml",
    text: "keyGroups: [{ id: a, model: m, windows: { requestsPerSecond: 1 }, keys: [{ id: k, secret: x }] }] # mine\n",
  };
  const off = setEnabled(file, "a", "k", false);
  expect(off.text).toBe(file.text.replace("secret: x", "secret: x, enabled: false"));
  const more = addKey(file, "a", { id: "l", secret: "$" + "{L}" }, undefined);
  expect(more.text).toBe(file.text.replace("secret: x }]", 'secret: x }, { id: l, secret: "$' + '{L}" }]'));
  expect(removeKeys({ ...file, text: more.text }, "a", "l").text).toBe(file.text);
});

test("the flat forms are edited in their own words", () => {
  const older = {
    path: "api_keys.yaml",
    text: "# ours\napi_keys:\n- key: sk-one   # paid\n  key_id: key_001\n\n- key: sk-two\n  key_id: key_002\nscheduler: {}\n",
  };
  const off = setEnabled(older, "key-001", undefined, false);
  expect(off.text).toBe(older.text.replace("key_id: key_001", "key_id: key_001\n  enabled: false"));
  const more = addKey(older, "any", { id: "key_003", secret: "sk-three" }, undefined);
  expect(more.text).toBe(older.text.replace("key_id: key_002", "key_id: key_002\n- key_id: key_003\n  key: sk-three"));
  expect(() => addKey(older, "any", { id: "x", secret: "y" }, { model: "m" })).toThrow(/takes keys only/);
  expect(removeKeys({ ...older, text: more.text }, "key-003", undefined).text).toBe(older.text);
});

test("fields are merged as RFC 7396 has it, also where the text refers to another place", () => {
  const text = "# mine\na: { n: 1, list: [1, 2, 3] } # one\nb: &b\n  n: 1\n  deep: { x: 1, y: 2 }\nc: *b\n";
  const now = mergeYaml(text, [], {
    a: { list: [3] },
    b: { deep: { x: null } },
    c: { n: 2, deep: { y: null } },
    d: { x: null, y: 1 },
  });
  expect(parse(now)).toEqual({
    a: { n: 1, list: [3] },
    b: { n: 1, deep: { y: 2 } },
    c: { n: 2, deep: {} },
    d: { y: 1 },
  });
  expect(now).toContain("# mine");
  expect(mergeYaml(text, [], { a: { list: [] } })).toBe(text.replace("[1, 2, 3]", "[]"));
  expect(mergeYaml(text, [], {})).toBe(text);
});

test("what is not there is told, with what is", () => {
  expect(() => setEnabled(example, "qwen-b", undefined, false)).toThrow(/no key group qwen-b/);
  expect(() => removeKeys(example, "qwen-a", "key-9")).toThrow(/qwen-a has no key key-9/);
});

test("whatever the layout, a change means what the document model says", () => {
  const item = fc.record({
    id: fc.constantFrom("a", "b", "c d", "é"),
    n: fc.integer(),
    t: fc.string({ maxLength: 12 }).filter((text) => !/# (one|above)/.test(text)),
  });
  const style = fc.record({ flow: fc.boolean(), comments: fc.boolean(), indent: fc.constantFrom("", "  ") });
  fc.assert(
    fc.property(
      fc.array(item, { minLength: 2, maxLength: 4 }),
      style,
      fc.nat(),
      (items, { flow, comments, indent }, pick) => {
        const lines = items.map((one) =>
          flow
            ? `${indent}- ${JSON.stringify(one)}${comments ? " # one" : ""}`
            : `${comments ? `${indent}# above\n` : ""}${indent}- id: ${JSON.stringify(one.id)}\n${indent}  n: ${one.n}\n${indent}  t: ${JSON.stringify(one.t)}${comments ? " # one" : ""}`,
        );
        const text = `list:\n${lines.join("\n")}\nmore: 1\n`;
        const i = pick % items.length;
        const set = changeYaml(text, { kind: "set", place: ["list", i], field: "enabled", value: false });
        expect(parse(set)).toEqual({
          list: items.map((one, j) => (i === j ? { ...one, enabled: false } : one)),
          more: 1,
        });
        const less = changeYaml(text, { kind: "remove", place: ["list", i] });
        expect(parse(less)).toEqual({ list: items.filter((_, j) => j !== i), more: 1 });
        const more = changeYaml(text, { kind: "add", place: ["list"], item: { id: "new" } });
        expect(parse(more)).toEqual({ list: [...items, { id: "new" }], more: 1 });
        if (comments)
          for (const now of [set, more])
            expect(now.match(/# (one|above)/g)?.length).toBe(text.match(/# (one|above)/g)?.length);
      },
    ),
    { numRuns: process.env.VIGILANE_LONG === "1" ? 2_000 : 100 },
  );
});
