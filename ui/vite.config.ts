import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const here = dirname(fileURLToPath(import.meta.url));
const dist = resolve(here, "../src/grandstand/web/dist");

const SWAGGER = ["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"];
const OTHERS_WORK: Readonly<Record<string, string>> = {
  inter: "@fontsource-variable/inter",
  "jetbrains-mono": "@fontsource-variable/jetbrains-mono",
  svelte: "svelte",
  "swagger-ui": "swagger-ui-dist",
  uplot: "uplot",
};

/**
 * Puts beside the page what it needs but does not bundle: the API browser (Swagger UI), so that
 * /docs works without a network, and the licences of everything that is shipped.
 */
function beside(): Plugin {
  const copy = (from: string, to: string): void => {
    const target = resolve(dist, to);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(resolve(here, "node_modules", from), target);
  };
  return {
    name: "beside-the-page",
    apply: "build",
    closeBundle() {
      for (const file of SWAGGER) copy(`swagger-ui-dist/${file}`, `docs/${file}`);
      for (const [name, from] of Object.entries(OTHERS_WORK)) {
        const found = ["LICENSE", "LICENSE.md"].find((file) =>
          existsSync(resolve(here, "node_modules", from, file)),
        );
        if (found === undefined) throw new Error(`${from} ships no licence to pass on.`);
        copy(`${from}/${found}`, `licenses/${name}.txt`);
      }
    },
  };
}

const server = process.env.GRANDSTAND_URL ?? "http://127.0.0.1:8000";

export default defineConfig({
  root: here,
  test: { css: true }, // its colours are tested
  // Relative, so that the page also works below a sub-path; index.html's <base> says which.
  base: "./",
  plugins: [svelte(), beside()],
  build: {
    outDir: dist,
    emptyOutDir: true,
    target: "es2023",
    // Inlined fonts or images would need `data:` in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: Object.fromEntries(
      ["/api", "/ws", "/status", "/health", "/docs", "/openapi.json", "/socket.io"].map((path) => [
        path,
        { target: server, ws: true },
      ]),
    ),
  },
});
