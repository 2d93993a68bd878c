/** The Lua scripts of this folder, each with what all of them share before it. */
import { StoreScript } from "../store.ts";

/** In this order: each uses those before it. */
const SHARED = ["record", "clock", "windows", "room", "ending"].map(
  (name) => new URL(`./${name}.lua`, import.meta.url),
);

export const script = (name: string) => new StoreScript(new URL(`./${name}.lua`, import.meta.url), SHARED);

/** Prefix of every key: KEYS[1] of each script. */
export const PREFIX = "{vl}:";
