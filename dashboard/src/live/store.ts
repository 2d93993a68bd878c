/** The page's one store: live data, the link to the gateway, and what the reader has chosen. */
import { create } from "zustand";
import type { OutcomeEvent } from "../../../src/events.ts";
import { type Link, type LiveData, NOTHING_YET } from "./state.ts";

export type Shown = { kind: "verdict"; event: OutcomeEvent } | { kind: "camera"; cameraId: string } | null;

export type OutcomeFilter = "all" | "risks" | "unjudged";

export interface PageState extends LiveData {
  link: Link;
  /** When the link became what it is, this machine's clock. */
  linkSinceMs: number;
  /** Only this camera's outcomes are listed; null: all. */
  chosenCamera: string | null;
  filter: OutcomeFilter;
  /** The list as it stood when the reader paused it; null: it runs. */
  pausedAt: OutcomeEvent[] | null;
  /** What is open in the dialog. */
  shown: Shown;
}

export const usePage = create<PageState>()(() => ({
  ...NOTHING_YET,
  link: "connecting",
  linkSinceMs: Date.now(),
  chosenCamera: null,
  filter: "all",
  pausedAt: null,
  shown: null,
}));

export const chooseCamera = (cameraId: string | null) =>
  usePage.setState((page) => ({ chosenCamera: page.chosenCamera === cameraId ? null : cameraId }));

export const chooseFilter = (filter: OutcomeFilter) => usePage.setState({ filter });

export const togglePause = () => usePage.setState((page) => ({ pausedAt: page.pausedAt ? null : page.outcomes }));

export const show = (shown: Shown) => usePage.setState({ shown });
