/**
 * What roles say of their topics, over all of them: what is wrong in plain words, who has noticed, since when, and what
 * waits meanwhile. A role's own words hold addresses and a user's name; `title` and `problem` do not.
 */
import type { RoleHealth, ToPublish, TopicsHealth } from "../events.ts";

/** By the codes of errors.ts that a broker can be in trouble with. */
const TITLES: Record<string, string> = {
  BROKER_AWAY: "Kafka cannot be reached",
  BROKER_UNKNOWN: "Kafka's address is not known",
  BROKER_WANTS_TLS: "Kafka wants an encrypted connection",
  BROKER_WITHOUT_TLS: "Kafka takes no encrypted connection",
  BROKER_UNTRUSTED: "Kafka's certificate is not trusted",
  BROKER_MISNAMED: "Kafka's certificate is for another name",
  BROKER_WANTS_CERTIFICATE: "Kafka does not accept our certificate",
  BROKER_WANTS_LOGIN: "Kafka wants a login",
  BROKER_OTHER_LOGIN: "Kafka offers another kind of login",
  BROKER_LOGIN_FAILED: "Kafka refuses the login",
  BROKER_REFUSED: "Kafka refuses what is asked of it",
};

/** Null: no living role is in trouble. What most of them say stands for all. */
export function topicsHealth(roles: readonly RoleHealth[]): TopicsHealth | null {
  const troubles = roles.flatMap(({ topics }) => topics ?? []);
  const [codes] = [...Map.groupBy(troubles, ({ code }) => code).values()].sort((a, b) => b.length - a.length);
  const first = codes?.[0];
  if (!first) return null;
  const title = TITLES[first.code] ?? "Kafka is in trouble";
  const noticed = [...Map.groupBy(roles, ({ role }) => role)].flatMap(([role, processes]) => {
    const count = processes.filter(({ topics }) => topics).length;
    return count > 0 ? [{ role, processes: count, of: processes.length }] : [];
  });
  noticed.sort((a, b) => a.role.localeCompare(b.role));
  const cutOff = noticed.filter(({ processes, of }) => processes === of).map(({ role }) => role);
  return {
    ...first,
    sinceMs: Math.min(...troubles.map(({ sinceMs }) => sinceMs)),
    title,
    noticed,
    problem: cutOff.length > 0 ? `${title}, as ${inWords(cutOff)} report` : null,
  };
}

/** Each detector keeps its own. */
export function detectionsToPublish(roles: readonly RoleHealth[]): ToPublish | null {
  const all = roles.flatMap(({ role, toPublish }) => (role === "detector" && toPublish ? [toPublish] : []));
  if (all.length === 0) return null;
  const sum = (of: (one: ToPublish) => number) => all.reduce((total, one) => total + of(one), 0);
  return {
    waiting: sum(({ waiting }) => waiting),
    most: sum(({ most }) => most),
    dropped: sum(({ dropped }) => dropped),
    paused: all.some(({ paused }) => paused),
  };
}

/** All bridges empty one outbox: whoever has counted it last knows best. */
export function resultsToPublish(roles: readonly RoleHealth[]): ToPublish | null {
  const bridges = roles.filter(({ role, toPublish }) => role === "bridge" && toPublish);
  const [newest] = bridges.sort((a, b) => b.atMs - a.atMs);
  return newest?.toPublish ? { ...newest.toPublish, paused: bridges.some(({ toPublish }) => toPublish?.paused) } : null;
}

const inWords = (names: readonly string[]) =>
  names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
