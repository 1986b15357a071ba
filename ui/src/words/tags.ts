/** Tags in one line of text: commas between them, and quotes around one that has a comma itself. */

const ONE = /\s*(?:"((?:[^"]|"")*)"|([^,]*))\s*(?:,|$)/gy;

/** The line that `readTags` reads these from. */
export function writeTags(tags: readonly string[]): string {
  return tags.map((tag) => (/[",]/.test(tag) ? `"${tag.replaceAll('"', '""')}"` : tag)).join(", ");
}

/** The tags in a line, each once. */
export function readTags(text: string): string[] {
  const found: string[] = [];
  for (const [, quoted, plain] of text.matchAll(ONE)) found.push((quoted?.replaceAll('""', '"') ?? plain ?? "").trim());
  return [...new Set(found.filter(Boolean))];
}
