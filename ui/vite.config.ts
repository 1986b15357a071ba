import { copyFileSync, mkdirSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

const here = dirname(fileURLToPath(import.meta.url));
const dist = resolve(here, "../src/grandstand/web/dist");

/** Puts the API browser (Swagger UI) beside the page, so that /docs works without a network. */
function swaggerForDocs(): Plugin {
  const files = ["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png", "LICENSE"];
  return {
    name: "swagger-for-docs",
    apply: "build",
    closeBundle() {
      mkdirSync(resolve(dist, "docs"), { recursive: true });
      for (const file of files) {
        copyFileSync(
          resolve(here, "node_modules/swagger-ui-dist", file),
          resolve(dist, "docs", file),
        );
      }
    },
  };
}

const server = process.env.GRANDSTAND_URL ?? "http://127.0.0.1:8000";

export default defineConfig({
  root: here,
  // Relative, so that the page also works below a sub-path; index.html's <base> says which.
  base: "./",
  plugins: [svelte(), swaggerForDocs()],
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
