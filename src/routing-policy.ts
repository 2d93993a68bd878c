/**
 * Which key groups may judge a task, and which of them are preferred: the routing of a camera (cameras' file) over that of the
 * whole (keys' file). What a policy allows is decided in the store (queues/policies.lua), once for every set of groups.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { KEY_GROUP_ID } from "./names.ts";
import { PROVIDER_NAMES } from "./queues/provider-presets.ts";

/**
 * Among the groups that are allowed and free:
 *   any        whose turn it is, by the routing strategy
 *   cheapest   those of the lowest price per call; those of no known price last
 *   best       those of the highest quality
 * Where several are alike the strategy chooses. It is a preference: a dearer group is better than waiting.
 */
export const PREFERENCES = ["any", "cheapest", "best"] as const;

/** What is not said allows all. */
export const RoutingPolicy = z.strictObject({
  /** Only groups of these providers. */
  providers: z.array(z.enum(PROVIDER_NAMES)).min(1, "needs at least one; leave it out to allow all").optional(),
  /** Only these groups, by id. */
  keyGroups: z
    .array(z.string().regex(KEY_GROUP_ID, "must be 1 to 40 of a-z, 0-9 and dash"))
    .min(1, "needs at least one; leave it out to allow all")
    .optional(),
  /** Only groups whose server stands in one of these regions, as the keys' file names them. */
  regions: z.array(z.string().min(1).max(80)).min(1, "needs at least one; leave it out to allow all").optional(),
  /** Only models of at least this quality, 1 to 5, as the keys' file has it. */
  minQuality: z.number().int().min(1).max(5).optional(),
  /** Only groups whose call costs at most so much, in the currency of their prices; one without a price is not among them. */
  maxPricePerCall: z.number().min(0).max(1_000_000).optional(),
  /** Default any. */
  prefer: z.enum(PREFERENCES).optional(),
});
export type RoutingPolicy = z.infer<typeof RoutingPolicy>;

/** What the camera says goes before what is said for all, field by field. */
export function policyOver(camera: RoutingPolicy | undefined, all: RoutingPolicy | undefined): RoutingPolicy {
  return { ...all, ...camera };
}

/** The same policy has the same id, however it is written; the one that allows all and prefers none has "". */
export function policyId(policy: RoutingPolicy | undefined): string {
  const { providers, keyGroups, regions, minQuality, maxPricePerCall, prefer } = policy ?? {};
  const set = (some: readonly string[] | undefined) => some && [...new Set(some)].sort();
  const preference = prefer === "any" ? undefined : prefer;
  const said = [set(providers), set(keyGroups), set(regions), minQuality, maxPricePerCall, preference];
  if (said.every((one) => one === undefined)) return "";
  return createHash("sha256").update(JSON.stringify(said)).digest("hex").slice(0, 12);
}
