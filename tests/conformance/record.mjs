// Records what workerd answers to the conformance cases, or checks that it still answers so.
//
//   WORKERD=<binary> node tests/conformance/record.mjs [--update] [FILTER...]
//
// FILTER is part of a case's name (`facets/`, `loader/env`). Without `--update` every case whose
// source is "workerd" is compared and differences are listed; with it their `expect` blocks are
// rewritten. `ours` blocks (per-probe decisions of facetd that differ from workerd) are never touched.
// Node 20 or newer, no packages. Set `OURS=1` to see how workerd answers where an `ours` block differs.
import { spawn } from "node:child_process";
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const update = process.argv.includes("--update");
const filters = process.argv.slice(2).filter((arg) => !arg.startsWith("--"));
const workerd = process.env.WORKERD;
if (!workerd) {
  console.error("Set WORKERD to a workerd binary (npm i workerd; node_modules/workerd/bin/workerd).");
  process.exit(2);
}
const DEFAULT_DATE = "2026-09-01";
const ANSWER_MS_MAX = 60_000;

/** JSON with comments and trailing commas, as in the project's own configuration files. */
function parseJsonc(text) {
  const bare = text.replace(/"(?:\\.|[^"\\])*"|\/\/[^\n]*|\/\*[\s\S]*?\*\//g, (m) => (m[0] === '"' ? m : ""));
  return JSON.parse(bare.replace(/"(?:\\.|[^"\\])*"|,(?=\s*[}\]])/g, (m) => (m[0] === '"' ? m : "")));
}

function findCases(folder = here, found = []) {
  if (existsSync(join(folder, "case.jsonc"))) found.push(relative(here, folder));
  else for (const name of readdirSync(folder).sort()) {
    if (statSync(join(folder, name)).isDirectory()) findCases(join(folder, name), found);
  }
  return found;
}

function filesIn(folder, prefix = "") {
  return readdirSync(join(folder, prefix)).sort().flatMap((name) => {
    const path = prefix + name;
    if (statSync(join(folder, path)).isDirectory()) return filesIn(folder, path + "/");
    return ["case.jsonc", "wrangler.jsonc"].includes(path) ? [] : [path];
  });
}

const capnpString = (text) => JSON.stringify(text).replace(/\\u([0-9a-f]{4})/g, (_, code) => "\\x" + code.slice(2));

const FIELDS = { ESModule: "esModule", CommonJS: "commonJsModule", CompiledWasm: "wasm", Text: "text", Data: "data", JSON: "json" };
const DEFAULT_RULES = [
  { type: "ESModule", globs: ["**/*.js", "**/*.mjs"] },
  { type: "CommonJS", globs: ["**/*.cjs"] },
  { type: "CompiledWasm", globs: ["**/*.wasm"] },
  { type: "Text", globs: ["**/*.txt", "**/*.html", "**/*.sql"] },
  { type: "Data", globs: ["**/*.bin"] },
  { type: "JSON", globs: ["**/*.json"] },
];

function matches(glob, path) {
  const pattern = glob.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*\*\/|\*\*|\*/g, (m) => (m === "*" ? "[^/]*" : m === "**" ? ".*" : "(?:.*/)?"));
  return new RegExp(`^${pattern}$`).test(path);
}

/** The module type Wrangler's rules give a file: the case's own rules first, then the defaults they do not replace. */
function typeOf(path, rules = []) {
  const replaced = new Set(rules.filter((rule) => !rule.fallthrough).map((rule) => rule.type));
  const all = [...rules, ...DEFAULT_RULES.filter((rule) => !replaced.has(rule.type))];
  return all.find((rule) => rule.globs.some((glob) => matches(glob, path)))?.type;
}

function configOf(folder, spec) {
  const { objects = {}, loaders = [], vars = {}, classes = {}, services = {} } = spec.bindings ?? {};
  const modules = filesIn(folder)
    .map((name) => ({ name, type: typeOf(name, spec.rules) }))
    .filter(({ type }) => type);
  modules.sort((a, b) => (b.name === "worker.js") - (a.name === "worker.js"));
  modules.push({ name: "probe.js", type: "ESModule" });
  const propsOf = ({ props }) => (props ? `, props = (json = ${capnpString(JSON.stringify(props))})` : "");
  const bindings = [
    ...Object.entries(objects).map(([name, cls]) => `(name = "${name}", durableObjectNamespace = "${cls}")`),
    ...loaders.map((name) => `(name = "${name}", workerLoader = ())`),
    ...Object.entries(vars).map(([name, value]) =>
      `(name = "${name}", ${typeof value === "string" ? "text" : "json"} = ${capnpString(typeof value === "string" ? value : JSON.stringify(value))})`),
    ...Object.entries(classes).map(([name, cls]) => `(name = "${name}", durableObjectClass = (name = "main", entrypoint = "${cls.class}"${propsOf(cls)}))`),
    ...Object.entries(services).map(([name, to]) => `(name = "${name}", service = (name = "main"${to.entrypoint ? `, entrypoint = "${to.entrypoint}"` : ""}${propsOf(to)}))`),
  ];
  const namespaces = [...new Set(Object.values(objects))].map((cls) => `(className = "${cls}", uniqueKey = "conf-${cls}", enableSql = true)`);
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
        modules = [ ${modules.map(({ name, type }) => `(name = "${name}", ${FIELDS[type]} = embed "modules/${name}")`).join(",\n          ")} ],
        compatibilityDate = "${spec.compatibilityDate ?? DEFAULT_DATE}",
        compatibilityFlags = ${JSON.stringify(spec.compatibilityFlags ?? [])},
        bindings = [ ${bindings.join(",\n          ")} ],
        durableObjectNamespaces = [ ${namespaces.join(", ")} ],
        ${namespaces.length ? 'durableObjectStorage = (localDisk = "disk"),' : ""}
    )),
    ( name = "disk", disk = (path = "data", writable = true) ),
  ],
  sockets = [ ( name = "http", address = "127.0.0.1:0", http = (), service = "main" ) ]
);`;
}

/** Starts workerd and resolves once it listens, or with the reason why it never did. */
function start(folder) {
  return new Promise((resolve, reject) => {
    const child = spawn(workerd, ["serve", "config.capnp", "--experimental", "--control-fd=3"], {
      cwd: folder,
      stdio: ["ignore", "ignore", "pipe", "pipe"],
    });
    let stderr = "";
    child.stderr.on("data", (chunk) => (stderr += chunk));
    let control = "";
    child.stdio[3].on("data", (chunk) => {
      control += chunk;
      const port = /"port":\s*(\d+)/.exec(control)?.[1];
      if (port) resolve({ port: Number(port), child, log: () => stderr });
    });
    const ended = new Promise((done) => child.on("exit", done));
    child.ended = ended;
    ended.then((code) => reject(new Error(`workerd ended with ${code}:\n${stderr}`)));
  });
}

async function stop(server, signal) {
  server.child.kill(signal);
  const late = setTimeout(() => server.child.kill("SIGKILL"), 1500);
  await server.child.ended;
  clearTimeout(late);
}

function ask(port, { method = "GET", path = "/", headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: "127.0.0.1", port, method, path, headers, agent: false, timeout: ANSWER_MS_MAX }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString() }));
    });
    request.on("timeout", () => request.destroy(new Error("no answer in time")));
    request.on("error", reject);
    request.end(body);
  });
}

/** What the step's answer is, in the form of an `expect` block (`before` says which headers matter). */
function expectOf(answer, before = {}) {
  const expect = { status: answer.status };
  if (before.headers) {
    expect.headers = Object.fromEntries(Object.keys(before.headers).map((name) => [name, answer.headers[name] ?? null]));
  }
  if (answer.headers["content-type"]?.startsWith("application/json") && !("text" in before)) expect.json = JSON.parse(answer.text);
  else expect.text = answer.text;
  return expect;
}

/** One probe per line: a recorded change is a readable diff. */
function format(value, indent = "", depth = 0, path = "") {
  const compact = JSON.stringify(value);
  if (value === null || typeof value !== "object") return compact;
  const spread = path === "" || /^\.(steps|bindings)$/.test(path) || /^\.steps\.\d+(\.(expect|ours|expect\.json))?$/.test(path);
  if (!spread || (compact.length < 90 && path !== "" && !path.endsWith("json"))) return compact;
  const inner = indent + "  ";
  const parts = Array.isArray(value)
    ? value.map((item, at) => inner + format(item, inner, depth + 1, `${path}.${at}`))
    : Object.entries(value).map(([key, item]) => `${inner}${JSON.stringify(key)}: ${format(item, inner, depth + 1, `${path}.${key}`)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return parts.length ? `${open}\n${parts.join(",\n")}\n${indent}${close}` : open + close;
}

const same = (a, b) => stable(a) === stable(b);
const stable = (value) => JSON.stringify(value, (_, v) => (v && typeof v === "object" && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1))) : v));

function differences(wanted, got) {
  if (same(wanted, got)) return [];
  if (!wanted?.json || !got.json || Array.isArray(got.json)) return [`wanted ${JSON.stringify(wanted)}\n      got    ${JSON.stringify(got)}`];
  const names = new Set([...Object.keys(wanted.json), ...Object.keys(got.json)]);
  return [...names].filter((name) => !same(wanted.json[name], got.json[name]))
    .map((name) => `${name}\n      wanted ${JSON.stringify(wanted.json[name])}\n      got    ${JSON.stringify(got.json[name])}`);
}

let probes = 0;
async function record(name) {
  const folder = join(here, name);
  const file = join(folder, "case.jsonc");
  const spec = parseJsonc(readFileSync(file, "utf8"));
  if (!String(spec.source).startsWith("workerd")) return { name, skipped: true };
  const temp = mkdtempSync(join(tmpdir(), "conformance-"));
  const problems = [];
  let server;
  try {
    mkdirSync(join(temp, "data"));
    cpSync(folder, join(temp, "modules"), { recursive: true });
    copyFileSync(join(here, "probe.js"), join(temp, "modules", "probe.js"));
    writeFileSync(join(temp, "config.capnp"), configOf(folder, spec));
    server = await start(temp);
    for (const [at, step] of spec.steps.entries()) {
      if (step.restart || step.kill) {
        await stop(server, step.kill ? "SIGKILL" : "SIGTERM");
        server = await start(temp);
        continue;
      }
      const expect = expectOf(await ask(server.port, step.request), step.expect);
      probes += expect.json && !Array.isArray(expect.json) ? Object.keys(expect.json).length : 1;
      if (process.env.OURS && step.ours) {
        for (const [probe, ours] of Object.entries(step.ours)) console.log(`${name}#${probe}\n      workerd ${JSON.stringify(expect.json?.[probe])}\n      ours    ${JSON.stringify(ours)}`);
      }
      for (const probe of Object.keys(step.ours ?? {})) {
        if (expect.json && !(probe in expect.json)) problems.push(`step ${at}: "ours" names ${probe}, which is no probe`);
      }
      const { request, ours, ...rest } = step;
      if (update) spec.steps[at] = { ...(request && { request }), ...rest, expect, ...(ours && { ours }) };
      else problems.push(...differences(step.expect, expect).map((text) => `step ${at}: ${text}`));
    }
    if (update) writeFileSync(file, format(spec) + "\n");
  } catch (error) {
    problems.push(`${error.stack}\n${server?.log() ?? ""}`);
  } finally {
    if (server) await stop(server, "SIGKILL");
    rmSync(temp, { recursive: true, force: true });
  }
  return { name, problems };
}

const queue = findCases().filter((name) => !filters.length || filters.some((part) => name.includes(part)));
let failed = 0;
const all = queue.length;
await Promise.all([1, 2].map(async () => {
  for (let name; (name = queue.shift()); ) {
    const began = Date.now();
    const { skipped, problems } = await record(name);
    console.log(`${skipped ? "skip" : problems.length ? "FAIL" : "ok  "} ${name}${skipped ? "" : ` (${Date.now() - began} ms)`}`);
    for (const problem of problems ?? []) console.log(`    ${problem}`);
    if (problems?.length) failed += 1;
  }
}));
console.log(`${all} cases, ${probes} probes, ${failed} failed`);
process.exit(failed ? 1 : 0);
