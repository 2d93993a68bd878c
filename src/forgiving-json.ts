/** JSON as Python writes it: NaN and Infinity become null (outside of strings only). Throws what JSON.parse throws. */
export function parseForgiving(value: Buffer): unknown {
  const text = value.toString("utf8");
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!/NaN|Infinity/.test(text)) throw error;
    return JSON.parse(
      text.replace(/"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/g, (match) => (match.startsWith('"') ? match : "null")),
    );
  }
}
