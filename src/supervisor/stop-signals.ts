/** Ctrl-C and its relatives: the first asks for an orderly stop, the second ends everything at once. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** A terminal sends one Ctrl-C to npm and to us, and npm may pass it on: so close together it is one and the same. */
const SAME_PRESS_MS = 150;

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
  return () => {
    for (const signal of SIGNALS) process.off(signal, handle);
  };
}
