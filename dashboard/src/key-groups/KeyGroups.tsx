import { KeyRound } from "lucide-react";
import { usePage } from "../live/store.ts";
import { EmptyNote } from "../panel/EmptyNote.tsx";
import { Panel } from "../panel/Panel.tsx";
import { KeyGroupCard } from "./KeyGroupCard.tsx";
import styles from "./KeyGroups.module.css";

/** Each quota domain: its state, how full its windows are, and what the provider refused. */
export function KeyGroups() {
  const keyGroups = usePage((page) => page.keyGroups);
  const loaded = usePage((page) => page.loaded);
  const groups = Object.values(keyGroups).sort((a, b) => a.id.localeCompare(b.id, "en", { numeric: true }));
  return (
    <Panel title="Key groups" note={groups.length > 0 ? "how full each quota window is" : null}>
      {loaded && groups.length === 0 ? (
        <EmptyNote icon={KeyRound} title="No key group yet">
          The bridge reports each account's quota here, once a second, as soon as it has started.
        </EmptyNote>
      ) : (
        <ul className={styles.strip} aria-label="Key groups">
          {groups.map((group) => (
            <KeyGroupCard key={group.id} group={group} />
          ))}
        </ul>
      )}
    </Panel>
  );
}
