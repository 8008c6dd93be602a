// Writes src/runbook.json: what deploy/RUNBOOK.md says about each trouble that the page shows (src/chapters.json), so
// that whoever is woken reads it where they look. The runbook stays the one place where it is written; a test compares
// the two. Links become their words: the page has no pages.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const book = readFileSync(at("../../../deploy/RUNBOOK.md"), "utf8");
const wanted = new Set(Object.values(JSON.parse(readFileSync(at("src/chapters.json"), "utf8"))));

function chapter(name) {
  const [, text] = book.split(`\n### ${name}\n`);
  if (text === undefined) throw new Error(`deploy/RUNBOOK.md has no chapter ${name}, which src/chapters.json names`);
  const plain = text.split(/\n#/, 1)[0].replace(/\s+/g, " ").replace(/\[([^\]]*)\]\([^)]*\)/g, "$1");
  const parts = plain.split(/ ?- \*\*(Means|Look|Do|Worry)\.?\*\* /).slice(1);
  return Object.fromEntries(["means", "look", "do", "worry"].map((key, nth) => [key, parts[2 * nth + 1].trim()]));
}

const chapters = Object.fromEntries([...wanted].sort().map((name) => [name, chapter(name)]));
writeFileSync(at("src/runbook.json"), `${JSON.stringify(chapters, null, 2)}\n`);
