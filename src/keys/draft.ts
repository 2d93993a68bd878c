/** Key groups as a keys' file says them, whichever form it has; complete-groups.ts makes key groups of them. */
import type { Capabilities, Price, Strategy, Windows } from "../queues/key-groups.ts";
import type { ProviderName } from "./provider-defaults.ts";

/** Place of something in the file's document. */
export type Place = (string | number)[];

export interface DraftKey {
  id: string;
  /** As it is written: a secret or a reference to one. */
  secret: string;
  weight: number;
  enabled: boolean;
  place: Place;
  /** Of the secret itself, for faults. */
  secretPlace: Place;
}

export interface DraftGroup {
  id: string;
  provider: ProviderName;
  baseUrl: string | undefined;
  model: string | undefined;
  account: string | undefined;
  windows: Windows;
  keys: DraftKey[];
  strategy: Strategy;
  weight: number;
  price: Price | null;
  region: string | null;
  capabilities: Partial<Capabilities>;
  place: Place;
}

/** What older files say about trying again and cooling down. Undefined: the file says nothing. */
export interface KeyPolicy {
  maxRetryPerKey?: number;
  maxConcurrentTasks?: number;
  /** Cool-downs in seconds; `adaptive`: they stretch between least and most. */
  cooldownSeconds?: { usual?: number; least?: number; most?: number; adaptive?: boolean };
}

/** A whole file. */
export interface Draft {
  form: "keyGroups" | "flat";
  groups: DraftGroup[];
  routing: { strategy: Strategy };
  policy: KeyPolicy;
  /** What is to be said at load, a line each. */
  notices: string[];
  faults: string[];
}
