/**
 * Frames' buffers by number, the same on both sides of a thread's channel. A shared buffer that is posted again and again
 * counts as new memory each time, and the garbage collector runs for nothing; so each is posted once and then named.
 */

/** Beyond this many the oldest is forgotten, on both sides alike: both see the same numbers in the same order. */
const MOST_KNOWN = 64;

export interface NamedBuffer {
  id: number;
  /** Only when the other side does not know it. */
  data?: SharedArrayBuffer;
}

/** The sender's side, one for each channel. */
export class BufferNames {
  readonly #known = new Map<number, true>();

  name(data: SharedArrayBuffer): NamedBuffer {
    const id = idOf(data);
    if (this.#known.has(id)) return { id };
    remember(this.#known, id, true);
    return { id, data };
  }
}

/** The receiver's side. */
export class NamedBuffers {
  readonly #known = new Map<number, SharedArrayBuffer>();

  find({ id, data }: NamedBuffer): SharedArrayBuffer {
    if (data) remember(this.#known, id, data);
    const found = this.#known.get(id);
    if (!found) throw new Error(`buffer ${id} is not known here`);
    return found;
  }
}

function remember<T>(known: Map<number, T>, id: number, value: T): void {
  if (known.size >= MOST_KNOWN) known.delete(known.keys().next().value ?? -1);
  known.set(id, value);
}

const ids = new WeakMap<SharedArrayBuffer, number>();
let nextId = 1;

function idOf(data: SharedArrayBuffer): number {
  let id = ids.get(data);
  if (id === undefined) {
    id = nextId;
    nextId += 1;
    ids.set(data, id);
  }
  return id;
}
