// Which names of an entrypoint or object can be reached over RPC.
import { DurableObject, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught } from "./probe.js";

const members = (Base) => class extends Base {
  field = "field";
  arrow = () => "arrow";
  #secret = "secret";
  static fixed() { return "static"; }
  constructor(...args) { super(...args); this.late = () => "late"; this._own = 1; }
  method(...args) { return ["method", args.length, ...args]; }
  async asyncMethod() { return "async"; }
  thenable() { return { then(resolve) { resolve("thened"); } }; }
  get getter() { return "got"; }
  get getterPromise() { return Promise.resolve("promised"); }
  get getterFunction() { return (x) => ["called", x]; }
  get getterThrows() { throw new RangeError("getter"); }
  set setterOnly(value) {}
  _underscore() { return "underscore"; }
  #hidden() { return this.#secret; }
  useHidden() { return this.#hidden(); }
  usesThis() { return this.field; }
  ["with space"]() { return "spaced"; }
  [Symbol.for("s")]() { return "symbol"; }
  nothing() {}
  nul() { return null; }
  returnsThisField() { return this.late(); }
  scheduled(x) { return ["scheduled", x]; }
  tail(x) { return ["tail", x]; }
  queue(x) { return ["queue", x]; }
  test(x) { return ["test", x]; }
  trace(x) { return ["trace", x]; }
  email(x) { return ["email", x]; }
};
class EntryBase extends WorkerEntrypoint { inherited() { return "inherited"; } overridden() { return "base"; } }
class ObjectBase extends DurableObject { inherited() { return "inherited"; } overridden() { return "base"; } }
export class Entry extends members(EntryBase) { overridden() { return "derived " + super.overridden(); } }
export class Obj extends members(ObjectBase) { overridden() { return "derived " + super.overridden(); } }
class Target extends members(RpcTarget) { inherited() { return "inherited"; } overridden() { return "derived base"; } }
export class Maker extends WorkerEntrypoint {
  target() { return new Target(); }
  plain() { return { field: "field", arrow: () => "arrow", nested: { deep: 1 }, method(x) { return ["method", x]; } }; }
}

const CALLS = ["asyncMethod", "thenable", "inherited", "overridden", "_underscore", "useHidden", "usesThis", "with space", "nothing", "nul", "returnsThisField", "scheduled", "tail", "queue", "test", "trace", "email",
  "field", "arrow", "late", "_own", "fixed", "nope", "ctx", "env", "#secret", "hasOwnProperty", "getter", "getterFunction", "getterThrows", "setterOnly"];
const GETS = ["getter", "getterPromise", "getterThrows", "setterOnly", "field", "nope", "ctx", "prototype", "length", "name"];
const stubs = {
  entry: (env, ctx) => ctx.exports.Entry,
  object: (env) => env.OBJ.getByName("lookup"),
  target: (env, ctx) => ctx.exports.Maker.target(),
};
const probes = {};
for (const [kind, make] of Object.entries(stubs)) {
  for (const name of CALLS) probes[`${kind} call ${name}`] = (env, ctx) => caught(async () => (await make(env, ctx))[name]());
  for (const name of GETS) probes[`${kind} get ${name}`] = (env, ctx) => caught(async () => (await make(env, ctx))[name]);
  probes[`${kind} arguments`] = async (env, ctx) => (await make(env, ctx)).method(1, undefined, null);
  probes[`${kind} no arguments`] = async (env, ctx) => (await make(env, ctx)).method();
  probes[`${kind} getter call with argument`] = (env, ctx) => caught(async () => (await make(env, ctx)).getterFunction(7));
}
Object.assign(probes, {
  "plain field": async (env, ctx) => (await ctx.exports.Maker.plain()).field,
  "plain nested": async (env, ctx) => (await ctx.exports.Maker.plain()).nested,
  "plain arrow": async (env, ctx) => (await ctx.exports.Maker.plain()).arrow(),
  "plain method": async (env, ctx) => (await ctx.exports.Maker.plain()).method(1),
  "plain missing": async (env, ctx) => typeof (await ctx.exports.Maker.plain()).nope,
});
export default { fetch: (request, env, ctx) => answer(probes, env, ctx) };
