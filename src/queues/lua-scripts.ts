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
  "room",
  "ending",
].map((name) => new URL(`./${name}.lua`, import.meta.url));

/**
 * `after`: "run" for the scripts that lead to calls, which close the key groups first where the store may have forgotten some;
 * "guard" for the one that learns from calls.
 */
export const script = (name: string, after?: "run" | "guard") =>
  new StoreScript(
    new URL(`./${name}.lua`, import.meta.url),
    after === undefined ? SHARED : [...SHARED, new URL(`./${after}.lua`, import.meta.url)],
  );

/** Prefix of every key: KEYS[1] of each script. */
export const PREFIX = "{vl}:";
