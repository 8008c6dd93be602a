// One page, one script, one style sheet, named by what is in them. Nothing inline: the page lives under
// `script-src 'self'; style-src 'self'`. Relative addresses, so that it also works below a path of a proxy.
import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  publicDir: false,
  build: {
    outDir: "built",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
    license: { fileName: "licenses.md" },
  },
});
