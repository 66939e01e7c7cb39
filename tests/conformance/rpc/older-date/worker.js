// Before rpc_params_dup_stubs: whose are the stubs in arguments?
import { DurableObject, RpcStub, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, wait } from "./probe.js";

let disposed = [];
class Tracked extends RpcTarget {
  constructor(name) { super(); this.name_ = name; }
  hi() { return `hi ${this.name_}`; }
  [Symbol.dispose]() { disposed.push(this.name_); }
}
class OwnDup extends RpcTarget {
  copies = 0;
  dup() { this.copies++; return new Tracked(`copy ${this.copies}`); }
  hi() { return "original"; }
}
export class Obj extends DurableObject {
  hi(stub) { return stub.hi(); }
  keep(stub) { this.kept = stub; return "kept"; }
  keepDup(stub) { this.kept = stub.dup(); return "kept"; }
  useKept() { return this.kept.hi(); }
  give(stub) { return stub; }
  giveIn(stub) { return { stub }; }
  make(name) { return new Tracked(name); }
  throwsAt(stub) { throw new Error("thrown"); }
}
const probes = (env) => {
  const o = (name) => env.OBJ.getByName(name);
  return {
    stubAfterwards: async () => { const s = new RpcStub(new Tracked("a")); return [await o("a").hi(s), await caught(() => s.hi())]; },
    stubAtOnce: async () => { const s = new RpcStub(new Tracked("a")); const p = o("a").hi(s); return [await caught(() => s.hi()), await p]; },
    receivedStubAfterwards: async () => { const s = await o("a").make("r"); return [await o("a").hi(s), await caught(() => s.hi())]; },
    dupStays: async () => { const s = new RpcStub(new Tracked("a")); await o("a").hi(s.dup()); return caught(() => s.hi()); },
    targetAfterwards: async () => { const t = new Tracked("t"); return [await o("a").hi(t), await o("a").hi(t)]; },
    functionAfterwards: async () => { const f = { hi: () => "f" }; return [await o("a").hi(f), await o("a").hi(f)]; },
    kept: async () => { await o("k").keep(new Tracked("kept")); return caught(() => o("k").useKept()); },
    keptStub: async () => { const s = new RpcStub(new Tracked("kept")); await o("k2").keep(s); return caught(() => o("k2").useKept()); },
    keptDup: async () => { await o("k3").keepDup(new Tracked("kept")); return caught(() => o("k3").useKept()); },
    givenBack: async () => { const r = await o("g").give(new Tracked("g")); return caught(() => r.hi()); },
    givenBackIn: async () => { const r = await o("g").giveIn(new Tracked("g")); return caught(() => r.stub.hi()); },
    sentAfterDispose: async () => { const s = new RpcStub(new Tracked("x")); s[Symbol.dispose](); return caught(() => o("g").hi(s)); },
    objectStubAfterwards: async () => { const s = o("inner"); await o("g").give(s).then(() => {}); return s.make("still").hi(); },
    afterThrow: async () => { const s = new RpcStub(new Tracked("x")); return [await caught(() => o("g").throwsAt(s)), await caught(() => s.hi())]; },
    ownDup: async () => { const t = new OwnDup(); return [await o("g").hi(t), t.copies]; },
    stubTwice: async () => { const s = new RpcStub(new Tracked("x")); return [await caught(() => Promise.all([o("g").hi(s), o("g").hi(s)]))]; },
  };
};
export default { fetch: (request, env) => answer(probes(env)) };
