/** What a refused or failed call says of its key group and of its key. Pure. */
import { ERRORS } from "../errors.ts";
import type { CoolingPolicy } from "../queues/call-policy.ts";
import type { CallSays, Said } from "../queues/quota.ts";
import { coolDown } from "./cool-down.ts";
import { CAUSES, type RefusalCause, type SortedRefusal } from "./refusal.ts";

/** Out of use until somebody or midnight acts: probed from then on. */
const DISABLING: readonly RefusalCause[] = ["day", "balance", "key", "model"];
/** The provider was in trouble: these in a row open the breaker. */
const TROUBLE: readonly RefusalCause[] = ["server", "timeout", "network"];

const NOTHING: Said = { kind: "returned" };
const INNOCENT: Said = { kind: "innocent" };

/**
 * `ownDeadline`: the task's deadline ended the call, so that it says nothing. Who is not blamed is innocent where the
 * provider's answer shows that it took the key; where it was not there to say so, nothing is known.
 */
export function refusalToSays(sorted: SortedRefusal, ownDeadline: boolean, policy: CoolingPolicy): CallSays {
  const { cause, cools, blames } = sorted;
  if (ownDeadline) return { group: NOTHING, key: NOTHING, cools: "nothing" };
  if (blames === "task") return { group: INNOCENT, key: INNOCENT, cools };
  if (DISABLING.includes(cause)) {
    const refused: Said = {
      kind: "refused",
      firstMs: CAUSES[cause].coolMs,
      untilInMs: sorted.told ? sorted.coolMs : null,
    };
    return blames === "key" ? { group: NOTHING, key: refused, cools } : { group: refused, key: NOTHING, cools };
  }
  if (TROUBLE.includes(cause)) {
    return { group: { kind: "failed", rest: coolDown(sorted, policy) }, key: NOTHING, cools };
  }
  const limited: Said = { kind: "limited", rest: coolDown(sorted, policy) };
  return blames === "key" ? { group: INNOCENT, key: limited, cools } : { group: limited, key: INNOCENT, cools };
}

/** A call that was cut short so that its task has time elsewhere: whoever did not answer in time is at fault all the same. */
export function blamedAllTheSame(sorted: SortedRefusal): SortedRefusal {
  if (sorted.cause !== "timeout" || sorted.blames !== "nobody") return sorted;
  return { ...sorted, blames: ERRORS[sorted.code].blames, coolMs: CAUSES.timeout.coolMs };
}
