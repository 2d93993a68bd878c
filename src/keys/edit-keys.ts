/** What people do to the keys' file, in any of its forms. Pure: from one text to the next. */
import { VigilaneError } from "../errors.ts";
import type { DraftGroup, DraftKey } from "./draft.ts";
import { changeYaml } from "./edit-yaml.ts";
import { flatForm } from "./flat-keys.ts";
import { readDraft } from "./load-key-set.ts";

export interface Edited {
  text: string;
  /** What was done, for people. */
  done: string;
}

export interface NewKey {
  id: string;
  /** As it is to be written: a secret or a reference. */
  secret: string;
  weight?: number;
}

/** Of a group that is not there yet, as the file is to say it; its keys may be among it. */
export type NewGroup = Record<string, unknown>;

interface File {
  path: string;
  text: string;
}

/** One key, or all of the group. */
export function setEnabled(file: File, groupId: string, keyId: string | undefined, enabled: boolean): Edited {
  const { group, keys } = find(file, groupId, keyId);
  const meant = keys.filter((key) => key.enabled !== enabled);
  const word = enabled ? "enabled" : "disabled";
  const text = meant.reduce(
    (now, key) => changeYaml(now, { kind: "set", place: key.place, field: "enabled", value: enabled }),
    file.text,
  );
  const names = (some: readonly DraftKey[]) => some.map(({ id }) => id).join(", ");
  const done = meant.length === 0 ? `was ${word} already: ${names(keys)}` : `${word}: ${names(meant)}`;
  return { text, done: `key group ${group.id}: ${done}` };
}

/** One key, or the whole group; with its last key a group goes too. */
export function removeKeys(file: File, groupId: string, keyId: string | undefined): Edited {
  const { group, keys, flat } = find(file, groupId, keyId);
  const whole = keyId === undefined || group.keys.length === 1;
  if (!flat && whole) {
    const text = changeYaml(file.text, { kind: "remove", place: group.place });
    return { text, done: `key group ${group.id} removed${keyId === undefined ? "" : `, with its last key ${keyId}`}` };
  }
  // From the last one on, so that the places of the others stay.
  const text = keys.toReversed().reduce((now, { place }) => changeYaml(now, { kind: "remove", place }), file.text);
  return { text, done: `key group ${group.id}: removed ${keys.map(({ id }) => id).join(", ")}` };
}

/** Into a group that is there, or with `group` as a new one. Flat forms get a line in their own words. */
export function addKey(file: File, groupId: string, key: NewKey | undefined, group: NewGroup | undefined): Edited {
  const { draft, yaml } = readDraft(file.path, file.text);
  const known = draft.groups.find(({ id }) => id === groupId);
  if (draft.form === "flat") {
    const form = flatForm(yaml.raw);
    if (!form || !key) throw wrong("a flat list of keys takes keys only", "Give the key's secret.");
    if (group)
      throw wrong("a flat list of keys takes keys only", "What a group says is at the file's top, for all keys.");
    const item = {
      [form.id]: key.id,
      [form.secret]: key.secret,
      ...(key.weight !== undefined && { weight: key.weight }),
    };
    const account = known?.account;
    const text = changeYaml(file.text, {
      kind: "add",
      place: [form.list],
      item: { ...item, ...(account && { account }) },
    });
    return { text, done: `key ${key.id} added to ${form.list}` };
  }
  if (known) {
    if (group)
      throw wrong(`key group ${groupId} is there already`, "Change its fields in the file; here a key is added to it.");
    if (!key) throw wrong(`key group ${groupId} is there already`, "Give the key's secret to add a key to it.");
    const text = changeYaml(file.text, { kind: "add", place: [...known.place, "keys"], item: key });
    return { text, done: `key ${key.id} added to key group ${groupId}` };
  }
  const item: NewGroup = { id: groupId, ...group, ...(key && { keys: [key] }) };
  const text = changeYaml(file.text, { kind: "add", place: ["keyGroups"], item });
  const ids = (Array.isArray(item.keys) ? item.keys : []).map(({ id }: { id: string }) => id);
  const withKeys = ids.length === 0 ? ", without a key" : ` with key${ids.length > 1 ? "s" : ""} ${ids.join(", ")}`;
  return { text, done: `key group ${groupId} added${withKeys}` };
}

/** An id that no key of the group has: key-001, key-002, … */
export function nextKeyId(file: File, groupId: string): string {
  const { draft } = readDraft(file.path, file.text);
  const meant = draft.form === "flat" ? draft.groups : draft.groups.filter(({ id }) => id === groupId);
  const taken = new Set(meant.flatMap(({ keys }) => keys.map(({ id }) => id)));
  for (let n = 1; ; n += 1) {
    const id = `key-${String(n).padStart(3, "0")}`;
    if (!taken.has(id)) return id;
  }
}

function find(file: File, groupId: string, keyId: string | undefined) {
  const { draft } = readDraft(file.path, file.text);
  const group: DraftGroup | undefined = draft.groups.find(({ id }) => id === groupId);
  if (!group) {
    const there = draft.groups.map(({ id }) => id).join(", ");
    throw wrong(`there is no key group ${groupId} in ${file.path}`, `There are: ${there || "none that can be read"}.`);
  }
  const keys = group.keys.filter(({ id }) => keyId === undefined || id === keyId);
  if (keys.length === 0 && keyId !== undefined) {
    const there = group.keys.map(({ id }) => id).join(", ");
    throw wrong(`key group ${groupId} has no key ${keyId}`, `It has: ${there || "none"}.`);
  }
  return { group, keys, flat: draft.form === "flat" };
}

const wrong = (message: string, remedy: string) => new VigilaneError("SETTINGS_INVALID", message, { remedy });
