// onRpcBroken, dup and dispose on every kind of stub, promise and result; what ends with what.
import { DurableObject, RpcStub, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, failure, wait } from "./probe.js";

let disposed = [];
const until = async (condition) => { for (let i = 0; i < 100 && !condition(); i++) await wait(5); return condition(); };
class Tracked extends RpcTarget {
  constructor(name) { super(); this.name_ = name; }
  hi() { return `hi ${this.name_}`; }
  child(name) { return new Tracked(name); }
  [Symbol.dispose]() { disposed.push(this.name_); }
}
class OwnDup extends RpcTarget {
  copies = 0;
  dup() { this.copies++; return new Tracked(`copy ${this.copies}`); }
  hi() { return "original"; }
  [Symbol.dispose]() { disposed.push("original"); }
}
class BadDup extends RpcTarget { dup() { return 5; } hi() { return "bad"; } }
class ThrowingDup extends RpcTarget { dup() { throw new RangeError("dup"); } hi() { return "x"; } }
const methods = (Base) => class extends Base {
  make(name) { return new Tracked(name); }
  makeIn(name) { return { target: new Tracked(name), n: 1 }; }
  plainDisposer(name) { return { n: 1, [Symbol.dispose]() { disposed.push(name); } }; }
  plainDisposerFn(name) { return { f: () => 1, [Symbol.dispose]() { disposed.push(name); } }; }
  fnDisposer(name) { return Object.assign(() => name, { [Symbol.dispose]() { disposed.push(name); } }); }
  fails(stub) { throw Object.assign(new Error("with stub"), { stub }); }
  failsOwn() { throw Object.assign(new Error("with own"), { target: new Tracked("in error") }); }
  ok() { return "ok"; }
  hi(stub) { return stub.hi(); }
  hiTwice(a, b) { return Promise.all([a.hi(), b.hi()]); }
  disposeArgument(stub) { stub[Symbol.dispose](); return caught(() => stub.hi()); }
  give(stub) { return stub; }
  giveTwice(stub) { return [stub, stub]; }
  giveDup(stub) { return stub.dup(); }
  giveIn(stub) { return { stub }; }
  usingArgument(stub) { { using s = stub; } return "used"; }
  later(stub) { const s = stub.dup(); this.ctx.waitUntil(wait(5).then(() => s.hi()).then((x) => disposed.push(x))); return "later"; }
  async nested(fn) { return fn("nested"); }
  stack() { disposed = []; }
  brokenOnArgument(stub) { stub.onRpcBroken((e) => disposed.push(["argument", e.message])); return "ok"; }
};
export class Entry extends methods(WorkerEntrypoint) {}
export class Obj extends methods(DurableObject) {
  abort(reason) { this.ctx.abort(reason); }
  abortError() { this.ctx.abort(Object.assign(new TypeError("typed"), { code: 7 })); }
  keep(stub) { this.kept = stub.dup(); return "kept"; }
  keepTarget() { return new Tracked("of the object"); }
  use() { return this.kept.hi(); }
  watch() { this.broken = []; this.kept.onRpcBroken((e) => this.broken.push(failure(e))); return "watching"; }
  broken_() { return this.broken; }
  drop() { this.kept[Symbol.dispose](); return "dropped"; }
  facet(name) { return this.ctx.facets.get(name, () => ({ class: this.ctx.exports.Child })); }
  async facetBroken() {
    const f = this.facet("a");
    const seen = [];
    await f.ok();
    f.onRpcBroken((e) => seen.push(failure(e)));
    this.ctx.facets.abort("a", new RangeError("facet aborted"));
    await until(() => seen.length > 0);
    return [seen, await caught(() => f.ok())];
  }
  async facetResultBroken() {
    const f = this.facet("b");
    const target = await f.make("of facet");
    const seen = [];
    target.onRpcBroken((e) => seen.push(failure(e)));
    this.ctx.facets.abort("b", new RangeError("facet aborted"));
    await until(() => seen.length > 0);
    return [seen, await caught(() => target.hi())];
  }
  async facetDup() { const d = await caught(() => this.facet("c").dup().ok()); return d; }
}
export class Child extends methods(DurableObject) {}

const broken = async (stub, how) => {
  const seen = [];
  stub.onRpcBroken((e) => seen.push([failure(e), Object.keys(e)]));
  await how();
  await until(() => seen.length > 0);
  return seen;
};
const shape = (x) => [typeof x, typeof x.dup, typeof x.onRpcBroken, typeof x[Symbol.dispose]];
const probes = (env, ctx) => {
  const e = () => ctx.exports.Entry({ props: {} });
  const o = (name) => env.OBJ.getByName(name);
  return {
    shapeLoopback: () => shape(ctx.exports.Entry),
    shapeEntry: () => shape(e()),
    shapeService: () => shape(env.SELF),
    shapeObject: () => shape(o("s")),
    shapeResult: async () => shape(await e().make("s")),
    shapeFunction: async () => shape(await e().give(() => 1)),
    shapePromise: async () => { const p = e().ok(); const s = shape(p); await p; return s; },
    shapeProperty: () => shape(e().nothing),
    shapePlain: async () => { const r = await e().makeIn("x"); return [typeof r[Symbol.dispose], Object.getOwnPropertySymbols(r).map(String), Object.keys(r)]; },
    shapeArray: async () => { const r = await e().giveTwice(() => 1); return [Array.isArray(r), typeof r[Symbol.dispose]]; },
    shapeMap: async () => typeof (await e().give(new Map([["a", () => 1]])))[Symbol.dispose],
    shapeNumber: async () => { const p = e().ok(); await p; return typeof p[Symbol.dispose]; },

    dupEntry: () => caught(() => e().dup().ok()),
    dupService: () => caught(() => env.SELF.dup().ok()),
    dupObject: () => caught(() => o("d").dup().ok()),
    dupPromise: () => caught(async () => { const d = e().make("p").dup(); return [typeof d, await d.hi()]; }),
    dupOfProperty: () => caught(async () => { const d = e().make("p").hi.dup(); return typeof d; }),
    dupOfDisposed: async () => { const s = await e().make("x"); s[Symbol.dispose](); return caught(() => s.dup()); },
    dupOfDup: async () => { const s = await e().make("x"); const d = s.dup().dup(); s[Symbol.dispose](); return d.hi(); },
    dupWithArguments: async () => { const s = await e().make("x"); return typeof s.dup(1, 2, 3); },
    disposeEntry: () => caught(() => { const s = e(); s[Symbol.dispose](); return s.ok(); }),
    disposeService: () => caught(async () => { const s = o("ds"); s[Symbol.dispose](); return s.ok(); }),
    disposePromise: async () => { const p = e().make("x"); p[Symbol.dispose](); return [await caught(() => p.hi()), await caught(() => p)]; },
    disposePromiseAfter: async () => { const p = e().make("x"); const s = await p; p[Symbol.dispose](); return [await caught(() => s.hi()), await caught(() => p.hi()), await caught(async () => typeof (await p))]; },
    disposePipelined: async () => { const p = e().make("x"); const q = p.hi(); p[Symbol.dispose](); return caught(() => q); },
    disposePipelinedFirst: async () => { const p = e().make("x"); const q = p.child("c"); p[Symbol.dispose](); return caught(() => q.hi()); },
    disposeProperty: async () => { const p = e().make("x").hi; p[Symbol.dispose](); return caught(() => p()); },
    usingPromise: async () => { let r; { using p = e().make("x"); r = p.hi(); } return caught(() => r); },
    usingPromiseLater: async () => { let q; { using p = e().make("x"); q = await p; } return caught(() => q.hi()); },
    usingResult: async () => { let t; { using r = await e().makeIn("x"); t = r.target; await t.hi(); } return caught(() => t.hi()); },
    disposeResultOfMember: async () => { const r = await e().makeIn("x"); r.target[Symbol.dispose](); r[Symbol.dispose](); return caught(() => r.target.hi()); },
    dupBeforeResultDisposed: async () => { const r = await e().makeIn("x"); const d = r.target.dup(); r[Symbol.dispose](); return d.hi(); },

    ownDup: async () => { disposed = []; const t = new OwnDup(); return [await e().hi(t), await e().hi(t), t.copies]; },
    ownDupStub: async () => { const s = new RpcStub(new OwnDup()); return [await s.hi(), await s.dup().hi()]; },
    ownDupSentStub: async () => { const t = new OwnDup(); const s = new RpcStub(t); return [await e().hi(s), t.copies]; },
    ownDupBothArguments: async () => { const t = new OwnDup(); return [await e().hiTwice(t, t), t.copies]; },
    badDup: () => caught(() => e().hi(new BadDup())),
    throwingDup: () => caught(() => e().hi(new ThrowingDup())),

    argumentDisposedByCallee: async () => { const t = new Tracked("a"); return [await e().disposeArgument(t), await e().disposeArgument(t)]; },
    argumentUsing: () => e().usingArgument(new Tracked("u")),
    argumentStubStays: async () => { const s = new RpcStub(new Tracked("st")); return [await e().hi(s), await e().disposeArgument(s), await s.hi()]; },
    sameTargetTwice: async () => { disposed = []; const t = new Tracked("twice"); const r = await e().hiTwice(t, t); await until(() => disposed.length >= 1); await wait(20); return [r, disposed]; },
    sentInTwoCalls: async () => { disposed = []; const t = new Tracked("two"); await Promise.all([e().hi(t), e().hi(t)]); await until(() => disposed.length >= 2); return disposed; },
    stubsOfOneTarget: async () => { disposed = []; const t = new Tracked("one"); const a = new RpcStub(t); const b = new RpcStub(t); a[Symbol.dispose](); await wait(10); const first = [...disposed]; b[Symbol.dispose](); await wait(10); return [first, disposed]; },
    dupsOfOneStub: async () => { disposed = []; const a = new RpcStub(new Tracked("one")); const b = a.dup(); a[Symbol.dispose](); await wait(10); const first = [...disposed]; b[Symbol.dispose](); await wait(10); return [first, disposed]; },
    laterDup: async () => { disposed = []; await e().later(new Tracked("later")); return until(() => disposed.includes("hi later")); },
    givenTwice: async () => { const [a, b] = await e().giveTwice(new Tracked("g")); a[Symbol.dispose](); return b.hi(); },
    givenDup: async () => (await e().giveDup(new Tracked("g"))).hi(),
    givenIn: async () => { const r = await e().giveIn(new Tracked("g")); return r.stub.hi(); },
    plainDisposer: async () => { disposed = []; { using r = await e().plainDisposer("plain"); } await wait(20); return disposed; },
    plainDisposerWithFunction: async () => { disposed = []; { using r = await e().plainDisposerFn("plain fn"); } await wait(20); return disposed; },
    functionDisposer: async () => { disposed = []; { using r = await e().fnDisposer("fn"); await r(); } return until(() => disposed.includes("fn")); },
    localPlainStub: async () => { disposed = []; const s = new RpcStub({ a: 1, [Symbol.dispose]() { disposed.push("local plain"); } }); s[Symbol.dispose](); await wait(10); return disposed; },
    localFunctionStub: async () => { disposed = []; const s = new RpcStub(Object.assign(() => 1, { [Symbol.dispose]() { disposed.push("local fn"); } })); s[Symbol.dispose](); await wait(10); return disposed; },
    disposerThrows: async () => { const s = new RpcStub(new (class extends RpcTarget { [Symbol.dispose]() { throw new Error("disposer"); } })()); return caught(() => { s[Symbol.dispose](); return "fine"; }); },
    stubInError: () => e().fails(() => 1).catch((x) => [failure(x), typeof x.stub]),
    targetInError: () => e().failsOwn().catch((x) => [failure(x), typeof x.target]),

    brokenByAbort: () => broken(o("b1"), () => caught(() => o("b1").abort("gone"))),
    brokenByAbortError: () => broken(o("b2"), () => caught(() => o("b2").abortError())),
    brokenStarted: async () => { const s = o("b3"); await s.ok(); return broken(s, () => caught(() => o("b3").abort("gone"))); },
    brokenResult: async () => { const t = await o("b4").keepTarget(); return broken(t, () => caught(() => o("b4").abort("gone"))); },
    brokenResultDup: async () => { const t = (await o("b5").keepTarget()).dup(); return broken(t, () => caught(() => o("b5").abort("gone"))); },
    brokenAfterwards: async () => { const s = o("b6"); await s.ok(); await caught(() => s.abort("gone")); return broken(s, () => {}); },
    brokenResultAfterwards: async () => { const t = await o("b7").keepTarget(); await caught(() => o("b7").abort("gone")); await caught(() => t.hi()); return broken(t, () => {}); },
    brokenDisposed: async () => { const t = await o("b8").keepTarget(); t[Symbol.dispose](); return caught(() => t.onRpcBroken(() => {})); },
    brokenThenDisposed: async () => { const t = await e().make("x"); const seen = []; t.onRpcBroken((x) => seen.push(failure(x))); t[Symbol.dispose](); await wait(20); return seen; },
    brokenReturns: async () => { const t = await e().make("x"); return [typeof t.onRpcBroken(() => {}), await caught(() => t.onRpcBroken()), await caught(() => t.onRpcBroken(5))]; },
    brokenTwoCallbacks: async () => { const t = await o("b9").keepTarget(); const seen = []; t.onRpcBroken(() => seen.push(1)); t.onRpcBroken(() => seen.push(2)); await caught(() => o("b9").abort("gone")); await until(() => seen.length >= 2); return seen; },
    brokenThrows: async () => { const t = await o("b10").keepTarget(); const seen = []; t.onRpcBroken(() => { seen.push(1); throw new Error("callback"); }); t.onRpcBroken(() => seen.push(2)); await caught(() => o("b10").abort("gone")); await until(() => seen.length >= 2); return seen; },
    brokenPromise: async () => { const p = o("b11").keepTarget(); const seen = []; const r = await caught(() => typeof p.onRpcBroken((x) => seen.push(failure(x)))); await p; await caught(() => o("b11").abort("gone")); await wait(20); return [r, seen]; },
    brokenFailedPromise: async () => { const p = e().fails(); const seen = []; const r = await caught(() => typeof p.onRpcBroken((x) => seen.push(failure(x)))); await caught(() => p); await wait(20); return [r, seen]; },
    brokenEntry: () => caught(() => typeof e().onRpcBroken(() => {})),
    brokenLocal: async () => { const s = new RpcStub(new Tracked("l")); const seen = []; s.onRpcBroken((x) => seen.push(failure(x))); s[Symbol.dispose](); await wait(10); return seen; },
    brokenArgumentKept: async () => {
      // The context that exported the callback ends with its event.
      await e().stack();
      return e().brokenOnArgument(new Tracked("arg"));
    },
    keptAfterContext: async () => {
      await env.SELF.give(1);
      const r = await (await env.SELF.fetch("http://x/keeps")).text();
      await wait(20);
      return [r, await caught(() => o("keeper").use()), await o("keeper").broken_()];
    },
    facetBroken: () => o("f1").facetBroken(),
    facetResultBroken: () => o("f2").facetResultBroken(),
    facetDup: () => o("f3").facetDup(),
  };
};
export default class extends methods(WorkerEntrypoint) {
  async fetch(request) {
    const { env, ctx } = this;
    if (new URL(request.url).pathname === "/keeps") {
      await env.OBJ.getByName("keeper").keep(new Tracked("of an event"));
      return new Response(await env.OBJ.getByName("keeper").watch());
    }
    return answer(probes(env, ctx));
  }
}
