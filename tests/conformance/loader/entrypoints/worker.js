// Entrypoints of loaded workers: kinds, fetch, RPC, failures, outbound calls, tails.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, show, wait } from "./probe.js";

export class Obj extends DurableObject { async fetch(request) { return new Response(`object saw ${request.method} ${request.url}`); } }
export class Outbound extends WorkerEntrypoint { async fetch(request) { return new Response(`${JSON.stringify(this.ctx.props)} saw ${request.method} ${request.url} ${await request.text()}`); } }
const tailed = [];
export class Tail extends WorkerEntrypoint { tail(events) { tailed.push(...events); } }
export class FailingTail extends WorkerEntrypoint { tail() { throw new Error("tail"); } }
const MAIN = `
  import { WorkerEntrypoint, DurableObject } from "cloudflare:workers";
  export default {
    async fetch(request, env, ctx) {
      const url = new URL(request.url);
      if (url.pathname === "/throw") throw new RangeError("in loaded");
      if (url.pathname === "/nothing") return undefined;
      if (url.pathname === "/out") return fetch("http://example.invalid/p", { method: "POST", body: "b" });
      if (url.pathname === "/data") return fetch("data:text/plain,local");
      if (url.pathname === "/stream") return new Response(request.body);
      if (url.pathname === "/hang") return new Promise(() => {});
      return Response.json([request.method, request.url, [...request.headers], await request.text(), Object.keys(env), ctx.props, arguments.length]);
    },
    echo(x, env, ctx) { return ["echo", x, ctx.props]; },
    outbound(x) { return fetch("http://example.invalid/q").then((r) => r.text()); },
    logs(x) { console.log("logged", x, { a: 1 }); console.warn("warned"); return "logged"; },
    fails(x) { throw new RangeError("tailed failure"); },
    notAFunction: 5,
  };
  export class Cls extends WorkerEntrypoint { two(a, b) { return [a, b, this.ctx.props]; } fails() { throw new TypeError("cls"); } outbound() { return fetch("http://example.invalid/q").then((r) => r.text()); } self() { return this.ctx.exports.Cls({ props: { p: 2 } }).two(1, 2); } kinds() { return Object.fromEntries(Object.entries(this.ctx.exports).map(([k, v]) => [k, v.constructor.name])); } }
  export class App extends DurableObject {}
  export class Plain {}
  export const noFetch = { a(x) { return x; } };
`;
const code = (more = {}, text = MAIN) => ({ compatibilityDate: "2026-09-01", mainModule: "main.js", modules: { "main.js": text }, ...more });
const tailsOf = async (env, ctx, method) => {
  tailed.length = 0;
  const r = await caught(() => env.LOADER.load(code({ tails: [ctx.exports.Tail, ctx.exports.FailingTail] })).getEntrypoint()[method](1));
  for (let i = 0; i < 200 && !tailed.length; i++) await wait(5);
  const t = tailed[0];
  return [r, tailed.length, t && [show(t.scriptName), t.outcome, t.event?.rpcMethod, t.logs.map((l) => [l.level, l.message, typeof l.timestamp]), t.exceptions.map((e) => [e.name, e.message]), t.executionModel, t.truncated, typeof t.wallTime, typeof t.cpuTime, typeof t.eventTimestamp]];
};
const probes = {
  fetch: async ({ w }) => (await w.getEntrypoint().fetch("http://h/p?q", { headers: { "x-a": "1" } })).json(),
  post: async ({ w }) => (await w.getEntrypoint().fetch("http://h/p", { method: "POST", body: "body" })).json(),
  stream: async ({ w }) => (await w.getEntrypoint().fetch("http://h/stream", { method: "POST", body: new Response("streamed").body })).text(),
  relative: ({ w }) => caught(() => w.getEntrypoint().fetch("/y")),
  throws: ({ w }) => caught(() => w.getEntrypoint().fetch("http://h/throw")),
  nothing: ({ w }) => caught(() => w.getEntrypoint().fetch("http://h/nothing")),
  hang: ({ w }) => caught(() => w.getEntrypoint().fetch("http://h/hang")),
  noFetchHandler: ({ w }) => caught(() => w.getEntrypoint("noFetch").fetch("http://h/")),
  noFetchRpc: ({ w }) => w.getEntrypoint("noFetch").a(1),
  rpc: ({ w }) => w.getEntrypoint().echo("x"),
  rpcTwoArguments: ({ w }) => caught(() => w.getEntrypoint().echo("x", "y")),
  rpcMissing: ({ w }) => caught(() => w.getEntrypoint().nope("x")),
  rpcValue: ({ w }) => w.getEntrypoint().notAFunction,
  classTwo: ({ w }) => w.getEntrypoint("Cls").two(1, 2),
  classProps: ({ w }) => w.getEntrypoint("Cls", { props: { p: 1 } }).two(1, 2),
  classFails: ({ w }) => caught(() => w.getEntrypoint("Cls").fails()),
  selfCall: ({ w }) => w.getEntrypoint("Cls").self(),
  exportKinds: ({ w }) => w.getEntrypoint("Cls").kinds(),
  missing: ({ w }) => caught(() => w.getEntrypoint("nah").echo(1)),
  missingFetch: ({ w }) => caught(() => w.getEntrypoint("nah").fetch("http://h/")),
  durableObjectAsEntrypoint: ({ w }) => caught(() => w.getEntrypoint("App").echo(1)),
  noDefault: ({ env }) => caught(() => env.LOADER.load(code({}, "export const other = { a(x) { return x; } };")).getEntrypoint().a(1)),
  emptyName: ({ w }) => caught(() => w.getEntrypoint("").echo(1)),
  numberName: ({ w }) => caught(() => w.getEntrypoint(5).echo(1)),
  plainClass: ({ w }) => caught(() => w.getEntrypoint("Plain").echo(1)),
  emptyWorker: ({ env }) => caught(() => env.LOADER.load(code({}, "")).getEntrypoint().echo(1)),
  functionExport: ({ env }) => caught(() => env.LOADER.load(code({}, "export default function () {}")).getEntrypoint().echo(1)),

  outboundNull: ({ env }) => caught(() => env.LOADER.load(code({ globalOutbound: null })).getEntrypoint("Cls").outbound()),
  outboundNullFetch: ({ env }) => caught(() => env.LOADER.load(code({ globalOutbound: null })).getEntrypoint().fetch("http://h/out")),
  outboundNullData: async ({ env }) => (await env.LOADER.load(code({ globalOutbound: null })).getEntrypoint().fetch("http://h/data")).text(),
  outboundStub: async ({ env, ctx }) => (await env.LOADER.load(code({ globalOutbound: ctx.exports.Outbound({ props: { who: "out" } }) })).getEntrypoint().fetch("http://h/out")).text(),
  outboundBare: async ({ env, ctx }) => env.LOADER.load(code({ globalOutbound: ctx.exports.Outbound })).getEntrypoint("Cls").outbound(),
  outboundObjectStub: ({ env }) => env.LOADER.load(code({ globalOutbound: env.OBJ.getByName("out") })).getEntrypoint("Cls").outbound(),
  outboundDynamic: ({ env, w }) => caught(() => env.LOADER.load(code({ globalOutbound: w.getEntrypoint() })).getEntrypoint("Cls").outbound()),
  outboundInGet: ({ env }) => caught(() => env.LOADER.get("outbound", () => code({ globalOutbound: null })).getEntrypoint("Cls").outbound()),
  outboundErrorPassed: ({ env, w, ctx }) => caught(() => env.LOADER.load(code({ globalOutbound: ctx.exports.Tail })).getEntrypoint("Cls").outbound()),

  tailOfRpc: ({ env, ctx }) => tailsOf(env, ctx, "logs"),
  tailOfFailure: ({ env, ctx }) => tailsOf(env, ctx, "fails"),
};
export default { fetch: (request, env, ctx) => answer(probes, { env, ctx, w: env.LOADER.load(code()) }) };
