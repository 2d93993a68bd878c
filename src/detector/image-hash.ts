/** A hash of how a picture looks: near-equal pictures have near-equal hashes. */
import sharp from "sharp";

const WIDTH = 9;
const HEIGHT = 8;

/**
 * Difference hash ("dHash", Neal Krawetz, "Kind of Like That", 2013): 9 × 8 greys, one bit for each pixel that is darker
 * than its right neighbour. 64 bits as 16 hexadecimal digits; compare by the number of bits that differ.
 */
export async function imageHash(jpeg: Buffer): Promise<string> {
  const grey = await sharp(jpeg).greyscale().resize(WIDTH, HEIGHT, { fit: "fill" }).raw().toBuffer();
  let hash = "";
  for (let row = 0; row < HEIGHT; row++) {
    let bits = 0;
    for (let x = 0; x < WIDTH - 1; x++) {
      const at = row * WIDTH + x;
      bits = (bits << 1) | ((grey[at] ?? 0) < (grey[at + 1] ?? 0) ? 1 : 0);
    }
    hash += bits.toString(16).padStart(2, "0");
  }
  return hash;
}
