/** The four cameras of the demo: one footage, each begins elsewhere in it, so that they never show the same at once. */
import type { Camera } from "../cameras.ts";

/** Length of the footage: starts are spread over it. */
const FOOTAGE_SECONDS = 79;

const PLACES = [
  { id: "north-gate", name: "North gate", lat: 51.4446, lon: -0.9461 },
  { id: "library-crossing", name: "Library crossing", lat: 51.4414, lon: -0.9417 },
  { id: "east-car-park", name: "East car park", lat: 51.4427, lon: -0.9352 },
  { id: "station-square", name: "Station square", lat: 51.4372, lon: -0.9446 },
] as const;

export function demoCameras(footagePath: string): Camera[] {
  return PLACES.map((place, i) => ({
    ...place,
    source: footagePath,
    startAtSeconds: Math.round((i * FOOTAGE_SECONDS) / PLACES.length),
    loop: true,
  }));
}
