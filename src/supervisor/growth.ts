/** How much counters grew since `begin`; one that fell has begun anew with its process. */
export class Growth {
  readonly #last = new Map<string, number>();
  readonly #grown = new Map<string, number>();
  #begun = false;

  /** What was seen before is where growth starts; a counter first seen after it has grown from 0. */
  begin(): void {
    this.#begun = true;
  }

  seen(name: string, value: number): void {
    const last = this.#last.get(name) ?? (this.#begun ? 0 : value);
    this.#last.set(name, value);
    this.#grown.set(name, (this.#grown.get(name) ?? 0) + (value >= last ? value - last : value));
  }

  total(which: (name: string) => boolean): number {
    let total = 0;
    for (const [name, grown] of this.#grown) if (which(name)) total += grown;
    return total;
  }
}
