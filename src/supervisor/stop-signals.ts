/** Ctrl-C and its relatives: the first asks for an orderly stop, the second ends everything at once. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** A terminal sends one Ctrl-C to npm and to us, and npm may pass it on: so close together it is one and the same. */
const SAME_PRESS_MS = 150;

/** How often is looked whether the parent is still there. */
const PARENT_EVERY_MS = 250;

/**
 * npm runs a script by a shell, which dies of a SIGTERM to npm without passing it on: we would be left behind. So where
 * npm started us the end of our parent means a stop, too. (Elsewhere it does not: `nohup` is a promise.)
 */
function onParentGone(onGone: () => void): () => void {
  if (process.env.npm_lifecycle_event === undefined) return () => {};
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onGone();
  }, PARENT_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Returns what takes the handlers away again. `onStop` is called once, `onKill` at the second press. */
export function onStopSignals(onStop: (signal: string) => void, onKill: () => void): () => void {
  let firstMs: number | undefined;
  const handle = (signal: NodeJS.Signals) => {
    const nowMs = performance.now();
    if (firstMs === undefined) {
      firstMs = nowMs;
      onStop(signal);
    } else if (nowMs - firstMs > SAME_PRESS_MS) onKill();
  };
  for (const signal of SIGNALS) process.on(signal, handle);
  const offParent = onParentGone(() => handle("SIGTERM"));
  return () => {
    offParent();
    for (const signal of SIGNALS) process.off(signal, handle);
  };
}
