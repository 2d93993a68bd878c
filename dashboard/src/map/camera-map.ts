/**
 * The one file that knows Leaflet: a map of cameras as DOM markers, which can be focused and are titled, over a schematic
 * ground. Good up to some hundreds of cameras; beyond that a canvas overlay has to take the markers' place.
 */
import L from "leaflet";
import "leaflet/dist/leaflet.css";
import { drawGraticule } from "./graticule.ts";
import { labelSides } from "./label-sides.ts";

/** What the map has to know of a camera. */
export interface MapCamera {
  id: string;
  lat: number;
  lon: number;
  /** For the tooltip and for screen readers: all that colour and shape say, in words. */
  title: string;
  chosen: boolean;
  look: string;
}

export interface CameraMap {
  /** Adds, moves and removes markers; the view follows the set of cameras until the reader moves it. */
  update(cameras: readonly MapCamera[]): void;
  /** The element inside a camera's marker, to draw into; it stays the same until the camera is removed. */
  slot(id: string): HTMLElement | null;
  /** Back to all cameras. */
  showAll(): void;
  remove(): void;
}

/** `onSlots` is called when markers came or went. */
export function createCameraMap(
  container: HTMLElement,
  onChoose: (id: string) => void,
  onSlots: () => void,
): CameraMap {
  const map = L.map(container, {
    attributionControl: false,
    zoomControl: false,
    zoomAnimation: false,
    fadeAnimation: false,
    markerZoomAnimation: false,
    minZoom: 2,
    maxZoom: 19,
    zoomSnap: 0.25,
  }).setView([0, 0], 2);
  L.control.zoom({ position: "topright" }).addTo(map);
  L.control.scale({ position: "bottomright", imperial: false }).addTo(map);

  const stopGraticule = drawGraticule(map);
  const markers = new Map<string, { marker: L.Marker; slot: HTMLElement }>();
  let movedByReader = false;
  let fitting = false;
  map.on("zoomstart movestart", () => {
    if (!fitting) movedByReader = true;
  });

  /** Labels keep clear of each other and of the markers as far as four sides allow. */
  function placeLabels() {
    const { x: width, y: height } = map.getSize();
    const entries = [...markers.values()];
    const points = entries.map(({ marker }) => map.latLngToContainerPoint(marker.getLatLng()));
    labelSides(points, { width, height }).forEach((side, i) => {
      const slot = entries[i]?.slot;
      if (slot) slot.dataset.side = side;
    });
  }
  map.on("zoomend moveend resize", placeLabels);

  function showAll() {
    const places = [...markers.values()].map(({ marker }) => marker.getLatLng());
    if (places.length === 0) return;
    fitting = true;
    const { x: width, y: height } = map.getSize();
    // Room for the labels beside the markers, and for the controls.
    const padding: [number, number] = [Math.min(100, width * 0.17), Math.min(64, height * 0.2)];
    map.fitBounds(L.latLngBounds(places), { padding, maxZoom: 16, animate: false });
    fitting = false;
    movedByReader = false;
  }

  function add(camera: MapCamera) {
    const slot = document.createElement("span");
    const icon = L.divIcon({ html: slot, className: "camera-marker", iconSize: [36, 36] });
    const marker = L.marker([camera.lat, camera.lon], { icon, keyboard: true }).addTo(map);
    marker.on("click", () => onChoose(camera.id));
    marker.getElement()?.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      onChoose(camera.id);
    });
    markers.set(camera.id, { marker, slot });
  }

  const resized = new ResizeObserver(() => {
    fitting = true;
    map.invalidateSize({ pan: false });
    fitting = false;
    if (!movedByReader) showAll();
  });
  resized.observe(container);

  return {
    update(cameras) {
      const wanted = new Map(cameras.map((camera) => [camera.id, camera]));
      let changed = false;
      for (const [id, { marker }] of markers) {
        if (wanted.has(id)) continue;
        marker.remove();
        markers.delete(id);
        changed = true;
      }
      for (const camera of cameras) {
        if (!markers.has(camera.id)) {
          add(camera);
          changed = true;
        }
        const known = markers.get(camera.id);
        if (!known) continue;
        const { lat, lng } = known.marker.getLatLng();
        if (lat !== camera.lat || lng !== camera.lon) {
          known.marker.setLatLng([camera.lat, camera.lon]);
          changed = true;
        }
        const element = known.marker.getElement();
        if (!element) continue;
        if (element.title !== camera.title) element.title = camera.title;
        element.setAttribute("aria-label", camera.title);
        element.setAttribute("aria-pressed", String(camera.chosen));
        known.marker.setZIndexOffset(camera.chosen ? 1000 : 0);
      }
      if (!changed) return;
      if (!movedByReader) showAll();
      placeLabels();
      onSlots();
    },
    slot: (id) => markers.get(id)?.slot ?? null,
    showAll,
    remove() {
      resized.disconnect();
      stopGraticule();
      map.remove();
    },
  };
}
