// Calls that come back to where they started: objects, callbacks, critical sections.
import { DurableObject, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, wait } from "./probe.js";

const methods = (Base) => class extends Base {
  ok() { return "ok"; }
  call(fn) { return fn("called"); }
  callTarget(target) { return target.run(1); }
  peer(name, method, ...args) { return this.env.OBJ.getByName(name)[method](...args); }
  fetchPeer(name) { return this.env.OBJ.getByName(name).fetch("http://x/").then((r) => r.text()); }
  bounce(names) { return names.length === 0 ? "end" : this.env.OBJ.getByName(names[0]).bounce(names.slice(1)); }
  self(n) { return n === 0 ? "bottom" : this.ctx.exports.Entry.self(n - 1); }
};
export class Entry extends methods(WorkerEntrypoint) {}
export class Obj extends methods(DurableObject) {
  log = [];
  fetch() { return new Response("fetched"); }
  note(x) { this.log.push(x); return x; }
  log_() { return this.log; }
  async pingPong(name, left) { return left === 0 ? "done" : this.env.OBJ.getByName(name).pingPong(this.ctx.id.name, left - 1); }
  async callbackToMe(name) { let n = 0; const r = await this.env.OBJ.getByName(name).call((x) => { n++; return [x, n]; }); return [r, n]; }
  sectionCallback(name) { return this.ctx.blockConcurrencyWhile(async () => { const r = await this.env.OBJ.getByName(name).call((x) => x); return ["in section", r]; }); }
  sectionTarget(name) { const t = new (class extends RpcTarget { run(x) { return ["target", x]; } })(); return this.ctx.blockConcurrencyWhile(() => this.env.OBJ.getByName(name).callTarget(t)); }
  sectionEntryCallback() { return this.ctx.blockConcurrencyWhile(() => this.ctx.exports.Entry.call((x) => ["entry", x])); }
  sectionPeer(name) { return this.ctx.blockConcurrencyWhile(() => this.env.OBJ.getByName(name).ok()); }
  sectionNotAwaited(name) { let p; return this.ctx.blockConcurrencyWhile(async () => { p = this.env.OBJ.getByName(name).peer(this.ctx.id.name, "note", "later"); await wait(5); return "left"; }).then(async (r) => [r, await p]); }
  transactionCallback(name) { return this.ctx.storage.transaction(async () => this.env.OBJ.getByName(name).call((x) => ["txn", x])); }
}
const probes = (env, ctx) => {
  const o = (name) => env.OBJ.getByName(name);
  return {
    pingPong: () => o("a").pingPong("b", 10),
    bounce: () => o("a").bounce(["b", "a", "c", "b", "a"]),
    callSelf: () => o("a").peer("a", "ok"),
    fetchSelf: () => o("a").fetchPeer("a"),
    callbackWhileWaiting: () => o("a").callbackToMe("b"),
    callbackToSelf: () => o("a").callbackToMe("a"),
    entryCallback: () => { let n = 0; return ctx.exports.Entry.call((x) => [x, ++n]); },
    selfTen: () => ctx.exports.Entry.self(10),
    sectionPeer: () => o("s1").sectionPeer("s2"),
    sectionCallback: () => caught(() => o("s3").sectionCallback("s4")),
    sectionTarget: () => caught(() => o("s5").sectionTarget("s6")),
    sectionEntryCallback: () => caught(() => o("s7").sectionEntryCallback()),
    sectionNotAwaited: () => caught(() => o("s8").sectionNotAwaited("s9")),
    transactionCallback: () => caught(() => o("s10").transactionCallback("s11")),
  };
};
export default { fetch: (request, env, ctx) => answer(probes(env, ctx)) };
