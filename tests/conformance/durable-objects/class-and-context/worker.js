// The class, its context, and classes that do not extend DurableObject.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, show, thrown } from "./probe.js";

let constructed = 0;
export class Obj extends DurableObject {
  constructor(ctx, env) { super(ctx, env); this.nth = ++constructed; this.seen = [arguments.length, this.ctx === ctx, this.env === env]; this.sqlInConstructor = ctx.storage.sql.exec("SELECT 1 AS one").one().one; }
  count() { return (this.n = (this.n ?? 0) + 1); }
  constructorSaw() { return [...this.seen, this.sqlInConstructor]; }
  nthInstance() { return this.nth; }
  shape() {
    const { ctx } = this;
    return { own: Object.keys(ctx).sort(), tag: Object.prototype.toString.call(ctx), name: ctx.constructor.name, props: show(ctx.props), container: show(ctx.container), v: this.env.V, exports: Object.keys(ctx.exports).sort(),
      methods: ["waitUntil", "blockConcurrencyWhile", "abort", "acceptWebSocket", "getWebSockets", "getTags", "setWebSocketAutoResponse", "getWebSocketAutoResponse", "getWebSocketAutoResponseTimestamp", "setHibernatableWebSocketEventTimeout", "getHibernatableWebSocketEventTimeout", "passThroughOnException"].filter((m) => typeof ctx[m] === "function"),
      facets: ["get", "abort", "delete", "clone"].map((m) => typeof ctx.facets[m]),
      storage: ["get", "list", "put", "delete", "deleteAll", "transaction", "transactionSync", "getAlarm", "setAlarm", "deleteAlarm", "sync", "getCurrentBookmark", "getBookmarkForTime", "onNextSessionRestoreBookmark"].filter((m) => typeof ctx.storage[m] !== "function"),
      storageSame: [ctx.storage === ctx.storage, ctx.storage.sql === ctx.storage.sql, ctx.storage.kv === ctx.storage.kv], isDurableObject: this instanceof DurableObject };
  }
  waitUntil() { return [show(this.ctx.waitUntil(Promise.resolve())), thrown(() => this.ctx.waitUntil())]; }
  waitUntilRejects() { this.ctx.waitUntil(Promise.reject(new Error("background"))); return "fine"; }
  globalCount() { return constructed > 1; }
  other(name) { return this.env.OBJ.getByName(name).count(); }
  self() { return this.ctx.exports.Obj.constructor.name; }
}
export class Plain { constructor(ctx, env) { this.ctx = ctx; this.v = env.V; } fetch(request) { return Response.json([this.v, request.method, arguments.length, typeof this.ctx.storage]); } method() { return 1; } }
export class Bare extends DurableObject {}

const probes = {
  memoryStays: async (env) => { const s = env.OBJ.getByName("m"); return [await s.count(), await s.count(), await env.OBJ.getByName("m").count()]; },
  objectsAreSeparate: async (env) => [await env.OBJ.getByName("s1").count(), await env.OBJ.getByName("s2").count()],
  constructorSaw: (env) => env.OBJ.getByName("c").constructorSaw(),
  shape: (env) => env.OBJ.getByName("shape").shape(),
  waitUntil: (env) => env.OBJ.getByName("w").waitUntil(),
  waitUntilRejects: async (env) => { const s = env.OBJ.getByName("w"); return [await s.waitUntilRejects(), await s.count()]; },
  moduleGlobalsShared: (env) => env.OBJ.getByName("g").globalCount(),
  objectCallsObject: (env) => env.OBJ.getByName("a").other("b"),
  plainFetch: async (env) => (await env.PLAIN.getByName("p").fetch("http://x/")).json(),
  plainRpc: (env) => caught(() => env.PLAIN.getByName("p").method()),
  bareFetch: (env) => caught(() => env.BARE.getByName("b").fetch("http://x/")),
  bareRpc: (env) => caught(() => env.BARE.getByName("b").nope()),
  exportsKinds: (env, ctx) => Object.fromEntries(Object.keys(ctx.exports).sort().map((k) => [k, ctx.exports[k].constructor.name])),
  insideExports: (env) => env.OBJ.getByName("x").self(),
};
export default { fetch: (request, env, ctx) => answer(probes, env, ctx) };
