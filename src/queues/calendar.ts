/** Days of a time zone. Lua knows no zones, so the store is told when they begin, and told again long before it runs out. */

const DAY_MS = 86_400_000;
/** Days that are told: some that have begun (for what is counted near a boundary, and for a clock that steps back), and those to come. */
const PAST_DAYS = 2;
const DAYS_AHEAD = 8;

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(zone: string): Intl.DateTimeFormat {
  const known = formats.get(zone);
  if (known) return known;
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    calendar: "gregory",
    numberingSystem: "latn",
    year: "numeric",
    month: "numeric",
    day: "numeric",
  });
  formats.set(zone, format);
  return format;
}

export function isTimeZone(name: string): boolean {
  try {
    formatOf(name);
    return /^[A-Za-z0-9_+/-]+$/.test(name);
  } catch {
    return false;
  }
}

/** The date that calendars of the zone show, as a number that grows: the UTC midnight of that date, ms. */
function dateIn(zone: string, atMs: number): number {
  const parts = new Map(
    formatOf(zone)
      .formatToParts(atMs)
      .map(({ type, value }) => [type, Number(value)]),
  );
  return Date.UTC(parts.get("year") ?? 0, (parts.get("month") ?? 1) - 1, parts.get("day") ?? 1);
}

/**
 * The first moments (ms since the epoch, ascending) of the zone's days from the day before yesterday to eight days ahead.
 * Found by bisection on the date that the zone shows, which never goes back, rather than by adding hours: a day has 23 to
 * 25 of them, some begin at one o'clock, and one in Samoa was left out.
 */
export function dayStarts(zone: string, nowMs: number): number[] {
  const today = dateIn(zone, nowMs);
  const starts = Array.from({ length: PAST_DAYS + DAYS_AHEAD + 1 }, (_, i) =>
    firstMomentOf(zone, today + (i - PAST_DAYS) * DAY_MS),
  );
  return [...new Set(starts)];
}

/** No zone is further than 14 hours from UTC. */
function firstMomentOf(zone: string, date: number): number {
  let before = date - DAY_MS;
  let from = date + DAY_MS;
  while (from - before > 1) {
    const middle = Math.floor((before + from) / 2);
    if (dateIn(zone, middle) >= date) from = middle;
    else before = middle;
  }
  return from;
}
