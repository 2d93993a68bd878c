import { KeyRound } from "lucide-react";
import { usePage } from "../live/store.ts";
import { EmptyNote } from "../panel/EmptyNote.tsx";
import { Panel } from "../panel/Panel.tsx";
import { ChangeList } from "./ChangeList.tsx";
import { KeyGroupRow } from "./KeyGroupRow.tsx";
import styles from "./KeyGroups.module.css";
import { standing, troubleFirst } from "./key-group-look.ts";

/** Each quota domain, those in trouble first: its state, how full its windows are, what the provider answered and refused. */
export function KeyGroups() {
  const keyGroups = usePage((page) => page.keyGroups);
  const loaded = usePage((page) => page.loaded);
  const groups = Object.values(keyGroups);
  return (
    <Panel title="Key groups" note={groups.length > 0 ? standing(groups) : null}>
      {loaded && groups.length === 0 ? (
        <EmptyNote icon={KeyRound} title="No key group yet">
          The bridge reports each account's quota here, once a second, as soon as it has started.
        </EmptyNote>
      ) : (
        <div className={styles.halves}>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard */}
          <section className={styles.scroll} tabIndex={0} aria-label="All key groups">
            <ul aria-label="Key groups">
              {troubleFirst(groups).map((group) => (
                <KeyGroupRow key={group.id} group={group} />
              ))}
            </ul>
          </section>
          <ChangeList />
        </div>
      )}
    </Panel>
  );
}
