// Runs a project on workerd over the same data directory that facetd uses, so that state can be
// carried from one to the other and back.
//
//   node tests/interop/workerd.mjs write --data DIR            GET /write of tests/interop/state, print the JSON, stop
//   node tests/interop/workerd.mjs read  --data DIR            GET /read, print the JSON, stop
//   node tests/interop/workerd.mjs serve --data DIR [--port N] keep serving; prints `listening on URL`, ends on SIGTERM
//
// `--kill` ends workerd with SIGKILL after its answer, which leaves the write-ahead logs as they are.
// `--project DIR` names another project than `state/` (any folder with a wrangler.jsonc: the examples
// run this way too); several, of which the first is asked, reach each other by service bindings. DIR is facetd's data directory: objects live in DIR/do/<worker>-<class>/.
// The binary comes from the environment variable WORKERD, else from npm into a temporary directory.
// Node 20 or newer, no packages. Exit code 0, 1 (it went wrong) or 2 (called wrongly).
import { execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const START_MS_MAX = 60_000;
const ANSWER_MS_MAX = 60_000;
const STOP_MS_MAX = 5_000;

/** Wrangler's default module types by file name; other files are not part of the worker. */
const MODULE_FIELDS = [
  [/\.m?js$/, "esModule"],
  [/\.cjs$/, "commonJsModule"],
  [/\.wasm$/, "wasm"],
  [/\.(txt|html|sql)$/, "text"],
  [/\.bin$/, "data"],
  [/\.json$/, "json"],
];
const NOT_MODULES = new Set(["example.json", "package.json", "package-lock.json", "prepare.mjs"]);

/** JSON with comments and trailing commas. */
function parseJsonc(text) {
  const bare = text.replace(/"(?:\\.|[^"\\])*"|\/\/[^\n]*|\/\*[\s\S]*?\*\//g, (part) => (part[0] === '"' ? part : ""));
  return JSON.parse(bare.replace(/"(?:\\.|[^"\\])*"|,(?=\s*[}\]])/g, (part) => (part[0] === '"' ? part : "")));
}

/** Paths below `folder`, in order, without hidden files and packages. */
function filesIn(folder, prefix = "") {
  return readdirSync(join(folder, prefix)).sort().flatMap((name) => {
    if (name.startsWith(".") || name === "node_modules") return [];
    const path = prefix + name;
    return statSync(join(folder, path)).isDirectory() ? filesIn(folder, `${path}/`) : [path];
  });
}

function modulesOf(project, main) {
  const modules = [];
  for (const name of filesIn(project)) {
    const field = MODULE_FIELDS.find(([pattern]) => pattern.test(name))?.[1];
    if (field && !NOT_MODULES.has(name)) modules.push({ name, field });
  }
  // workerd takes the first module as the entry.
  return modules.sort((a, b) => (b.name === main) - (a.name === main));
}

const capnpText = (text) => JSON.stringify(text).replace(/\\u([0-9a-f]{4})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));

/** One worker of the Cap'n Proto text, from the project in `folder`, whose modules lie below `prefix`. */
function workerOf(folder, prefix) {
  const spec = parseJsonc(readFileSync(join(folder, "wrangler.jsonc"), "utf8"));
  const objects = spec.durable_objects?.bindings ?? [];
  const stored = new Set([
    ...objects.map(({ class_name }) => class_name),
    ...(spec.migrations ?? []).flatMap(({ new_sqlite_classes = [] }) => new_sqlite_classes),
  ]);
  const bindings = [
    ...objects.map(({ name, class_name }) => `(name = ${capnpText(name)}, durableObjectNamespace = ${capnpText(class_name)})`),
    ...(spec.worker_loaders ?? []).map(({ binding }) => `(name = ${capnpText(binding)}, workerLoader = ())`),
    ...(spec.services ?? []).map(({ binding, service, entrypoint }) =>
      `(name = ${capnpText(binding)}, service = (name = ${capnpText(service)}${entrypoint ? `, entrypoint = ${capnpText(entrypoint)}` : ""}))`),
    ...Object.entries(spec.vars ?? {}).map(([name, value]) =>
      typeof value === "string" ? `(name = ${capnpText(name)}, text = ${capnpText(value)})` : `(name = ${capnpText(name)}, json = ${capnpText(JSON.stringify(value))})`),
  ];
  // facetd's uniqueKey, from which ids are derived and by which directories are named.
  const namespaces = [...stored].map((name) => `(className = ${capnpText(name)}, uniqueKey = ${capnpText(`${spec.name}-${name}`)}, enableSql = true)`);
  const modules = modulesOf(folder, spec.main).map(({ name, field }) => `(name = ${capnpText(name)}, ${field} = embed ${capnpText(`${prefix}/${name}`)})`);
  return [spec.name, `( name = ${capnpText(spec.name)}, worker = (
        modules = [
          ${modules.join(",\n          ")}
        ],
        compatibilityDate = ${capnpText(spec.compatibility_date)},
        compatibilityFlags = ${JSON.stringify(spec.compatibility_flags ?? [])},
        bindings = [ ${bindings.join(", ")} ],
        durableObjectNamespaces = [ ${namespaces.join(", ")} ],
        ${namespaces.length ? 'durableObjectStorage = (localDisk = "disk"),' : ""}
    ))`];
}

/** The Cap'n Proto text that makes workerd run `projects`, the first over HTTP, with their objects in `disk`. */
function configOf(projects, disk, port) {
  const workers = projects.map((folder, at) => workerOf(folder, `modules/${at}`));
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    ${workers.map(([, worker]) => worker).join(",\n    ")},
    ( name = "disk", disk = (path = ${capnpText(disk)}, writable = true) ),
  ],
  sockets = [ ( name = "http", address = "127.0.0.1:${port}", http = (), service = ${capnpText(workers[0][0])} ) ]
);
`;
}

/** The workerd binary: WORKERD, or the npm package installed into `temp`. */
function findWorkerd(temp) {
  if (process.env.WORKERD) return process.env.WORKERD;
  const folder = join(temp, "npm");
  mkdirSync(folder);
  writeFileSync(join(folder, "package.json"), "{}");
  execFileSync("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", "workerd"], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  const binary = readdirSync(join(folder, "node_modules/@cloudflare"))
    .map((name) => join(folder, "node_modules/@cloudflare", name, "bin/workerd"))
    .find((path) => existsSync(path));
  if (!binary) throw new Error("the npm package workerd has no binary for this machine");
  return binary;
}

/** Starts workerd; resolves with its port once it listens. */
async function start(temp, projects, data, port) {
  const disk = join(data, "do");
  mkdirSync(disk, { recursive: true });
  // A capnp file embeds only what lies below it.
  projects.forEach((project, at) => {
    cpSync(project, join(temp, "modules", String(at)), { recursive: true, filter: (path) => path === project || !/[/\\](node_modules|\.[^/\\]+)$/.test(path) });
  });
  const config = join(temp, "config.capnp");
  writeFileSync(config, configOf(projects, disk, port));
  const child = spawn(findWorkerd(temp), ["serve", config, "--experimental", "--verbose", "--control-fd=3"], {
    stdio: ["ignore", "inherit", "pipe", "pipe"],
  });
  let log = "";
  child.stderr.on("data", (chunk) => {
    log = (log + chunk).slice(-65_536);
    if (process.env.VERBOSE) process.stderr.write(chunk);
  });
  const ended = new Promise((done) => {
    child.on("exit", (code, signal) => done(code ?? signal));
    child.on("error", (error) => done(error.message));
  });
  const server = { child, ended, port: 0, log: () => log };
  const listening = new Promise((done) => {
    let control = "";
    child.stdio[3].on("data", (chunk) => {
      control += chunk;
      const found = /"port":\s*(\d+)/.exec(control);
      if (found) done((server.port = Number(found[1])));
    });
  });
  const late = AbortSignal.timeout(START_MS_MAX);
  const tooLate = new Promise((done) => late.addEventListener("abort", () => done("no answer in time")));
  await Promise.race([listening, ended.then((how) => Promise.reject(new Error(`workerd ended (${how}):\n${log}`))), tooLate]);
  if (!server.port) {
    await stop(server);
    throw new Error(`workerd did not listen within ${START_MS_MAX} ms:\n${log}`);
  }
  return server;
}

async function stop({ child, ended }, signal = "SIGTERM") {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
  await ended;
  clearTimeout(late);
}

function usage(problem) {
  console.error(`${problem}\nusage: node workerd.mjs write|read|serve --data DIR [--project DIR] [--port N] [--kill]`);
  process.exit(2);
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { data: { type: "string" }, project: { type: "string", multiple: true }, port: { type: "string", default: "0" }, kill: { type: "boolean" } },
});
const [command] = positionals;
if (!["write", "read", "serve"].includes(command)) usage(`unknown command ${command ?? "(none)"}`);
if (!options.data) usage("--data DIR is missing");
const projects = (options.project ?? [join(dirname(fileURLToPath(import.meta.url)), "state")]).map((folder) => resolve(folder));

const temp = mkdtempSync(join(tmpdir(), "facetd-interop-"));
let server;
try {
  server = await start(temp, projects, resolve(options.data), options.port);
  const url = `http://127.0.0.1:${server.port}`;
  if (command === "serve") {
    console.log(`listening on ${url}`);
    const asked = new Promise((done) => ["SIGTERM", "SIGINT"].forEach((signal) => process.on(signal, done)));
    await Promise.race([asked, server.ended]);
  } else {
    const response = await fetch(`${url}/${command}`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    const text = await response.text();
    if (!response.ok) throw new Error(`/${command} answered ${response.status}: ${text}\n${server.log()}`);
    console.log(JSON.stringify(JSON.parse(text), null, 1));
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  if (server) await stop(server, options.kill ? "SIGKILL" : "SIGTERM");
  rmSync(temp, { recursive: true, force: true });
}
