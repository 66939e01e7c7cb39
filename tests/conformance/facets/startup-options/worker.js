// What a start callback may return: classes, props, ids; failing starts and poisoned names.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown, wait } from "./probe.js";

export class Child extends DurableObject {
  hit() { const n = (this.ctx.storage.kv.get("n") ?? 0) + 1; this.ctx.storage.kv.put("n", n); return n; }
  n() { return this.ctx.storage.kv.get("n") ?? 0; }
  memory() { return (this.m = (this.m ?? 0) + 1); }
  props() { return this.ctx.props; }
  id() { return [typeof this.ctx.id, typeof this.ctx.id === "string" ? this.ctx.id : String(this.ctx.id), this.ctx.id.name ?? null]; }
  which() { return "Child"; }
  hang() { return wait(10_000); }
  fails() { throw new RangeError("child"); }
  abortSelf(reason) { this.ctx.abort(reason); }
  nested(name, method = "hit") { return this.ctx.facets.get(name, () => ({ class: this.ctx.exports.Child }))[method](); }
  async deep(names) { return names.length ? this.ctx.facets.get(names[0], () => ({ class: this.ctx.exports.Child })).deep(names.slice(1)) : this.hit(); }
  fetch(request) { return new Response(`child ${request.method} ${new URL(request.url).pathname}`); }
}
export class Twin extends DurableObject { which() { return "Twin"; } n() { return this.ctx.storage.kv.get("n") ?? 0; } }
export class Other extends DurableObject { take(x) { return typeof x; } ok() { return "ok"; } }
const child = (ctx, more = {}) => () => ({ class: ctx.exports.Child, ...more });
const LOADED = `
  import { DurableObject } from "cloudflare:workers";
  export class App extends DurableObject { all() { return [this.ctx.props, this.env, Object.keys(this.ctx.exports).sort(), typeof this.ctx.facets.get, this.ctx.container === undefined]; } nested() { return this.ctx.facets.get("n", () => ({ class: this.ctx.exports.Sub({ props: { deep: 1 } }) })).props(); } }
  export class Sub extends DurableObject { props() { return this.ctx.props; } }
  export class Plain { constructor(ctx) { this.ctx = ctx; } fetch() { return new Response("plain " + typeof this.ctx.storage); } m() {} }
  export class Throws extends DurableObject { constructor(ctx, env) { super(ctx, env); throw new RangeError("constructor"); } }
  export const handlers = { fetch() { return new Response("handlers"); } };
  export default class extends DurableObject { which() { return "default"; } }
`;
const worker = (o, text = LOADED, env = { v: 1 }) => o.env.LOADER.load({ compatibilityDate: "2026-09-01", mainModule: "main.js", modules: { "main.js": text }, env });
const start = (ctx, options) => ctx.facets.get("f", () => options);
const probes = {
  exportsClass: (ctx) => start(ctx, { class: ctx.exports.Child }).props(),
  exportsClassProps: (ctx) => start(ctx, { class: ctx.exports.Child({ props: { p: [1] } }) }).props(),
  exportsNamespaceClass: (ctx) => start(ctx, { class: ctx.exports.Other }).ok(),
  boundClass: (ctx, o) => start(ctx, { class: o.env.BOUND }).props(),
  boundClassProps: (ctx, o) => start(ctx, { class: o.env.BOUND_PROPS }).props(),
  loadedClass: (ctx, o) => start(ctx, { class: worker(o).getDurableObjectClass("App", { props: { p: 1 } }) }).all(),
  loadedClassNoProps: (ctx, o) => start(ctx, { class: worker(o).getDurableObjectClass("App") }).all(),
  loadedDefault: (ctx, o) => start(ctx, { class: worker(o).getDurableObjectClass() }).which(),
  loadedNested: (ctx, o) => start(ctx, { class: worker(o).getDurableObjectClass("App") }).nested(),
  loadedMissing: (ctx, o) => caught(() => start(ctx, { class: worker(o).getDurableObjectClass("Nope") }).all()),
  loadedNoDefault: (ctx, o) => caught(() => start(ctx, { class: worker(o, "export const a = {};").getDurableObjectClass() }).all()),
  loadedHandlersAsClass: (ctx, o) => caught(() => start(ctx, { class: worker(o).getDurableObjectClass("handlers") }).all()),
  loadedSyntaxError: (ctx, o) => caught(() => start(ctx, { class: worker(o, "export default {").getDurableObjectClass("App") }).all()),
  loadedTopLevelThrow: (ctx, o) => caught(() => start(ctx, { class: worker(o, "throw new RangeError('top');").getDurableObjectClass("App") }).all()),
  loadedPlainFetch: async (ctx, o) => (await start(ctx, { class: worker(o).getDurableObjectClass("Plain") }).fetch("http://x/")).text(),
  loadedPlainRpc: async (ctx, o) => (await caught(() => start(ctx, { class: worker(o).getDurableObjectClass("Plain") }).m()))[0],
  constructorThrows: (ctx, o) => caught(() => start(ctx, { class: worker(o).getDurableObjectClass("Throws") }).all()),

  badMissing: (ctx) => caught(() => start(ctx, {}).props()),
  badUndefined: (ctx) => caught(() => start(ctx, undefined).props()),
  badNull: (ctx) => caught(() => start(ctx, null).props()),
  badRawClass: (ctx) => caught(() => start(ctx, { class: Child }).props()),
  badNamespace: (ctx, o) => caught(() => start(ctx, { class: o.env.OTHER }).props()),
  badStub: (ctx, o) => caught(() => start(ctx, { class: o.env.OTHER.getByName("x") }).props()),
  badEntrypoint: (ctx, o) => caught(() => start(ctx, { class: worker(o).getEntrypoint() }).props()),
  badString: (ctx) => caught(() => start(ctx, { class: "Child" }).props()),
  badLoopbackEntrypoint: (ctx) => caught(() => start(ctx, { class: ctx.exports.default }).props()),
  badId: (ctx) => caught(() => start(ctx, { class: ctx.exports.Child, id: {} }).id()),
  callbackThrows: (ctx) => caught(() => ctx.facets.get("f", () => { throw new RangeError("no start"); }).props()),
  callbackRejects: (ctx) => caught(() => ctx.facets.get("f", async () => { throw new TypeError("no start"); }).props()),

  idInherited: async (ctx) => { const [kind, text, name] = await start(ctx, { class: ctx.exports.Child }).id(); return [kind, text === String(ctx.id), name]; },
  idString: (ctx) => start(ctx, { class: ctx.exports.Child, id: "my id" }).id(),
  idEmptyString: (ctx) => start(ctx, { class: ctx.exports.Child, id: "" }).id(),
  idNumber: (ctx) => caught(() => start(ctx, { class: ctx.exports.Child, id: 5 }).id()),
  idOfNamespace: (ctx, o) => start(ctx, { class: ctx.exports.Child, id: o.env.OTHER.idFromName("named") }).id(),
  idWithoutName: async (ctx, o) => (await start(ctx, { class: ctx.exports.Child, id: o.env.OTHER.idFromString(String(o.env.OTHER.idFromName("named"))) }).id())[2],
  idUndefined: async (ctx) => (await start(ctx, { class: ctx.exports.Child, id: undefined }).id())[0],
  idNull: (ctx) => caught(async () => (await start(ctx, { class: ctx.exports.Child, id: null }).id())[0]),
  idDoesNotSelectStorage: async (ctx) => { await ctx.facets.get("a", child(ctx, { id: "same" })).hit(); return ctx.facets.get("b", child(ctx, { id: "same" })).hit(); },
  idIsNotKept: async (ctx) => { const first = await ctx.facets.get("a", child(ctx, { id: "one" })).id(); ctx.facets.abort("a", "x"); return [first, await ctx.facets.get("a", child(ctx, { id: "two" })).id()]; },

  poisonedByThrow: async (ctx) => { const first = await caught(() => ctx.facets.get("f", () => { throw new RangeError("poison"); }).hit()); const second = await caught(() => ctx.facets.get("f", child(ctx)).hit()); ctx.facets.abort("f", "clear"); return [first, second, await ctx.facets.get("f", child(ctx)).hit()]; },
  poisonedByBadValue: async (ctx) => { await caught(() => ctx.facets.get("f", () => ({})).hit()); const second = await caught(() => ctx.facets.get("f", child(ctx)).hit()); ctx.facets.delete("f"); return [second[0], await ctx.facets.get("f", child(ctx)).hit()]; },
  poisonedByMissingClass: async (ctx, o) => { await caught(() => start(ctx, { class: worker(o).getDurableObjectClass("Nope") }).all()); const second = await caught(() => start(ctx, { class: ctx.exports.Child }).hit()); ctx.facets.abort("f", "x"); return [second, await start(ctx, { class: ctx.exports.Child }).hit()]; },
  notPoisonedByConstructor: async (ctx, o) => { const bad = start(ctx, { class: worker(o).getDurableObjectClass("Throws") }); const first = await caught(() => bad.all()); return [first[0], (await caught(() => bad.all()))[0], await start(ctx, { class: ctx.exports.Child }).hit()]; },
};

export class Parent extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.PARENT, probes) };
