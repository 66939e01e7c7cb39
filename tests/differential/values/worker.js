// Sends values along every kind of hop and answers with what arrived. A step is {hop, way, value}: see HOPS and WAYS;
// values are made and told by values.js.
import { DurableObject } from "cloudflare:workers";
import { make, outcome, tell } from "./values.js";
import RECEIVER from "./receiver.js.txt";
import VALUES from "./values.js.txt";

export { Entry, Nest, Obj } from "./receiver.js";

/** Whom a step calls: `env`, `ctx` of the caller. Facets can only be called by their parent, an object. */
const HOPS = {
  self: (env, ctx) => ctx.exports.Entry,
  service: (env) => env.OTHER,
  object: (env) => env.OBJ.getByName("callee"),
  loaded: (env) => loaded(env).getEntrypoint("Entry"),
  facet: (env, ctx) => ctx.facets.get("facet", () => ({ class: ctx.exports.Obj })),
  loadedFacet: (env, ctx) => ctx.facets.get("loaded", () => ({ class: loaded(env).getDurableObjectClass("Obj") })),
  nested: (env, ctx) => ctx.facets.get("nested", () => ({ class: loaded(env).getDurableObjectClass("Nest") })),
};
const IN_OBJECT = new Set(["facet", "loadedFacet", "nested"]);

const loaded = (env) =>
  env.LOADER.get("receiver", () => ({
    compatibilityDate: "2026-09-01",
    mainModule: "receiver.js",
    modules: { "receiver.js": RECEIVER, "values.js": VALUES },
    globalOutbound: null,
  }));

/** How a value crosses. `to`: the stub that is called; `planted`: give one wrong answer on purpose. */
const WAYS = {
  argument: (to, spec) => to.take(make(spec)),
  result: (to, spec) => outcome(() => to.give(spec)),
  thrown: (to, spec) => outcome(() => to.toss(spec)),
  thrownLater: (to, spec) => outcome(() => to.tossLater(spec)),
  inThrown: (to, spec) => outcome(() => to.tossInside(spec)),
  asCause: (to, spec) => outcome(() => to.tossCause(spec)),
  property: (to, spec) => outcome(async () => (await to.hold(spec)).value),
  pipelined: (to, spec) => outcome(() => to.hold(spec).value),
  inErrorArgument: (to, spec) => to.take(Object.assign(new Error("carries"), { inside: make(spec) })),
  thereAndBack: (to, spec) => outcome(() => to.back(make(spec))),
  toCallback: async (to, spec) => {
    let heard;
    await to.call(async (value) => {
      heard = await tell(value);
    }, spec);
    return heard;
  },
  fromCallback: (to, spec) => to.receive(() => make(spec)),
  thrownByCallback: (to, spec) =>
    to.hear(() => {
      throw make(spec);
    }),
  twoArguments: (to, spec) => {
    const value = make(spec);
    return to.take([value, value, { value }]);
  },
};

async function run(steps, env, ctx) {
  const answers = [];
  for (const { hop, way, value } of steps) {
    let answer;
    try {
      answer = String(await WAYS[way](HOPS[hop](env, ctx), value));
    } catch (error) {
      answer = `failed: ${await outcome(() => Promise.reject(error))}`;
    }
    if (env.PLANTED && answer.includes(env.PLANTED)) answer += " (planted)";
    answers.push(answer);
  }
  return answers;
}

export class Caller extends DurableObject {
  run(steps) {
    return run(steps, this.env, this.ctx);
  }
}

export default {
  async fetch(request, env, ctx) {
    const answers = [];
    for (const { steps } of await request.json()) {
      const inObject = steps.some(({ hop }) => IN_OBJECT.has(hop));
      answers.push({ answers: inObject ? await env.CALLER.getByName("caller").run(steps) : await run(steps, env, ctx) });
    }
    return Response.json(answers);
  },
};
