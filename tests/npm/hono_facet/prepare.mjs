// Makes a project that runs an npm package in a facet.
//
//   node tests/npm/hono_facet/prepare.mjs DIR
//
// Installs hono from npm into DIR/npm, collects the ES modules its main entry needs and writes the
// project, with them in `packages.json`, to DIR/project. Prints that path. Exit code 0 or 1.
//
// A loader resolves names exactly: no node_modules lookup, no extension guessing, no package.json. So
// each file keeps its path as its name (relative imports between them then work as they are), and one
// line of ours per package gives the bare name a module.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGE = "hono";
const PROJECT_FILES = ["worker.js", "app.js.txt", "wrangler.jsonc"];
/** `import ... from "x"`, `export ... from "x"`, `import "x"`, `import("x")`. */
const SPECIFIERS = /(?:\bfrom\s*|\bimport\s*\(?\s*)(["'])([^"'\n]+)\1/g;

/** The file a package's `exports` gives to `import PACKAGE`, as a path below node_modules. */
function entryOf(modules, name) {
  const { exports, module, main } = JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8"));
  let entry = exports?.["."] ?? exports ?? module ?? main ?? "index.js";
  while (typeof entry === "object") entry = entry.import ?? entry.default;
  return posix.join(name, entry);
}

/** Every module reachable from `entry`: name (path below node_modules) -> source. */
function graphFrom(modules, entry) {
  const sources = new Map();
  const waiting = [entry];
  while (waiting.length) {
    const name = waiting.pop();
    if (sources.has(name)) continue;
    const source = readFileSync(join(modules, name), "utf8");
    sources.set(name, source);
    const code = source.replace(/^\s*(\/\/.*|\/\*[^]*?\*\/)$/gm, "");
    for (const [, , specifier] of code.matchAll(SPECIFIERS)) {
      if (/^(node|cloudflare):/.test(specifier)) continue;
      if (!specifier.startsWith(".")) throw new Error(`${name} imports the package ${specifier}: not handled here`);
      const target = posix.join(posix.dirname(name), specifier);
      if (!existsSync(join(modules, target))) throw new Error(`${name} imports ${specifier}, and there is no such file`);
      waiting.push(target);
    }
  }
  return sources;
}

const target = process.argv[2];
if (!target) {
  console.error("usage: node prepare.mjs DIR");
  process.exit(1);
}
const npm = join(target, "npm");
const project = join(target, "project");
mkdirSync(npm, { recursive: true });
mkdirSync(project, { recursive: true });
writeFileSync(join(npm, "package.json"), "{}");
execFileSync("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts", PACKAGE], { cwd: npm, stdio: ["ignore", "ignore", "inherit"] });

const modules = join(npm, "node_modules");
const entry = entryOf(modules, PACKAGE);
const packageModules = { [PACKAGE]: { js: `export * from "/${entry}";\n` } };
for (const [name, source] of graphFrom(modules, entry)) packageModules[name] = { js: source };

const here = dirname(fileURLToPath(import.meta.url));
for (const file of PROJECT_FILES) copyFileSync(join(here, file), join(project, file));
writeFileSync(join(project, "packages.json"), JSON.stringify(packageModules));
console.log(project);
