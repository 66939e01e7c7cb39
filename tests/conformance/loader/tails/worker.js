// Tails of loaded workers: what a trace item says of each kind of event, of the console and of what was thrown.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, show, wait } from "./probe.js";

let tailed = [];
let calls = [];
export class Tail extends WorkerEntrypoint {
  tail(events, ...more) {
    tailed.push(...events);
    calls.push([Array.isArray(events), events.length, ...more.map(show)]);
  }
}
export class Failing extends WorkerEntrypoint { tail() { throw new Error("a tail fails"); } }
export class Pending extends WorkerEntrypoint { tail() { return new Promise(() => {}); } }
export class Without extends WorkerEntrypoint {}
export class Runner extends DurableObject {
  tail(events, ...more) { tailed.push(...events); calls.push(["object", this.ctx.id.name, ...more.map(show)]); }
  async facet(code, method) {
    const facet = this.ctx.facets.get(crypto.randomUUID(), () => ({ class: this.env.LOADER.load({ ...code, tails: [this.ctx.exports.Tail] }).getDurableObjectClass("Obj"), id: "facet" }));
    return caught(() => facet[method](1));
  }
}

const MAIN = `
  import { WorkerEntrypoint, DurableObject, RpcTarget } from "cloudflare:workers";
  const LOGS = {
    plain: () => console.log("a", 1, null, undefined, true, -0, NaN, 1.5),
    objects: () => console.log({ x: 1, y: [1, { z: undefined, f() {} }] }, [1, "b", undefined], Object.create(null)),
    others: () => console.log(10n, Symbol("s"), new Map([[1, 2]]), new Date(0), new Uint8Array([1, 2]), /r/, new (class Own { a = 1; })(), new Set()),
    functions: () => console.log((x) => x, class A {}),
    toJSON: () => console.log({ toJSON() { return "J"; } }, { toJSON() { return undefined; } }, { toJSON() { throw 1; } }),
    hostile: () => { const me = {}; me.me = me; console.log(me, { get x() { throw new Error("no"); } }, new Proxy({}, { getPrototypeOf() { throw 1; } }), { toString() { throw 1; } }); },
    errors: () => { const e = new TypeError("t"); e.stack = undefined; console.log("e", e); },
    none: () => console.log(),
    format: () => console.log("%s x", "fmt"),
    levels: () => { for (const level of ["debug", "info", "log", "warn", "error"]) console[level](level); },
    others2: () => { console.trace("t"); console.dir({}); console.table([[1]]); console.group("g"); console.groupEnd(); console.assert(false, "a"); console.count("c"); console.time("t"); },
    unicode: () => console.log("é😀"),
  };
  export default {
    async fetch(request, env, ctx) {
      const { pathname } = new URL(request.url);
      if (pathname === "/throw") throw new RangeError("thrown");
      if (pathname === "/throwText") throw "text";
      if (pathname === "/throwObject") throw { a: 1 };
      if (pathname === "/throwUndefined") throw undefined;
      if (pathname === "/throwUnnamed") throw Object.assign(new Error("m"), { name: "Own" });
      if (pathname === "/nothing") return undefined;
      if (pathname === "/rejects") Promise.reject(new Error("nobody sees it"));
      if (pathname === "/later") { console.log("now"); ctx.waitUntil((async () => { await scheduler.wait(5); console.log("later"); throw new Error("in waitUntil"); })()); }
      if (pathname === "/abort") ctx.abort(new Error("aborted"));
      return new Response("r", { status: 201 });
    },
    log(name) { LOGS[name](); },
  };
  export class Ep extends WorkerEntrypoint {
    ok() { console.warn("ep"); return 1; }
    fails() { throw new TypeError("ep fails"); }
    get property() { return 5; }
    nested() { return { a: { b() { console.log("in b"); return 7; } } }; }
    target() { return new (class extends RpcTarget { hit() { console.log("in target"); return 1; } })(); }
    calls(f) { return f(3); }
    fetch() { return new Response("ep"); }
  }
  export class Obj extends DurableObject {
    ok(x) { console.log("object", x); return x; }
    fails() { throw new Error("object fails"); }
  }
  export const handlers = { m(x) { return x; } };
`;
const code = (more = {}) => ({ compatibilityDate: "2026-09-01", mainModule: "main.js", modules: { "main.js": MAIN }, ...more });
const settled = async (enough) => {
  for (let i = 0; i < 400 && !enough(); i++) await wait(5);
};
/** Without what varies: times, stacks. */
const said = (item) => ({
  ...Object.fromEntries(Object.entries(item).map(([key, value]) => [key, show(value)])),
  wallTime: typeof item.wallTime, cpuTime: typeof item.cpuTime, eventTimestamp: typeof item.eventTimestamp,
  logs: item.logs.map((l) => [l.level, l.message, typeof l.timestamp]),
  exceptions: item.exceptions.map((e) => [e.name, e.message, typeof e.timestamp]),
  event: [item.event?.constructor.name, show(JSON.parse(JSON.stringify(item.event)))],
});
const traced = async ({ env, ctx }, run, more = {}) => {
  tailed = [];
  const result = await caught(() => run(env.LOADER.load(code({ tails: [ctx.exports.Tail], ...more }))));
  await settled(() => tailed.length > 0);
  return [result, tailed.map(said)];
};
/** An event is over when its response has been read. */
const ask = async (w, path, init) => { const response = await w.getEntrypoint().fetch(`http://h${path}`, init); return [response.status, await response.text()]; };
const fetched = (path, init) => (context) => traced(context, (w) => ask(w, path, init));
const logged = (name) => async (context) => (await traced(context, (w) => w.getEntrypoint().log(name)))[1][0].logs;
const called = (entrypoint, run) => (context) => traced(context, (w) => run(w.getEntrypoint(entrypoint)));
const one = async (context, path) => {
  await traced(context, (w) => ask(w, path, { headers: { authorization: "secret", "x-api-key": "k", "x-a": "b" }, cf: { country: "XX" } }));
  return tailed[0];
};
const shape = (value) => [value.constructor.name, value[Symbol.toStringTag], Object.keys(value), Object.prototype.toString.call(value)];

const probes = {
  fetch: fetched("/p?q=1"),
  post: fetched("/p", { method: "POST", body: "b", headers: { "x-a": "1", authorization: "a", cookie: "c", "x-token": "t" } }),
  redacted: fetched("/0123456789abcdef0123456789abcdef/0123456789abcdef/aB1cD2eF3gH4iJ5kL6mN7/abcdefghijklmnopqrstuvwxyz/01234567-89ab-cdef-0123-456789abcdef"),
  throws: fetched("/throw"), throwsText: fetched("/throwText"), throwsObject: fetched("/throwObject"), throwsUndefined: fetched("/throwUndefined"), throwsUnnamed: fetched("/throwUnnamed"),
  nothing: fetched("/nothing"), rejects: fetched("/rejects"), later: fetched("/later"), abort: fetched("/abort"),
  epOk: called("Ep", (s) => s.ok()), epFails: called("Ep", (s) => s.fails()), epProperty: called("Ep", (s) => s.property), epMissing: called("Ep", (s) => s.missing()),
  epNested: called("Ep", async (s) => { using result = s.nested(); return await result.a.b(); }), epFetch: called("Ep", async (s) => (await s.fetch("http://h/")).text()),
  epCallback: called("Ep", (s) => s.calls((x) => x + 1)), handlers: called("handlers", (s) => s.m("x")),
  ...Object.fromEntries(["plain", "objects", "others", "functions", "toJSON", "hostile", "errors", "none", "format", "levels", "others2", "unicode"].map((name) => [`log ${name}`, logged(name)])),
  facet: async ({ env }) => { tailed = []; const r = await env.RUNNER.getByName("r").facet(code(), "ok"); await settled(() => tailed.length > 0); return [r, tailed.map(said)]; },
  facetFails: async ({ env }) => { tailed = []; const r = await env.RUNNER.getByName("r").facet(code(), "fails"); await settled(() => tailed.length > 0); return [r, tailed.map(said)]; },
  shapes: async (context) => {
    const item = await one(context, "/later");
    const { request, response } = item.event;
    return [shape(item), shape(item.event), shape(request), shape(response), shape(item.logs[0]), shape(item.exceptions[0]), Object.getOwnPropertyNames(Object.getPrototypeOf(request)).sort(), shape(request.getUnredacted()), Array.isArray(item.logs), Array.isArray(item.exceptions), Object.getOwnPropertyDescriptor(item, "outcome")];
  },
  unredacted: async (context) => { const { request } = (await one(context, "/p")).event; return [request.headers, request.getUnredacted().headers, request.cf, request.getUnredacted().url]; },
  stack: async (context) => (await one(context, "/throw")).exceptions.map((e) => [typeof e.stack, e.stack.startsWith("    at Object.fetch (main.js:")]),
  errorInfo: async (context) => { await traced(context, (w) => w.getEntrypoint().log("errors")); return tailed[0].logs.map((l) => [l.errorInfo.length, l.errorInfo[0], l.errorInfo[1].name, l.errorInfo[1].message, l.message]); },
  several: async (context) => {
    const { Tail, Failing, Pending, Without } = context.ctx.exports;
    const [result] = await traced(context, async (w) => [await ask(w, "/"), await w.getEntrypoint("Ep").ok()], { tails: [Failing, Pending, Without, Tail] });
    await settled(() => tailed.length >= 2);
    return [result, tailed.map((item) => item.outcome)];
  },
  handlerArguments: async (context) => { calls = []; await traced(context, (w) => w.getEntrypoint("Ep").ok()); return calls; },
  objectTail: async (context) => { calls = []; const [r] = await traced(context, (w) => w.getEntrypoint("Ep").ok(), { tails: [context.env.RUNNER.getByName("t")] }); return [r, calls]; },
  callbackTail: ({ env, ctx }) => caught(() => env.LOADER.load(code({ tails: [ctx.exports.Tail, () => {}] })).getEntrypoint("Ep").ok()),
  noTails: (context) => traced(context, (w) => w.getEntrypoint("Ep").ok(), { tails: [context.ctx.exports.Tail] }).then(([r]) => r),
  dynamicTail: ({ env, ctx }) => caught(() => env.LOADER.load(code({ tails: [env.LOADER.load(code()).getEntrypoint()] })).getEntrypoint("Ep").ok()),
};
export default { fetch: (request, env, ctx) => answer(probes, { env, ctx }) };
