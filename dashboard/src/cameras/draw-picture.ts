/** Draws a frame and what the detector saw in it. Boxes are in the frame's own pixels; the JPEG may be smaller. */
import type { PreviewHeader } from "../../../src/messages.ts";

const VULNERABLE = new Set(["person", "bicycle", "motorcycle"]);
/** Light and dark lines over each other stay visible on any ground. */
const COLOURS = { vulnerable: "#57d3ff", vehicle: "#ffffff", group: "#ffb000", under: "rgb(0 0 0 / 60%)" };
/** Width of the canvas, px: thumbnail and large picture. The JPEG's own may be smaller; lines and words stay sharp. */
const WIDTH = { small: 480, large: 1280 };

export function drawPicture(canvas: HTMLCanvasElement, bitmap: ImageBitmap, header: PreviewHeader, large: boolean) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const width = large ? WIDTH.large : WIDTH.small;
  const height = Math.round((width * bitmap.height) / bitmap.width);
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  context.drawImage(bitmap, 0, 0, width, height);

  const scaleX = width / header.imageWidth;
  const scaleY = height / header.imageHeight;
  const box = ([x1, y1, x2, y2]: readonly [number, number, number, number], colour: string, line: number) => {
    const at = [x1 * scaleX, y1 * scaleY, (x2 - x1) * scaleX, (y2 - y1) * scaleY] as const;
    context.strokeStyle = COLOURS.under;
    context.lineWidth = line + 2;
    context.strokeRect(...at);
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(...at);
  };

  const line = large ? 2.5 : 1.5;
  context.setLineDash([]);
  for (const object of header.objects) {
    box(object.bbox, VULNERABLE.has(object.class) ? COLOURS.vulnerable : COLOURS.vehicle, line);
  }
  for (const group of header.groups) {
    context.setLineDash([8, 5]);
    box(group.bbox, COLOURS.group, line + 0.5);
  }
  context.setLineDash([]);
  const text = large ? 18 : 15;
  context.font = `600 ${text}px system-ui, sans-serif`;
  if (large) {
    for (const object of header.objects) {
      label(
        context,
        `${object.class} ${Math.round(object.confidence * 100)}`,
        object.bbox[0] * scaleX,
        object.bbox[1] * scaleY,
        text,
      );
    }
  }
  for (const group of header.groups) {
    label(
      context,
      `Group ${group.groupIndex}`,
      group.bbox[0] * scaleX,
      group.bbox[3] * scaleY + text + 6,
      text,
      COLOURS.group,
    );
  }
}

/** `y`: the label's lower edge, px of the canvas; kept within it. */
function label(
  context: CanvasRenderingContext2D,
  words: string,
  x: number,
  y: number,
  size: number,
  colour = "#ffffff",
) {
  const width = context.measureText(words).width + 8;
  const left = Math.min(Math.max(0, x), context.canvas.width - width);
  const bottom = Math.min(Math.max(size + 6, y), context.canvas.height);
  context.fillStyle = "rgb(0 0 0 / 72%)";
  context.fillRect(left, bottom - size - 6, width, size + 6);
  context.fillStyle = colour;
  context.fillText(words, left + 4, bottom - 5);
}
