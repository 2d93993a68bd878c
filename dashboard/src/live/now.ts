/** A clock that ticks once a second, for ages. */
import { useSyncExternalStore } from "react";
import { usePage } from "./store.ts";

let nowMs = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void) {
  listeners.add(listener);
  timer ??= setInterval(() => {
    nowMs = Date.now();
    for (const each of listeners) each();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** Never more than a second old, however late a busy page's ticks are, or where nobody has listened for long. */
function latest() {
  const now = Date.now();
  if (Math.abs(now - nowMs) >= 1_000) nowMs = now;
  return nowMs;
}

/** This machine's clock. */
export const useLocalNow = () => useSyncExternalStore(subscribe, latest);

/** The gateway's clock, against which ages of events are reckoned. */
export const useNow = () => useLocalNow() + usePage((page) => page.clockOffsetMs);
