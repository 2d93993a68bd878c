/**
 * Which camera is looked at next. One slot a camera: a newer frame takes the older one's place, so what is looked at is
 * never stale. The camera that has waited longest since its last look, times its weight, comes first: under overload all
 * intervals stretch alike, and none starves.
 */
import type { Clock } from "../context.ts";

export interface Slotted {
  /** Gives the frame's buffer back: it will not be looked at (any more). */
  release(): void;
}

interface Slot<Frame> {
  weight: number;
  frame: Frame | undefined;
  /** A look is under way: the camera's next one begins only after it, so that tracks see frames in order. */
  looking: boolean;
  /** Since when the camera waits for a look, monotonic ms. */
  waitsSinceMs: number;
}

export class LookSchedule<Frame extends Slotted> {
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #slots = new Map<string, Slot<Frame>>();

  constructor(clock: Pick<Clock, "monotonicMs">) {
    this.#clock = clock;
  }

  add(cameraId: string, weight: number): void {
    this.#slots.set(cameraId, { weight, frame: undefined, looking: false, waitsSinceMs: this.#clock.monotonicMs() });
  }

  /** Puts the frame into its camera's slot. True: it took the place of one that nobody will look at (released). */
  offer(cameraId: string, frame: Frame): boolean {
    const slot = this.#slots.get(cameraId);
    if (!slot) {
      frame.release();
      return false;
    }
    const replaced = slot.frame;
    slot.frame = frame;
    replaced?.release();
    return replaced !== undefined;
  }

  /** The frame to look at now; its camera rests until `done`. Undefined: nothing to look at. */
  next(): { cameraId: string; frame: Frame } | undefined {
    const nowMs = this.#clock.monotonicMs();
    let best: { cameraId: string; slot: Slot<Frame>; frame: Frame; urgency: number } | undefined;
    for (const [cameraId, slot] of this.#slots) {
      if (!slot.frame || slot.looking) continue;
      const urgency = (nowMs - slot.waitsSinceMs) * slot.weight;
      if (!best || urgency > best.urgency) best = { cameraId, slot, frame: slot.frame, urgency };
    }
    if (!best) return undefined;
    best.slot.frame = undefined;
    best.slot.looking = true;
    best.slot.waitsSinceMs = nowMs;
    return { cameraId: best.cameraId, frame: best.frame };
  }

  done(cameraId: string): void {
    const slot = this.#slots.get(cameraId);
    if (slot) slot.looking = false;
  }

  /** Releases what nobody will look at any more. */
  clear(): void {
    for (const slot of this.#slots.values()) {
      slot.frame?.release();
      slot.frame = undefined;
    }
  }
}
