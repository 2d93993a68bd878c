/** What people and logs may see of a camera's address, and of a text that holds it: no user, no password, no query. */

/** scheme://user:password@host/path?query → scheme://…@host/path?…; what is no address (a file, a folder, a device) stays. */
export function sourceToShown(source: string): string {
  const [, scheme = "", rest = ""] = /^([a-z][a-z0-9+.-]+:\/+)(.*)$/is.exec(source) ?? [];
  if (scheme === "") return source;
  const end = rest.search(/[/?#]/);
  const authority = end < 0 ? rest : rest.slice(0, end);
  const [path = "", ...after] = (end < 0 ? "" : rest.slice(end)).split(/[?#]/);
  // An @ behind the authority: the end of a password that holds a slash, a ? or a #. Nothing here is surely the host.
  if (/@|%40/i.test(path) || (!authority.includes("@") && after.join().includes("@"))) return `${scheme}…`;
  const host = authority.slice(authority.lastIndexOf("@") + 1);
  return `${scheme}${host === authority ? "" : "…@"}${host}${path}${after.length > 0 ? "?…" : ""}`;
}

/** A text (a program's last words, an error's message) with every address in it as it may be shown. `sources`: those that are known, however odd. */
export function textToShown(text: string, ...sources: readonly string[]): string {
  const known = sources.filter((source) => sourceToShown(source) !== source);
  const replaced = known.reduce((rest, source) => rest.replaceAll(source, () => sourceToShown(source)), text);
  return replaced.replaceAll(/[a-z][a-z0-9+.-]+:\/+\S+/gi, (word) => {
    const [, address = word, punctuation = ""] = /^(.*?)([.,:;'")\]]*)$/s.exec(word) ?? [];
    return sourceToShown(address) + punctuation;
  });
}
