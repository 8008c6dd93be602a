// Writes built/sources.sha256: the hash of everything that the built page was made from, so that a test can tell
// without node whether somebody changed the sources and forgot to build. Sha256 in hex over "path\0length\0content"
// of every file here but node_modules and built, in byte order of the paths (with / between folders).
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const left_out = new Set(["node_modules", "built"]);

function files(folder) {
  const entries = readdirSync(join(here, folder), { withFileTypes: true });
  return entries.flatMap((entry) => {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) return folder === "" && left_out.has(entry.name) ? [] : files(path);
    return [path];
  });
}

const hash = createHash("sha256");
const paths = files("").sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
for (const path of paths) {
  const content = readFileSync(join(here, path));
  hash.update(`${path}\0${content.length}\0`).update(content);
}
writeFileSync(join(here, "built", "sources.sha256"), `${hash.digest("hex")}\n`);
