// Makes a project out of npm packages, as a user would: npm installs them, esbuild bundles them.
//
//   node tests/npm/bundle.mjs FOLDER DIR
//
// FOLDER/bundle.json says which `packages` and which `bundles` (from a file in FOLDER to one in the project, for `workerd`
// or `node`); the `files` are copied. The project is in DIR/project, whose path is printed. Exit code 0 or 1.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";

const [from, target] = process.argv.slice(2).map((path) => resolve(path));
if (!target) {
  console.error("usage: node bundle.mjs FOLDER DIR");
  process.exit(1);
}
const { packages, bundles, files } = JSON.parse(readFileSync(join(from, "bundle.json"), "utf8"));
const source = join(target, "source");
const project = join(target, "project");
mkdirSync(project, { recursive: true });
// Where the packages are found: next to the sources.
cpSync(from, source, { recursive: true });
writeFileSync(join(source, "package.json"), JSON.stringify({ type: "module" }));
execFileSync("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts", "esbuild", ...packages], {
  cwd: source,
  stdio: ["ignore", "ignore", "inherit"],
});
const { buildSync } = createRequire(join(source, "package.json"))("esbuild");
for (const { entry, outfile, platform } of bundles) {
  buildSync({
    absWorkingDir: source,
    entryPoints: [entry],
    outfile: join(project, outfile),
    bundle: true,
    format: "esm",
    target: "es2022",
    logLevel: "warning",
    loader: { ".sql": "text" },
    ...(platform === "node"
      ? { platform: "node", banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' } }
      : { platform: "neutral", mainFields: ["module", "main"], conditions: ["workerd", "worker", "import"], external: ["cloudflare:*", "node:*"] }),
  });
}
for (const file of files) {
  mkdirSync(dirname(join(project, file)), { recursive: true });
  cpSync(join(from, file), join(project, file));
}
console.log(project);
