/**
 * How long a provider says that it worked on a call. What is left of the round trip is the network's: by its spread the guard
 * between a call's stamp and its arrival is measured.
 *
 * Sources: `openai-processing-ms` (OpenAI, API reference, "Debugging requests"); `req-cost-time` (DashScope's answers);
 * `x-envoy-upstream-service-time` (Envoy, HTTP router filter: every provider behind it); `server-timing: gfet4t7; dur=…`
 * (Google's front ends; the header is W3C Server Timing).
 */
export function processingMs(headers: Readonly<Record<string, string>>): number | undefined {
  for (const name of ["openai-processing-ms", "req-cost-time", "x-envoy-upstream-service-time"]) {
    const ms = plainMs(headers[name]);
    if (ms !== undefined) return ms;
  }
  const durations = [...(headers["server-timing"] ?? "").matchAll(/;\s*dur="?(\d+(?:\.\d+)?)/g)].map(([, ms]) =>
    Number(ms),
  );
  return durations.length > 0 ? Math.max(...durations) : undefined;
}

/** Headers that `processingMs` reads. */
export const TIMING_HEADERS = /^(openai-processing-ms|req-cost-time|x-envoy-upstream-service-time|server-timing)$/;

const plainMs = (text: string | undefined) =>
  text !== undefined && /^\d{1,7}(\.\d+)?$/.test(text.trim()) ? Number(text) : undefined;

/**
 * The network's part of a round trip, ms; null where the provider does not say how long it worked, or says what cannot be.
 * A refusal is no work: its whole round trip is the network's.
 */
export function networkMs(
  roundTripMs: number,
  headers: Readonly<Record<string, string>>,
  refused: boolean,
): number | null {
  const worked = processingMs(headers) ?? (refused ? 0 : undefined);
  return worked === undefined || worked > roundTripMs ? null : roundTripMs - worked;
}
