import { Activity, TriangleAlert } from "lucide-react";
import type { RoleHealth } from "../../../src/events.ts";
import { useNow } from "../live/now.ts";
import { usePage } from "../live/store.ts";
import { age } from "../look/format.ts";
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
  const fresh = health.roles.filter((role) => role.ready && nowMs - role.atMs < ROLE_FRESH_MS).length;
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
        <h2 className={styles.title}>{health.ok ? "All is well" : "Something is wrong"}</h2>
        {health.problems.length > 0 ? (
          <ul className={styles.problems}>
            {health.problems.map((problem) => (
              <li key={problem}>{problem}</li>
            ))}
          </ul>
        ) : null}
        <p className={styles.store}>
          Store: {health.store}
          {health.storeInMemory ? ", in memory only – nothing outlives it" : ""}
        </p>
        {health.roles.length > 0 ? <Roles roles={health.roles} nowMs={nowMs} /> : null}
      </div>
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
          const state = silentMs >= ROLE_FRESH_MS ? `silent for ${age(silentMs)}` : role.ready ? "ready" : "not ready";
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
