// What can be an entry point, and what each of them is given: classes, objects, inherited members, the module's exports.
import { DurableObject, WorkerEntrypoint, env as importedEnv, exports as importedExports, waitUntil, withEnv, withExports, withEnvAndExports } from "cloudflare:workers";
import { answer, caught, failure, thrown, wait } from "./probe.js";

const top = {};
const attempt = (name, run) => { try { top[name] = run(); } catch (error) { top[name] = failure(error); } };
attempt("plainVar", () => importedEnv.V);
attempt("keys", () => Object.keys(importedEnv).sort());
attempt("objectId", () => String(importedEnv.OBJ.idFromName("a")).length);
attempt("stub", () => typeof importedEnv.OBJ.getByName("a"));
attempt("call", () => { importedEnv.SELF.hi().catch(() => {}); return "sent"; });
attempt("exportsKeys", () => Object.keys(importedExports));
attempt("waitUntil", () => waitUntil(Promise.resolve()));
attempt("withEnv", () => withEnv({ V: "other" }, () => importedEnv.V));
attempt("withExports", () => withExports({ a: 1 }, () => importedExports.a));

class Base extends WorkerEntrypoint {
  inherited() { return "inherited"; }
  overridden() { return "base"; }
  get inheritedGetter() { return "inherited getter"; }
  async fetch(request) { return new Response(`base ${new URL(request.url).pathname}`); }
}
export class Derived extends Base { overridden() { return `derived over ${super.overridden()}`; } }
export class Plain extends WorkerEntrypoint {
  field = () => "field";
  static still() { return "static"; }
  hi() { return "hi"; }
  members() { return [Object.keys(this).sort(), this.env === undefined, typeof this.ctx]; }
  ctxMembers() { return ["waitUntil", "passThroughOnException", "abort", "props", "exports", "tracing", "cache", "access", "id", "storage"].map((k) => [k, typeof this.ctx[k]]); }
  props() { return [this.ctx.props, Object.isFrozen(this.ctx.props)]; }
  sameContext(other) { return other; }
  setProps() { try { this.ctx.props = { set: 1 }; } catch (error) { return failure(error); } return this.ctx.props; }
  envIsShared() { this.env.SEEN = 1; return [importedEnv.SEEN, Object.keys(this.env).includes("SEEN")]; }
}
export class NoSuper extends WorkerEntrypoint { constructor() { super(); } hi() { return [typeof this.env, typeof this.ctx]; } }
export class OwnArguments extends WorkerEntrypoint { constructor(...args) { super(...args); this.n = args.length; } count() { return this.n; } }
export class ThrowsInConstructor extends WorkerEntrypoint { constructor(ctx, env) { super(ctx, env); throw new RangeError("constructor"); } hi() { return "hi"; } fetch() { return new Response("x"); } }
export class FetchGetter extends WorkerEntrypoint { get fetch() { return () => new Response("from a getter"); } get method() { return (x) => ["got", x]; } }
export class FetchField extends WorkerEntrypoint { fetch = () => new Response("from a field"); }
export class AsyncFetch extends WorkerEntrypoint { async fetch() { await wait(1); return new Response("async"); } }
export const inheritedHandlers = Object.create({ fetch: () => new Response("inherited"), rpc: (x) => ["inherited", x] });
export const getterHandlers = { get fetch() { return () => new Response("getter"); }, get rpc() { return (x) => ["getter", x]; } };
export const thisHandlers = { name: "object", fetch() { return new Response(`this is ${this === thisHandlers}`); }, rpc(x) { return [x, this === thisHandlers]; } };
class Handlers { fetch() { return new Response("instance"); } rpc(x) { return ["instance", x]; } own = (x) => ["own", x]; }
export const instanceHandlers = new Handlers();
export const frozen = Object.freeze({ fetch: (request, env, ctx) => new Response(Object.keys(env).includes("V") + " " + typeof ctx.waitUntil) });
export const notAFunction = { fetch: 5, rpc: 5 };
export const empty = {};
export class Obj extends DurableObject {
  hi() { return "hi"; }
  props() { return this.ctx.props; }
  members() { return Object.keys(this).sort(); }
  imported() { return [importedEnv.V, Object.keys(importedExports).length > 3, caughtSync(() => waitUntil(Promise.resolve()))]; }
}
const caughtSync = (run) => { try { return run() ?? null; } catch (error) { return failure(error); } };
const text = async (stub, path = "/") => (await stub.fetch(`http://x${path}`)).text();
const probes = {
  ...Object.fromEntries(Object.keys(top).concat([]).map((name) => [`top ${name}`, () => top[name]])),
  derivedInherits: (env, { exports: e }) => e.Derived.inherited(),
  derivedOverrides: (env, { exports: e }) => e.Derived.overridden(),
  derivedGetter: (env, { exports: e }) => e.Derived.inheritedGetter,
  derivedFetch: (env, { exports: e }) => text(e.Derived, "/p"),
  members: (env, { exports: e }) => e.Plain.members(),
  ctxMembers: (env, { exports: e }) => e.Plain.ctxMembers(),
  field: (env, { exports: e }) => caught(() => e.Plain.field()),
  statics: (env, { exports: e }) => caught(() => e.Plain.still()),
  props: (env, { exports: e }) => e.Plain.props(),
  propsDeep: async (env, { exports: e }) => { const props = { a: { b: [1] } }; const stub = e.Plain({ props }); props.a.b.push(2); const [got] = await stub.props(); return got; },
  setProps: (env, { exports: e }) => e.Plain({ props: { first: 1 } }).setProps(),
  propsCyclic: (env, { exports: e }) => { const props = {}; props.self = props; return caught(() => e.Plain({ props }).hi()); },
  propsArray: (env, { exports: e }) => caught(() => e.Plain({ props: [1] }).props()),
  propsNull: (env, { exports: e }) => caught(() => e.Plain({ props: null }).props()),
  envIsShared: (env, { exports: e }) => e.Plain.envIsShared(),
  noSuper: (env, { exports: e }) => caught(() => e.NoSuper.hi()),
  ownArguments: (env, { exports: e }) => e.OwnArguments.count(),
  throwsRpc: (env, { exports: e }) => caught(() => e.ThrowsInConstructor.hi()),
  throwsFetch: (env, { exports: e }) => caught(() => e.ThrowsInConstructor.fetch("http://x/")),
  fetchGetter: (env, { exports: e }) => caught(() => text(e.FetchGetter)),
  methodGetter: (env, { exports: e }) => caught(() => e.FetchGetter.method(1)),
  fetchField: (env, { exports: e }) => caught(() => text(e.FetchField)),
  asyncFetch: (env, { exports: e }) => text(e.AsyncFetch),
  inheritedHandlers: (env, { exports: e }) => caught(() => text(e.inheritedHandlers)),
  inheritedHandlersRpc: (env, { exports: e }) => caught(() => e.inheritedHandlers.rpc(1)),
  getterHandlers: (env, { exports: e }) => caught(() => text(e.getterHandlers)),
  getterHandlersRpc: (env, { exports: e }) => caught(() => e.getterHandlers.rpc(1)),
  thisHandlers: (env, { exports: e }) => caught(() => text(e.thisHandlers)),
  thisHandlersRpc: (env, { exports: e }) => caught(() => e.thisHandlers.rpc(1)),
  instanceHandlers: (env, { exports: e }) => caught(() => text(e.instanceHandlers)),
  instanceHandlersRpc: (env, { exports: e }) => caught(() => e.instanceHandlers.rpc(1)),
  instanceHandlersOwn: (env, { exports: e }) => caught(() => e.instanceHandlers.own(1)),
  frozen: (env, { exports: e }) => caught(() => text(e.frozen)),
  notAFunction: (env, { exports: e }) => caught(() => text(e.notAFunction)),
  notAFunctionRpc: (env, { exports: e }) => caught(() => e.notAFunction.rpc(1)),
  emptyFetch: (env, { exports: e }) => caught(() => text(e.empty)),
  emptyRpc: (env, { exports: e }) => caught(() => e.empty.rpc(1)),
  objectOverExports: (env, { exports: e }) => e.Obj.getByName("x").hi(),
  objectProps: (env) => env.OBJ.getByName("x").props(),
  objectMembers: (env) => env.OBJ.getByName("x").members(),
  objectImported: (env) => env.OBJ.getByName("x").imported(),
  exportsIsSame: (env, ctx) => [ctx.exports === ctx.exports, ctx.exports.Plain === ctx.exports.Plain, importedExports.Plain === ctx.exports.Plain],
  exportsIsFrozen: (env, ctx) => thrown(() => { ctx.exports.Added = 1; return Object.keys(ctx.exports).includes("Added"); }),
  exportsEnumerates: (env, ctx) => { const keys = []; for (const k in ctx.exports) keys.push(k); return keys.sort().slice(0, 3); },
  importedEnv: (env) => [importedEnv.V, importedEnv === env, Object.keys(importedEnv).includes("OBJ"), "V" in importedEnv, "nope" in importedEnv, importedEnv.nope],
  importedEnvSet: (env) => thrown(() => { importedEnv.ADDED = 1; return [importedEnv.ADDED, env.ADDED]; }),
  importedEnvObject: () => importedEnv.OBJ.getByName("x").hi(),
  importedExportsCall: () => importedExports.Plain.hi(),
  importedExportsProps: () => importedExports.Plain({ props: { via: "import" } }).props(),
  withEnv: () => [withEnv({ V: "inner" }, () => importedEnv.V), importedEnv.V],
  withEnvAsync: () => withEnv({ V: "inner" }, async () => { await wait(1); return [importedEnv.V, Object.keys(importedEnv)]; }),
  withEnvNested: () => withEnv({ V: "outer" }, () => [withEnv({ V: "inner" }, () => importedEnv.V), importedEnv.V]),
  withEnvArguments: (env, ctx) => [thrown(() => withEnv({})), thrown(() => withEnv()), thrown(() => withEnv(5, () => importedEnv.V)), thrown(() => withEnv(null, () => typeof importedEnv.V)), thrown(() => withEnv({}, () => { throw new RangeError("inside"); }))],
  withEnvPassed: (env, { exports: e }) => withEnv({ V: "mine" }, () => e.Plain.hi()),
  withExports: () => [withExports({ X: 1 }, () => importedExports.X), typeof importedExports.X],
  withBoth: () => withEnvAndExports({ V: 1 }, { X: 2 }, () => [importedEnv.V, importedExports.X]),
  waitUntilImported: () => [thrown(() => waitUntil(Promise.resolve())), thrown(() => waitUntil()), thrown(() => waitUntil(5))],
  selfBinding: (env) => env.SELF.hi(),
  selfBindingProps: (env) => env.WITH.props(),
  selfDefault: (env) => text(env.DEFAULT, "/self"),
  unknownMethod: (env) => caught(() => env.SELF.nope()),
};
export default {
  fetch(request, env, ctx) {
    if (request.url.endsWith("/self")) return new Response("self");
    return answer(probes, env, ctx);
  },
};
