// Lifetime of stubs: who owns what, dispose, dup, what outlives a call.
import { DurableObject, RpcStub, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, wait } from "./probe.js";

const until = async (condition) => { for (let i = 0; i < 100 && !condition(); i++) await wait(5); return condition(); };
let disposed = [];
class Tracked extends RpcTarget {
  constructor(name) { super(); this.name_ = name; }
  hi() { return `hi ${this.name_}`; }
  [Symbol.dispose]() { disposed.push(this.name_); }
}
export class Entry extends WorkerEntrypoint {
  make(name) { return new Tracked(name); }
  makeIn(name) { return { target: new Tracked(name), n: 1 }; }
  borrow(stub) { return stub.hi(); }
  giveBack(stub) { return stub; }
}
export class Obj extends DurableObject {
  keep(stub) { this.kept = stub; return "kept"; }
  keepDup(stub) { this.kept = stub.dup(); return "kept"; }
  use(...args) { return this.kept(...args); }
  useHi() { return this.kept.hi(); }
  drop() { this.kept[Symbol.dispose](); return "dropped"; }
  make(name) { return new Tracked(name); }
}
const probes = (env, e) => ({
  disposeStub: async () => { const s = await e.make("a"); const before = await s.hi(); s[Symbol.dispose](); return [before, await caught(() => s.hi())]; },
  disposeTwice: async () => { const s = await e.make("a"); s[Symbol.dispose](); s[Symbol.dispose](); return "fine"; },
  using: async () => { let outside; { using s = await e.make("a"); outside = s; await s.hi(); } return caught(() => outside.hi()); },
  disposerRuns: async () => { disposed = []; { using s = await e.make("d1"); await s.hi(); } return until(() => disposed.includes("d1")); },
  dupOutlives: async () => { const s = await e.make("a"); const d = s.dup(); s[Symbol.dispose](); return [await d.hi(), await caught(() => s.hi())]; },
  dupIsIndependent: async () => { const s = await e.make("a"); const d = s.dup(); d[Symbol.dispose](); return [await s.hi(), await caught(() => d.hi())]; },
  resultObjectDisposes: async () => { const r = await e.makeIn("a"); const t = r.target; r[Symbol.dispose](); return caught(() => t.hi()); },
  plainResultHasDispose: async () => typeof (await e.makeIn("a"))[Symbol.dispose],
  numberResult: async () => typeof (await e.borrow({ hi: () => "x" }))[Symbol.dispose],
  callerKeepsArgument: async () => { const s = await e.make("a"); const r = await e.borrow(s); return [r, await s.hi()]; },
  callerKeepsTarget: async () => { const t = new Tracked("mine"); return [await e.borrow(t), await e.borrow(t)]; },
  calleeLosesArgument: async () => { const o = env.OBJ.getByName("lose"); await o.keep(() => "called"); return caught(() => o.use()); },
  calleeKeepsDup: async () => { const o = env.OBJ.getByName("keep"); await o.keepDup((x) => ["called", x]); return [await o.use(1), await o.use(2)]; },
  calleeDupDropped: async () => { const o = env.OBJ.getByName("drop"); await o.keepDup(() => 1); await o.drop(); return caught(() => o.use()); },
  givenBackIsDuplicated: async () => { const s = await e.make("a"); const back = await e.giveBack(s); s[Symbol.dispose](); return back.hi(); },
  localStubDisposes: async () => { disposed = []; const s = new RpcStub(new Tracked("local")); s[Symbol.dispose](); return [await until(() => disposed.includes("local")), await caught(() => s.hi())]; },
  argumentTargetDisposed: async () => { disposed = []; await e.borrow(new Tracked("arg")); return until(() => disposed.includes("arg")); },
  pipelinedThenDisposed: async () => { const p = e.make("a"); const r = p.hi(); return r; },
  entryDup: async () => { const d = e.dup(); return d.borrow({ hi: () => "via dup" }); },
  objectStubOutlives: async () => { const s = await env.OBJ.getByName("x").make("from object"); return [await s.hi(), await s.hi()]; },
});
export default { fetch: (request, env, ctx) => answer(probes(env, ctx.exports.Entry({ props: {} }))) };
