/** Whether the key groups' quota can carry what is offered: said at start, by doctor and load, and by the bridge when the keys' file changes. */
import { type KeyGroup, sustainedCallsPerSecond } from "../queues/key-groups.ts";

export interface Offered {
  /** Groups a second that want a verdict. */
  groupsPerSecond: number;
  /** Where the number comes from, for people: "4 cameras, one frame a second, at least one group each". */
  from: string;
}

/** One line when it cannot, undefined when it can. */
export function quotaWarning(groups: readonly KeyGroup[], offered: Offered): string | undefined {
  const quota = sustainedCallsPerSecond(groups);
  if (offered.groupsPerSecond <= quota) return undefined;
  const percent = Math.floor((100 * quota) / offered.groupsPerSecond);
  const share = percent < 1 ? "Less than 1 %" : `About ${percent} %`;
  return (
    `The quota cannot carry this: ${rate(offered.groupsPerSecond)} groups a second are offered (${offered.from}), and ` +
    `${groups.length} key group${groups.length === 1 ? "" : "s"} allow ${rate(quota)} calls a second. ${share} will be ` +
    "judged, the most urgent first; the others expire and lower the coverage. More quota, fewer cameras, or longer intervals."
  );
}

/** What cameras offer at least, before anything was seen: one group a frame. */
export function offeredByCameras(intervalsMs: readonly number[]): Offered {
  const groupsPerSecond = intervalsMs.reduce((sum, ms) => sum + 1000 / ms, 0);
  return {
    groupsPerSecond,
    from: `${intervalsMs.length} camera${intervalsMs.length === 1 ? "" : "s"}, taking one group a frame`,
  };
}

const rate = (perSecond: number) => (perSecond >= 10 ? perSecond.toFixed(0) : perSecond.toPrecision(2));
