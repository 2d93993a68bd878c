import { ListVideo, Pause, Play, X } from "lucide-react";
import { type KeyboardEvent, useRef, useState } from "react";
import type { OutcomeEvent } from "../../../src/events.ts";
import { isRisky } from "../live/state.ts";
import { chooseCamera, chooseFilter, type OutcomeFilter, togglePause, usePage } from "../live/store.ts";
import { cameraName } from "../look/camera-look.ts";
import { verdictOf } from "../look/risk.ts";
import { Button } from "../panel/Button.tsx";
import { EmptyNote } from "../panel/EmptyNote.tsx";
import { Panel } from "../panel/Panel.tsx";
import { VerdictItem } from "./VerdictItem.tsx";
import styles from "./VerdictList.module.css";

/** Drawn at first, and more at each press of "Show older". */
const PAGE = 12;

const FILTERS: { filter: OutcomeFilter; word: string; keep: (event: OutcomeEvent) => boolean }[] = [
  { filter: "all", word: "All", keep: () => true },
  { filter: "risks", word: "Medium & high", keep: isRisky },
  { filter: "unjudged", word: "Without verdict", keep: (event) => verdictOf(event).verdict === null },
];

/** The newest outcomes, newest first. It can be paused; J and K (or the arrows) walk through it. */
export function VerdictList() {
  const live = usePage((page) => page.outcomes);
  const pausedAt = usePage((page) => page.pausedAt);
  const filter = usePage((page) => page.filter);
  const chosenCamera = usePage((page) => page.chosenCamera);
  const chosenName = usePage((page) => (chosenCamera ? cameraName(page.cameras[chosenCamera], chosenCamera) : null));
  const [pages, setPages] = useState(1);
  const list = useRef<HTMLOListElement>(null);

  const keep = FILTERS.find((each) => each.filter === filter)?.keep ?? (() => true);
  const all = (pausedAt ?? live).filter(
    (event) => keep(event) && (chosenCamera === null || String(event.result.cameraId) === chosenCamera),
  );
  const listed = all.slice(0, pages * PAGE);
  const unseen = pausedAt ? countNewer(live, pausedAt) : 0;

  return (
    <Panel
      title="Newest verdicts"
      className={styles.panel}
      actions={<PauseButton paused={pausedAt !== null} unseen={unseen} />}
    >
      <fieldset className={styles.filters}>
        <legend className="visually-hidden">Which outcomes are listed</legend>
        {FILTERS.map((each) => (
          <Button
            key={each.filter}
            look="chip"
            aria-pressed={filter === each.filter}
            onClick={() => chooseFilter(each.filter)}
          >
            {each.word}
          </Button>
        ))}
        {chosenCamera ? (
          <Button
            look="chip"
            aria-pressed
            onClick={() => chooseCamera(null)}
            aria-label={`Only ${chosenName}: show all cameras`}
          >
            {chosenName}
            <X size={13} aria-hidden />
          </Button>
        ) : null}
      </fieldset>
      {listed.length === 0 ? (
        <Nothing any={live.length > 0} />
      ) : (
        <ol
          ref={list}
          className={styles.list}
          onKeyDown={(event) => walk(event, list.current)}
          aria-label="Newest verdicts"
        >
          {listed.map((event) => (
            <VerdictItem key={event.result.taskId} event={event} />
          ))}
          {all.length > listed.length ? (
            <li className={styles.more}>
              <Button onClick={() => setPages(pages + 2)}>Show older ({all.length - listed.length})</Button>
            </li>
          ) : null}
        </ol>
      )}
    </Panel>
  );
}

function PauseButton({ paused, unseen }: { paused: boolean; unseen: number }) {
  return (
    <Button aria-pressed={paused} onClick={togglePause} title={paused ? "Let the list run" : "Hold the list still"}>
      {paused ? <Play size={14} aria-hidden /> : <Pause size={14} aria-hidden />}
      {paused ? `Paused${unseen > 0 ? ` · ${unseen} new` : ""}` : "Pause"}
    </Button>
  );
}

function Nothing({ any }: { any: boolean }) {
  if (any) {
    return (
      <EmptyNote icon={ListVideo} title="None of these">
        No outcome that the page still holds matches the filter.
      </EmptyNote>
    );
  }
  return (
    <EmptyNote icon={ListVideo} title="Nothing judged yet">
      As soon as a camera sees road users close to each other, the group is judged, and the verdict appears here with
      its picture – usually within a few seconds.
    </EmptyNote>
  );
}

const countNewer = (live: OutcomeEvent[], held: OutcomeEvent[]) => {
  const newestHeldMs = held[0]?.shownAtMs ?? 0;
  return live.filter((event) => event.shownAtMs > newestHeldMs).length;
};

/** J, K and the arrows move the focus from verdict to verdict; Enter opens, as on any button. */
function walk(event: KeyboardEvent, list: HTMLOListElement | null) {
  const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
  if (!step || !list || event.ctrlKey || event.metaKey || event.altKey) return;
  const buttons = [...list.querySelectorAll<HTMLButtonElement>("button[data-verdict]")];
  const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
  const next = buttons[at + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
