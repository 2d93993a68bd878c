/** Key groups as a keys' file says them, whichever form it has; complete-groups.ts makes key groups of them. */

import { type CoolingPolicy, DEFAULT_COOLING } from "../queues/call-policy.ts";
import type { Capabilities, Price, Routing, Strategy } from "../queues/key-groups.ts";
import type { ProviderName } from "../queues/provider-presets.ts";
import type { Windows } from "../queues/window.ts";

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
  quality: number;
  capabilities: Partial<Capabilities>;
  /** Undefined: what is known of the provider. */
  refusedCallsCount: boolean | undefined;
  place: Place;
}

/** How calls are tried again and groups rest; older files may say. */
export interface KeyPolicy {
  cooling: CoolingPolicy;
  /** Calls after the first one; null: the file says nothing. */
  maxRetries: number | null;
}

export const USUAL_POLICY: KeyPolicy = { cooling: DEFAULT_COOLING, maxRetries: null };

/** What can be read of a group that has faults: enough to find what else is wrong with it. */
export type HalfRead = Pick<DraftGroup, "keys" | "place"> & { id: string | undefined };

/** A whole file. */
export interface Draft {
  form: "keyGroups" | "flat";
  groups: DraftGroup[];
  /** Groups that are not among the others, since they have faults. */
  halfRead: HalfRead[];
  routing: Routing;
  policy: KeyPolicy;
  /** What is to be said at load, a line each. */
  notices: string[];
  faults: string[];
}
