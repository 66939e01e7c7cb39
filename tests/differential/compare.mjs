// Sends the same random sequences of calls to facetd and to workerd and compares all answers.
//
//   node compare.mjs --ours URL --theirs URL [--of MODULE] [--seed N] [--count N] [--only NUMBER] [--most FAILURES]
//   node compare.mjs --ours URL --theirs URL [--of MODULE] --steps FILE    one sequence, as printed by a failed run
//
// MODULE makes the sequences and says how to make one simpler: generate.mjs (storage calls, for project/worker.js; the
// default) or values/generate.mjs (values along every kind of hop, for values/worker.js). Of each failing sequence the shortest that still fails is printed, with both
// answers. Exit code 0: all equal; 1: differences; 2: something else went wrong. Node 20 or newer, no packages.
import { readFileSync } from "node:fs";
import http from "node:http";
import { parseArgs } from "node:util";

const PER_REQUEST = 25;
const REQUESTS_AT_ONCE = 4;
const ANSWER_MS_MAX = 60_000;
const SHRINK_TRIES_MAX = 400;

const { values: options } = parseArgs({
  options: {
    of: { type: "string", default: "generate.mjs" },
    ours: { type: "string" },
    theirs: { type: "string" },
    seed: { type: "string", default: "1" },
    count: { type: "string", default: "1000" },
    only: { type: "string" },
    most: { type: "string", default: "3" },
    steps: { type: "string" },
  },
});
const { generate, simpler } = await import(new URL(options.of, import.meta.url));
const seed = Number(options.seed);
const count = Number(options.count);
const failuresMax = Number(options.most);

const agent = new http.Agent({ keepAlive: true });

function post(url, body) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: "POST", agent, headers: { "content-length": Buffer.byteLength(body) }, timeout: ANSWER_MS_MAX }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => {
        const text = Buffer.concat(parts).toString();
        if (response.statusCode !== 200) reject(new Error(`${url} answered ${response.statusCode}: ${text}`));
        else resolve(JSON.parse(text));
      });
      response.on("error", reject);
    });
    request.on("timeout", () => request.destroy(new Error(`${url}: no answer within ${ANSWER_MS_MAX} ms`)));
    request.on("error", reject);
    request.end(body);
  });
}

let tries = 0;
/** Both servers' answers to each sequence, which is run in a new object. */
async function ask(sequences) {
  const body = JSON.stringify(sequences.map((steps) => ({ name: `${seed} ${process.pid} ${tries++}`, steps })));
  const [ours, theirs] = await Promise.all([post(options.ours, body), post(options.theirs, body)]);
  return sequences.map((_, at) => [ours[at], theirs[at]]);
}

/** "internal error" is how workerd words a bug of its own; what facetd says instead is not compared. */
const isBug = (answer) => JSON.stringify(answer).includes("internal error; reference = ");
const same = ([ours, theirs]) => isBug(theirs) || JSON.stringify(ours) === JSON.stringify(theirs);

/** Where two answers differ. */
function* differences(ours, theirs, path = "") {
  if (JSON.stringify(ours) === JSON.stringify(theirs)) return;
  if (typeof ours !== "object" || typeof theirs !== "object" || !ours || !theirs || (Array.isArray(ours) && ours.length !== theirs.length)) {
    yield `${path || "."}\n    facetd   ${JSON.stringify(ours)}\n    workerd  ${JSON.stringify(theirs)}`;
    return;
  }
  const keys = new Set([...Object.keys(ours), ...Object.keys(theirs)]);
  let deeper = false;
  for (const key of keys) {
    for (const difference of differences(ours[key], theirs[key], `${path}.${key}`)) {
      deeper = true;
      yield difference;
    }
  }
  if (!deeper) yield `${path || "."} (order of the properties)\n    facetd   ${JSON.stringify(ours)}\n    workerd  ${JSON.stringify(theirs)}`;
}

/** The shortest sequence found that still differs. First halves and quarters, then step by step. */
async function shrink(steps) {
  let left = SHRINK_TRIES_MAX;
  for (let size = Math.floor(steps.length / 2); size > 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < steps.length && left > 0; ) {
      const without = [...steps.slice(0, at), ...steps.slice(at + size)];
      left--;
      if (without.length && !same((await ask([without]))[0])) steps = without;
      else at += size;
    }
  }
  for (let again = true; again && left > 0; ) {
    again = false;
    const candidates = [...simpler(steps)].filter((candidate) => candidate.length > 0);
    for (let at = 0; at < candidates.length && left > 0 && !again; at += PER_REQUEST) {
      const some = candidates.slice(at, at + PER_REQUEST);
      left -= some.length;
      const found = (await ask(some)).findIndex((answers) => !same(answers));
      if (found >= 0) {
        steps = some[found];
        again = true;
      }
    }
  }
  return steps;
}

function report(number, steps, [ours, theirs]) {
  const which = number === undefined ? "the sequence" : `sequence ${number} of seed ${seed}`;
  console.log(`\n${which} differs; shortest found, ${steps.length} steps:`);
  console.log(`  [${steps.map((step) => JSON.stringify(step)).join(",\n   ")}]`);
  for (const difference of differences(ours, theirs)) console.log(`  at ${difference}`);
}

async function main() {
  if (options.steps) {
    const steps = JSON.parse(readFileSync(options.steps, "utf8"));
    const [answers] = await ask([steps]);
    if (same(answers)) return console.log(JSON.stringify(answers[0], null, 1));
    report(undefined, steps, answers);
    process.exitCode = 1;
    return;
  }
  const numbers = options.only ? [Number(options.only)] : Array.from({ length: count }, (_, number) => number);
  console.log(`seed ${seed}, ${numbers.length} sequences`);
  const failed = [];
  let next = 0;
  let steps = 0;
  let bugs = 0;
  const worker = async () => {
    while (next < numbers.length && failed.length < failuresMax) {
      const some = numbers.slice(next, (next += PER_REQUEST));
      const sequences = some.map((number) => generate(seed, number));
      steps += sequences.flat().length;
      const answers = await ask(sequences).catch((error) => {
        throw new Error(`sequences ${some[0]} to ${some.at(-1)} of seed ${seed}: ${error.message}`);
      });
      answers.forEach((pair, at) => {
        if (isBug(pair[1])) bugs++;
        if (!same(pair)) failed.push(some[at]);
      });
    }
  };
  await Promise.all(Array.from({ length: REQUESTS_AT_ONCE }, worker));
  for (const number of failed.slice(0, failuresMax)) {
    const shortest = await shrink(generate(seed, number));
    report(number, shortest, (await ask([shortest]))[0]);
  }
  console.log(`\n${Math.min(next, numbers.length)} sequences of ${steps} steps compared, ${failed.length} differ; not compared: ${bugs} that workerd answered with an internal error`);
  // Or little would be compared, and nobody would notice.
  if (failed.length || bugs > numbers.length / 20) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  console.error(error.stack);
  process.exitCode = 2;
} finally {
  agent.destroy();
}
