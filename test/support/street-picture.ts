/** A drawn street with cars and people exactly where the boxes say, as JPEG: definite pictures for the page's tests. */
import sharp from "sharp";
import type { Bbox } from "../../src/messages.ts";

export const STREET = { width: 960, height: 540 };

export interface StreetObject {
  class: "person" | "bicycle" | "car" | "bus" | "truck";
  bbox: Bbox;
}

/** `tint`: hue of the light, degrees, so that cameras can be told apart. */
export async function streetPicture(objects: readonly StreetObject[], tint = 210): Promise<Buffer> {
  return await sharp(Buffer.from(street(objects, tint)))
    .jpeg({ quality: 82 })
    .toBuffer();
}

/** The part of the street's picture within the box and a margin: a group's crop. */
export async function cropOf(street: Buffer, [x1, y1, x2, y2]: Bbox, marginPx = 24): Promise<Buffer> {
  const left = Math.max(0, Math.round(x1 - marginPx));
  const top = Math.max(0, Math.round(y1 - marginPx));
  const width = Math.min(STREET.width, Math.round(x2 + marginPx)) - left;
  const height = Math.min(STREET.height, Math.round(y2 + marginPx)) - top;
  return await sharp(street).extract({ left, top, width, height }).jpeg({ quality: 85 }).toBuffer();
}

function street(objects: readonly StreetObject[], tint: number): string {
  const { width, height } = STREET;
  const dashes = Array.from(
    { length: 9 },
    (_, i) => `<rect x="${i * 120 + 10}" y="318" width="62" height="7" fill="#e8e4d6"/>`,
  );
  const stripes = Array.from(
    { length: 9 },
    (_, i) => `<rect x="650" y="${212 + i * 25}" width="78" height="13" fill="#e8e4d6"/>`,
  );
  const houses = Array.from(
    { length: 8 },
    (_, i) =>
      `<rect x="${i * 124 - 10}" y="${30 + ((i * 37) % 50)}" width="112" height="170" fill="hsl(${tint + i * 9} 14% ${44 + ((i * 13) % 16)}%)"/>` +
      [0, 1, 2]
        .map(
          (w) =>
            `<rect x="${i * 124 + 6 + w * 32}" y="${64 + ((i * 37) % 50)}" width="18" height="26" fill="hsl(${tint} 30% 78%)"/>`,
        )
        .join(""),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">
    <rect width="${width}" height="${height}" fill="hsl(${tint} 32% 80%)"/>${houses.join("")}
    <rect y="165" width="${width}" height="45" fill="hsl(${tint} 6% 66%)"/>
    <rect y="208" width="${width}" height="232" fill="hsl(${tint} 7% 38%)"/>
    <rect y="438" width="${width}" height="102" fill="hsl(${tint} 6% 62%)"/>
    ${dashes.join("")}${stripes.join("")}${objects.map((object, i) => figure(object, i)).join("")}</svg>`;
}

function figure({ class: kind, bbox: [x1, y1, x2, y2] }: StreetObject, i: number): string {
  const w = x2 - x1;
  const h = y2 - y1;
  const hue = (i * 83 + 15) % 360;
  const shadow = `<ellipse cx="${x1 + w / 2}" cy="${y2 - 2}" rx="${w * 0.52}" ry="${Math.max(4, h * 0.07)}" fill="#0006"/>`;
  if (kind === "person" || kind === "bicycle") {
    const wheels =
      kind === "bicycle"
        ? `<g fill="none" stroke="#20242a" stroke-width="3"><circle cx="${x1 + w * 0.25}" cy="${y2 - h * 0.17}" r="${h * 0.16}"/><circle cx="${x2 - w * 0.25}" cy="${y2 - h * 0.17}" r="${h * 0.16}"/></g>`
        : "";
    return `${shadow}<circle cx="${x1 + w / 2}" cy="${y1 + h * 0.13}" r="${h * 0.11}" fill="#d9a986"/>
      <rect x="${x1 + w / 2 - h * 0.13}" y="${y1 + h * 0.25}" width="${h * 0.26}" height="${h * 0.4}" rx="${h * 0.09}" fill="hsl(${hue} 55% 42%)"/>
      <rect x="${x1 + w / 2 - h * 0.11}" y="${y1 + h * 0.6}" width="${h * 0.09}" height="${h * 0.38}" rx="4" fill="#2a2f3a"/>
      <rect x="${x1 + w / 2 + h * 0.03}" y="${y1 + h * 0.6}" width="${h * 0.09}" height="${h * 0.36}" rx="4" fill="#2a2f3a"/>${wheels}`;
  }
  const roof = kind === "car" ? 0.42 : 0.08;
  return `${shadow}<rect x="${x1 + w * 0.16}" y="${y1}" width="${w * 0.62}" height="${h * 0.6}" rx="${h * 0.16}" fill="hsl(${hue} 45% 34%)"/>
    <rect x="${x1 + w * 0.2}" y="${y1 + h * 0.08}" width="${w * 0.54}" height="${h * 0.32}" rx="${h * 0.08}" fill="#b9d3e2"/>
    <rect x="${x1}" y="${y1 + h * roof}" width="${w}" height="${h * (0.86 - roof)}" rx="${h * 0.13}" fill="hsl(${hue} 50% 46%)"/>
    <circle cx="${x1 + w * 0.22}" cy="${y2 - h * 0.14}" r="${h * 0.14}" fill="#15181c"/><circle cx="${x2 - w * 0.22}" cy="${y2 - h * 0.14}" r="${h * 0.14}" fill="#15181c"/>`;
}
