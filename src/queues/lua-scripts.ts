/** The Lua scripts of this folder, each with what all of them share before it. */
import { StoreScript } from "../store.ts";

/** In this order: each uses those before it. */
const SHARED = [
  "record",
  "window-sliding",
  "window-periods",
  "window-bucket",
  "clock",
  "windows",
  "turns",
  "room",
  "ending",
].map((name) => new URL(`./${name}.lua`, import.meta.url));

/**
 * `before`: scripts that are set before this one alone. "run" for those that lead to calls, which close the key groups first
 * where the store may have forgotten some; "key-state" for those that ask for or change the states of key groups and keys; "guard"
 * and "note-change" for the one that learns from calls; "choose" for the one that chooses; "policies" for the one that makes groups
 * known; "reserve" for those that know of urgent tasks.
 */
export const script = (
  name: string,
  ...before: ("run" | "key-state" | "guard" | "note-change" | "choose" | "policies" | "reserve")[]
) =>
  new StoreScript(new URL(`./${name}.lua`, import.meta.url), [
    ...SHARED,
    ...before.map((one) => new URL(`./${one}.lua`, import.meta.url)),
  ]);

/** Prefix of every key: KEYS[1] of each script. */
export const PREFIX = "{vl}:";
