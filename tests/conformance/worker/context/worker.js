// `ctx`: props, exports, waitUntil and the rest.
import { DurableObject, WorkerEntrypoint, exports as importedExports, waitUntil } from "cloudflare:workers";
import { answer, caught, thrown, wait } from "./probe.js";

let background = [];
export class Other extends WorkerEntrypoint {
  greet(name) { return `hello ${name}, ${JSON.stringify(this.ctx.props)}`; }
}
export class NoNamespace extends DurableObject {}
export const handlers = { fetch: () => new Response("handlers"), rpc: (x) => x };
export function plainFunction() {}

const probes = {
  props: (ctx) => ctx.props,
  exportKeys: (ctx) => Object.keys(ctx.exports).sort(),
  exportKinds: (ctx) => Object.fromEntries(Object.keys(ctx.exports).sort().map((k) => [k, [typeof ctx.exports[k], ctx.exports[k].constructor.name]])),
  importedExportsKeys: () => Object.keys(importedExports).sort(),
  members: (ctx) => ["waitUntil", "passThroughOnException", "abort", "props", "exports", "cache", "tracing", "nothing"].map((k) => [k, typeof ctx[k]]),
  tag: (ctx) => [Object.prototype.toString.call(ctx), ctx.constructor.name],
  waitUntilReturns: (ctx) => ctx.waitUntil(Promise.resolve(1)),
  waitUntilOfValue: (ctx) => thrown(() => ctx.waitUntil(5)),
  waitUntilNothing: (ctx) => thrown(() => ctx.waitUntil()),
  waitUntilImported: () => waitUntil(Promise.resolve()),
  waitUntilRejects: (ctx) => { ctx.waitUntil(Promise.reject(new Error("background"))); return "answered"; },
  passThrough: (ctx) => ctx.passThroughOnException(),
  selfFetch: async (ctx) => (await ctx.exports.default.fetch("http://self/plain")).text(),
  otherRpc: (ctx) => ctx.exports.Other.greet("a"),
  otherRpcProps: (ctx) => ctx.exports.Other({ props: { p: 1 } }).greet("a"),
  otherPropsCopy: async (ctx) => { const props = { list: [1] }; const stub = ctx.exports.Other({ props }); props.list.push(2); return stub.greet("a"); },
  handlersFetch: async (ctx) => (await ctx.exports.handlers.fetch("http://self/")).text(),
  callWithoutOptions: (ctx) => thrown(() => ctx.exports.Other()),
  callWithEmptyOptions: async (ctx) => ctx.exports.Other({}).greet("b"),
  callWithBadProps: (ctx) => thrown(() => ctx.exports.Other({ props: 5 })),
  callResultKind: (ctx) => ctx.exports.Other({ props: {} }).constructor.name,
  missingExport: (ctx) => ctx.exports.Nope,
};
export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname === "/plain") return new Response("plain");
    if (pathname === "/start") {
      background = [];
      ctx.waitUntil((async () => { await wait(20); background.push("waited"); })());
      return new Response("started");
    }
    if (pathname === "/background") {
      for (let tries = 0; tries < 200 && !background.length; tries++) await wait(10);
      return Response.json({ background });
    }
    return answer(probes, ctx);
  },
};
