/**
 * Is a live HLS playlist still being written? Read from ffmpeg's own words at "verbose", where it names each segment that
 * it asks for. A server hands out the playlist of a dead encoder as well as a living one's: its last segment would be
 * played again at every connection, as if it were new.
 */
export class HlsProgress {
  readonly #newest = new Map<string, string>();
  #moved = false;

  /** A line of ffmpeg's log. */
  logLine(line: string): void {
    const [, segment, playlist] = /HLS request for url '(.*)', offset \d+, playlist (\d+)/.exec(line) ?? [];
    if (segment === undefined || playlist === undefined) return;
    const before = this.#newest.get(playlist);
    this.#newest.set(playlist, segment);
    if (before !== undefined && before !== segment) this.#moved = true;
  }

  /** A segment has come that was not listed when ffmpeg began (at the newest one, LIVE_HLS_OPTIONS). */
  get moved(): boolean {
    return this.#moved;
  }
}
