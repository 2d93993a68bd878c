import { Activity, TriangleAlert } from "lucide-react";
import type { Health, RoleHealth } from "../../../src/events.ts";
import { useNow } from "../live/now.ts";
import { usePage } from "../live/store.ts";
import { age, clockTime, count, noticedBy } from "../look/format.ts";
import styles from "./HealthMenu.module.css";

/** A role that has not been heard of for so long is gone. */
const ROLE_FRESH_MS = 5_000;

/** How the system itself is: a button with the sum, and each role's state behind it. */
export function HealthMenu() {
  const health = usePage((page) => page.health);
  const link = usePage((page) => page.link);
  const nowMs = useNow();
  // Without the gateway nothing is known of the roles.
  if (!health || link !== "live") return null;
  const isWell = (role: RoleHealth) => role.ready && !role.topics && nowMs - role.atMs < ROLE_FRESH_MS;
  const fresh = health.roles.filter(isWell).length;
  const problems = health.problems.filter((problem) => problem !== health.topics?.problem);
  const well = health.ok && fresh === health.roles.length;
  return (
    <>
      <button type="button" className={styles.button} popoverTarget="health" data-well={well}>
        {well ? <Activity size={16} aria-hidden /> : <TriangleAlert size={16} aria-hidden />}
        <span>
          {health.store === "away" ? (
            <span className={styles.wide}>Store away</span>
          ) : (
            <>
              {fresh}/{health.roles.length}
              <span className={styles.wide}> roles ready</span>
            </>
          )}
          <span className="visually-hidden">{well ? ", all well" : ", something is wrong"}</span>
        </span>
      </button>
      <div id="health" popover="auto" className={styles.menu}>
        <h2 className={styles.title}>{well ? "All is well" : "Something is wrong"}</h2>
        {problems.length > 0 ? (
          <ul className={styles.problems}>
            {problems.map((problem) => (
              <li key={problem}>{problem}</li>
            ))}
          </ul>
        ) : null}
        {health.topics ? <TopicsTrouble topics={health.topics} /> : null}
        <p className={styles.store}>
          Store: {health.store}
          {health.storeInMemory ? ", in memory only – nothing outlives it" : ""}
        </p>
        <ToPublish health={health} />
        {health.roles.length > 0 ? <Roles roles={health.roles} nowMs={nowMs} /> : null}
      </div>
    </>
  );
}

function TopicsTrouble({ topics }: { topics: NonNullable<Health["topics"]> }) {
  return (
    <div className={styles.trouble}>
      <p>
        <strong>{topics.title}</strong> since {clockTime(topics.sinceMs)}, noticed by {noticedBy(topics)}.
      </p>
      <p>{topics.remedy}</p>
      <p className={styles.words}>
        {topics.message} <span>({topics.code})</span>
      </p>
    </div>
  );
}

function ToPublish({ health: { detectionsToPublish: detections, resultsToPublish: results } }: { health: Health }) {
  return (
    <>
      {detections ? (
        <p className={styles.store}>
          Detections to be sent: {count(detections.waiting)} of at most {count(detections.most)}
          {detections.dropped > 0 ? `; ${count(detections.dropped)} older ones dropped` : ""}
        </p>
      ) : null}
      {results ? (
        <p className={styles.store}>
          Results to be sent: {count(results.waiting)} of at most {count(results.most)}
          {results.paused ? "; no new detections are taken until half of them are gone" : ""}
        </p>
      ) : null}
    </>
  );
}

function Roles({ roles, nowMs }: { roles: RoleHealth[]; nowMs: number }) {
  return (
    <table className={styles.roles}>
      <thead>
        <tr>
          <th scope="col">Role</th>
          <th scope="col">State</th>
          <th scope="col">Up for</th>
          <th scope="col">Memory</th>
        </tr>
      </thead>
      <tbody>
        {roles.map((role) => {
          const silentMs = nowMs - role.atMs;
          const state =
            silentMs >= ROLE_FRESH_MS
              ? `silent for ${age(silentMs)}`
              : role.ready
                ? role.topics
                  ? "waits for Kafka"
                  : "ready"
                : "not ready";
          return (
            <tr key={`${role.role}/${role.instance}`}>
              <th scope="row">{role.role}</th>
              <td>
                {state}
                {role.detail ? <small>{role.detail}</small> : null}
              </td>
              <td>{age(nowMs - role.startedAtMs)}</td>
              <td>{Math.round(role.rssMb)} MB</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
