// AsyncLocalStorage follows a request through everything that calls back, and stops at the border of a call.
import { AsyncLocalStorage, AsyncResource } from "node:async_hooks";
import { DurableObject, RpcTarget, WorkerEntrypoint, waitUntil } from "cloudflare:workers";
import { answer, caught, thrown, wait } from "./probe.js";

const als = new AsyncLocalStorage();
const other = new AsyncLocalStorage();
const store = () => als.getStore() ?? null;
const within = (run) => als.run("mine", run);
const bytes = (text) => new TextEncoder().encode(text);
const UPGRADE = { headers: { Upgrade: "websocket" } };
const later = {};
export class Entry extends WorkerEntrypoint {
  store() { return store(); }
  constructorStore = store();
  seenInConstructor() { return [this.s]; }
  constructor(ctx, env) { super(ctx, env); this.s = store(); }
  async calls(callback) { return als.run("callee's", async () => [await callback(), store()]); }
  callback() { return als.run("callee's", () => () => store()); }
  bound() { return als.run("callee's", () => AsyncLocalStorage.bind(() => store())); }
  target() { return als.run("callee's", () => new Target()); }
  stream() { return als.run("callee's", () => new ReadableStream({ pull(c) { c.enqueue(bytes(String(store()))); c.close(); }, type: "bytes" })); }
  fetch(request) {
    if (request.headers.get("upgrade")) {
      const [client, server] = Object.values(new WebSocketPair());
      als.run("accepting", () => server.accept());
      als.run("listening", () => server.addEventListener("message", () => server.send(String(store()))));
      return new Response(null, { status: 101, webSocket: client });
    }
    return new Response(String(store()));
  }
}
class Target extends RpcTarget { store() { return store(); } get property() { return store(); } [Symbol.dispose]() { later.disposed = store(); } }
export class Obj extends DurableObject {
  constructor(ctx, env) { super(ctx, env); this.made = store(); }
  store() { return [store(), this.made]; }
  enters() { als.enterWith?.("left behind"); return store(); }
  async transaction() { return within(() => this.ctx.storage.transaction(async () => { await null; return store(); })); }
  blocks() { return within(() => this.ctx.blockConcurrencyWhile(async () => { await wait(1); return store(); })); }
  storage() { return within(async () => { await this.ctx.storage.put("a", 1); await this.ctx.storage.get("a"); return store(); }); }
  async schedules() { await within(() => this.ctx.storage.setAlarm(Date.now() + 1)); for (let i = 0; i < 200 && !this.alarmed; i++) await wait(5); return this.alarmed; }
  alarm() { this.alarmed = [store()]; }
  facet() { return within(async () => { const f = this.ctx.facets.get("f", () => { later.starting = store(); return { class: this.ctx.exports.Facet }; }); return [await f.store(), later.starting, store()]; }); }
  async fetch() { return new Response(String(store())); }
}
export class Facet extends DurableObject { store() { return store(); } }

const probes = {
  // promises and tasks
  thenOfResolved: () => within(() => Promise.resolve().then(store)),
  awaitThenable: () => within(async () => { await { then(resolve) { later.thenable = store(); resolve(); } }; return [later.thenable, store()]; }),
  asyncGenerator: () => within(async () => { const seen = []; async function* g() { yield store(); await wait(1); yield store(); } for await (const s of g()) seen.push(s); return seen; }),
  generatorElsewhere: async () => { function* g() { yield store(); yield store(); } const it = within(g); return [it.next().value, als.run("second", () => it.next().value)]; },
  asyncGeneratorElsewhere: async () => { async function* g() { yield store(); yield store(); } const it = within(g); return [(await it.next()).value, (await als.run("second", () => it.next())).value]; },
  queueMicrotask: () => within(() => new Promise((resolve) => queueMicrotask(() => resolve(store())))),
  setTimeout: () => within(() => new Promise((resolve) => setTimeout(() => resolve(store()), 1))),
  setInterval: () => within(() => new Promise((resolve) => { const id = setInterval(() => { clearInterval(id); resolve(store()); }, 1); })),
  setImmediate: () => within(() => new Promise((resolve) => setImmediate(() => resolve(store())))),
  schedulerWait: () => within(() => scheduler.wait(1).then(store)),
  resolvedElsewhere: async () => { let resolve; const p = within(() => new Promise((r) => { resolve = r; }).then(store)); als.run("resolver", () => resolve()); return p; },
  rejectedElsewhere: async () => { let reject; const p = within(() => new Promise((_, r) => { reject = r; }).catch(store)); als.run("rejecter", () => reject(new Error("x"))); return p; },
  waitUntil: async (env, ctx) => { within(() => ctx.waitUntil(wait(1).then(() => { later.waited = store(); }))); within(() => waitUntil((async () => { await null; later.imported = store(); })())); await wait(10); return [later.waited, later.imported]; },
  // events
  listener: () => { const t = new EventTarget(); let seen; within(() => t.addEventListener("x", () => { seen = store(); })); als.run("dispatcher", () => t.dispatchEvent(new Event("x"))); return seen; },
  abortListener: () => { const c = new AbortController(); let seen; within(() => c.signal.addEventListener("abort", () => { seen = store(); })); als.run("aborter", () => c.abort()); return seen; },
  onabort: () => { const c = new AbortController(); let seen; within(() => { c.signal.onabort = () => { seen = store(); }; }); als.run("aborter", () => c.abort()); return seen; },
  timeoutSignal: () => within(() => new Promise((resolve) => AbortSignal.timeout(1).addEventListener("abort", () => resolve(store())))),
  unhandledRejection: async () => { let seen = "none"; const listen = (e) => { seen = store(); e.preventDefault(); }; addEventListener("unhandledrejection", listen); within(() => { Promise.reject(new Error("nobody")); }); await wait(5); removeEventListener("unhandledrejection", listen); return seen; },
  // streams
  pull: async () => { const s = within(() => new ReadableStream({ pull(c) { c.enqueue(store()); c.close(); } }, { highWaterMark: 0 })); return als.run("reader", async () => (await s.getReader().read()).value); },
  start: () => within(() => new Promise((resolve) => new ReadableStream({ start() { resolve(store()); } }))),
  cancel: async () => { let seen; const s = within(() => new ReadableStream({ cancel() { seen = store(); } })); await als.run("canceler", () => s.cancel()); return seen; },
  write: async () => { let seen; const w = within(() => new WritableStream({ write() { seen = store(); } })); await als.run("writer", () => w.getWriter().write(1)); return seen; },
  transform: async () => { const t = within(() => new TransformStream({ transform(_, c) { c.enqueue(store()); } })); als.run("writer", () => { const w = t.writable.getWriter(); w.write(1); w.close(); }); return als.run("reader", async () => (await t.readable.getReader().read()).value); },
  readContinues: async (env, ctx) => within(async () => { const r = (await ctx.exports.Entry.stream()).getReader(); await r.read(); return store(); }),
  bodyText: () => within(async () => { await new Response("x").text(); return store(); }),
  // calls
  fetchContinues: (env, ctx) => within(async () => { const text = await (await ctx.exports.Entry.fetch("http://x/")).text(); return [text, store()]; }),
  callContinues: (env, ctx) => within(async () => [await ctx.exports.Entry.store(), store()]),
  calleeConstructor: (env, ctx) => within(() => ctx.exports.Entry.seenInConstructor()),
  object: (env) => within(() => env.OBJ.getByName("new").store()),
  objectFetch: (env) => within(async () => (await env.OBJ.getByName("new").fetch("http://x/")).text()),
  callbackFromCallee: (env, ctx) => within(() => ctx.exports.Entry.calls(() => store())),
  callbackBound: (env, ctx) => ctx.exports.Entry.calls(als.run("bound", () => AsyncLocalStorage.bind(() => store()))),
  callbackOfCallee: (env, ctx) => within(async () => { const f = await ctx.exports.Entry.callback(); return [await f(), store()]; }),
  boundOfCallee: (env, ctx) => within(async () => { const f = await ctx.exports.Entry.bound(); return f(); }),
  targetOfCallee: (env, ctx) => within(async () => { const t = await ctx.exports.Entry.target(); return [await t.store(), await t.property]; }),
  streamOfCallee: (env, ctx) => within(async () => new Response(await ctx.exports.Entry.stream()).text()),
  pipelined: (env, ctx) => within(() => ctx.exports.Entry.target().store()),
  // objects
  entersAndStays: async (env) => { const o = env.OBJ.getByName("enters"); return [await caught(() => o.enters()), await o.store()]; },
  transaction: (env) => env.OBJ.getByName("t").transaction(),
  block: (env) => env.OBJ.getByName("b").blocks(),
  storage: (env) => env.OBJ.getByName("s").storage(),
  alarm: (env) => env.OBJ.getByName("alarm").schedules(),
  facet: (env) => env.OBJ.getByName("f").facet(),
  socketMessage: async (env, ctx) => { const { webSocket } = await ctx.exports.Entry.fetch("http://x/", UPGRADE); webSocket.accept(); return within(() => new Promise((resolve) => { webSocket.addEventListener("message", (e) => resolve([e.data, store()])); als.run("sending", () => webSocket.send("x")); })); },
  // the class itself
  run: () => [thrown(() => als.run("a", (x, y) => [store(), x, y], 1, 2)), thrown(() => als.run("a")), thrown(() => als.run("a", 5)), thrown(() => als.run("a", () => { throw new RangeError("inside"); })), store()],
  runReturns: () => als.run(1, () => "returned"),
  exit: () => within(() => [als.exit(() => store()), als.exit((x) => x, 7), thrown(() => als.exit()), store()]),
  enterWith: () => thrown(() => als.enterWith("entered")),
  disable: () => thrown(() => als.disable()),
  snapshot: () => { const snap = within(() => AsyncLocalStorage.snapshot()); return [als.run("now", () => snap(store)), als.run("now", () => snap((a, b) => [a, b], 1, 2)), thrown(() => snap(5)), thrown(() => snap())]; },
  bind: () => { const f = within(() => AsyncLocalStorage.bind((a) => [store(), a])); return [als.run("now", () => f(1)), thrown(() => AsyncLocalStorage.bind(5)), thrown(() => AsyncLocalStorage.bind())]; },
  two: () => within(() => other.run("theirs", () => [als.getStore(), other.getStore(), als.exit(() => [store(), other.getStore()])])),
  falsy: () => [als.run(null, () => als.getStore()), als.run(undefined, () => als.getStore()), als.run(0, () => als.getStore()), als.run(false, () => als.getStore())],
  defaultValue: () => { const d = new AsyncLocalStorage({ defaultValue: "default", name: "named" }); return [d.getStore(), d.run(undefined, () => d.getStore()), d.name, d.exit(() => d.getStore())]; },
  resource: () => { const r = within(() => new AsyncResource("R")); return als.run("now", () => [r.runInAsyncScope(store), r.runInAsyncScope((a) => a, null, 3), typeof r.bind(store), r.bind(store)(), AsyncResource.bind(store)()]); },
  resourceArguments: () => [thrown(() => typeof new AsyncResource()), thrown(() => typeof new AsyncResource("")), thrown(() => new AsyncResource("R").runInAsyncScope()), thrown(() => new AsyncResource("R").bind(1)), thrown(() => AsyncResource.bind(1))],
  resourceSubclass: () => { class R extends AsyncResource { constructor() { super("R"); } go() { return this.runInAsyncScope(store); } } const r = within(() => new R()); return r.go(); },
  tags: () => [Object.prototype.toString.call(als), Object.prototype.toString.call(new AsyncResource("R")), AsyncLocalStorage.name, AsyncLocalStorage.length, Object.getOwnPropertyNames(AsyncLocalStorage.prototype).sort()],
  withoutNew: () => thrown(() => AsyncLocalStorage())[0],
};
export default { fetch: (request, env, ctx) => answer(probes, env, ctx) };
