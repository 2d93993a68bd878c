/** When a day ends somewhere. Pure. */

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

/** The next midnight in a time zone (IANA's name), wall clock, ms; days of 23 and 25 hours are as long as they are. */
export function nextMidnightMs(nowMs: number, timeZone: string): number {
  const guess = nowMs - sinceMidnightMs(nowMs, timeZone) + DAY_MS;
  // A change of the clock in between moves the guess by an hour, to one side of midnight or the other.
  const off = sinceMidnightMs(guess, timeZone);
  return off === 0 ? guess : off > DAY_MS / 2 ? guess + (DAY_MS - off) : guess - Math.min(off, HOUR_MS);
}

function sinceMidnightMs(atMs: number, timeZone: string): number {
  const parts = new Intl.DateTimeFormat("en-GB", {
    timeZone,
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
  }).formatToParts(atMs);
  const of = (type: string) => Number(parts.find((part) => part.type === type)?.value ?? 0);
  return ((of("hour") * 60 + of("minute")) * 60 + of("second")) * 1_000 + (((atMs % 1_000) + 1_000) % 1_000);
}
