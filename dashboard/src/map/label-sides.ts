/** On which side of its marker each label stands. Greedy, in the order given: good for the few that are labelled at all. */
export const SIDES = ["below", "above", "right", "left"] as const;
export type Side = (typeof SIDES)[number];

/** A label's usual size and a marker's, px. */
const LABEL = { width: 140, height: 38 };
const MARKER = 34;
const GAP = 4;
/** The corner, at the right, where the map's buttons are. */
const CONTROLS = { width: 56, top: 0, bottom: 84 };

interface Point {
  x: number;
  y: number;
}
interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export function labelSides(points: readonly Point[], frame: { width: number; height: number }): Side[] {
  const markers = points.map((point) => around(point, MARKER, MARKER));
  const placed: Box[] = [{ ...CONTROLS, left: frame.width - CONTROLS.width, right: frame.width }];
  return points.map((point, i) => {
    const others = [...markers.filter((_, j) => j !== i), ...placed];
    let best: { side: Side; box: Box; cost: number } | undefined;
    for (const side of SIDES) {
      const box = boxAt(point, side);
      const cost = others.reduce((sum, other) => sum + overlap(box, other), 0) + outside(box, frame);
      if (!best || cost < best.cost) best = { side, box, cost };
    }
    if (!best) return "below";
    placed.push(best.box);
    return best.side;
  });
}

function boxAt({ x, y }: Point, side: Side): Box {
  const acrossX = MARKER / 2 + GAP + LABEL.width / 2;
  const acrossY = MARKER / 2 + GAP + LABEL.height / 2;
  const centre = {
    below: { x, y: y + acrossY },
    above: { x, y: y - acrossY },
    right: { x: x + acrossX, y },
    left: { x: x - acrossX, y },
  }[side];
  return around(centre, LABEL.width, LABEL.height);
}

const around = ({ x, y }: Point, width: number, height: number): Box => ({
  left: x - width / 2,
  top: y - height / 2,
  right: x + width / 2,
  bottom: y + height / 2,
});

/** px² that two boxes share. */
const overlap = (a: Box, b: Box) =>
  Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) *
  Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));

/** px² of the box beyond the frame. */
const outside = (box: Box, { width, height }: { width: number; height: number }) =>
  LABEL.width * LABEL.height - overlap(box, { left: 0, top: 0, right: width, bottom: height });
