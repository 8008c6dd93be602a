// One page, one script, one style sheet, named by what is in them. Nothing inline: the page lives under
// `script-src 'self'; style-src 'self'`. What is under assets/ is kept by browsers for a year.
import { defineConfig } from "vite";

export default defineConfig({
  publicDir: false,
  build: {
    outDir: "built",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
    license: { fileName: "licenses.json" },
  },
});
