/** The ground when there are no tiles: lines of latitude and longitude at round steps, finer ones between, labelled at the edges. */
import type { Map as LeafletMap } from "leaflet";

/** Degrees between lines, the coarsest last. */
const STEPS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 45];
/** Lines stand at least so many pixels apart. */
const LEAST_PX = 110;
const FINE_LINES = 5;

/** Draws behind the map's panes and again at each move; returns the way to end it. */
export function drawGraticule(map: LeafletMap): () => void {
  const container = map.getContainer();
  const canvas = document.createElement("canvas");
  canvas.className = "graticule";
  canvas.setAttribute("aria-hidden", "true");
  container.prepend(canvas);
  const redraw = () => draw(map, canvas);
  map.on("move zoom resize viewreset", redraw);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", redraw);
  redraw();
  return () => {
    dark.removeEventListener("change", redraw);
    canvas.remove();
  };
}

function draw(map: LeafletMap, canvas: HTMLCanvasElement) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const { x: width, y: height } = map.getSize();
  const ratio = devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const colour = (name: string) => style.getPropertyValue(name).trim();

  const bounds = map.getBounds();
  const degreesPerPx = Math.max(1e-9, (bounds.getEast() - bounds.getWest()) / width);
  const step = STEPS.find((each) => each / degreesPerPx >= LEAST_PX) ?? 45;
  const xOf = (lon: number) => Math.round(map.latLngToContainerPoint([bounds.getSouth(), lon]).x) + 0.5;
  const yOf = (lat: number) => Math.round(map.latLngToContainerPoint([lat, bounds.getWest()]).y) + 0.5;
  const south = Math.max(-85, bounds.getSouth());
  const north = Math.min(85, bounds.getNorth());

  const line = (x1: number, y1: number, x2: number, y2: number) => {
    context.beginPath();
    context.moveTo(x1, y1);
    context.lineTo(x2, y2);
    context.stroke();
  };
  context.lineWidth = 1;
  context.strokeStyle = colour("--map-minor");
  for (const lon of lines(bounds.getWest(), bounds.getEast(), step / FINE_LINES)) line(xOf(lon), 0, xOf(lon), height);
  for (const lat of lines(south, north, step / FINE_LINES)) line(0, yOf(lat), width, yOf(lat));

  context.strokeStyle = colour("--map-major");
  context.fillStyle = colour("--map-text");
  context.font = `11px ${colour("--font") || "sans-serif"}`;
  const digits = Math.max(0, Math.ceil(-Math.log10(step)) + (step < 0.001 ? 0 : 0));
  for (const lon of lines(bounds.getWest(), bounds.getEast(), step)) {
    line(xOf(lon), 0, xOf(lon), height);
    context.fillText(degrees(lon, "E", "W", digits), xOf(lon) + 4, 13);
  }
  for (const lat of lines(south, north, step)) {
    line(0, yOf(lat), width, yOf(lat));
    if (yOf(lat) > 26) context.fillText(degrees(lat, "N", "S", digits), 4, yOf(lat) - 4);
  }
}

function lines(from: number, to: number, step: number): number[] {
  const first = Math.ceil(from / step);
  const last = Math.floor(to / step);
  return Array.from({ length: Math.max(0, Math.min(400, last - first + 1)) }, (_, i) => (first + i) * step);
}

const degrees = (value: number, plus: string, minus: string, digits: number) =>
  `${Math.abs(value).toFixed(digits)}° ${value < 0 ? minus : plus}`;
