// Ids: derivation from names, parsing, equality, and what a namespace refuses.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, show, thrown } from "./probe.js";

export class Obj extends DurableObject {
  who() { return { name: show(this.ctx.id.name), id: String(this.ctx.id), kind: this.ctx.id.constructor.name }; }
  takeId(id) { return String(id); }
}
export class Second extends DurableObject { who() { return "second"; } }

const vectors = { foo: (env) => String(env.OBJ.idFromName("foo")), empty: (env) => String(env.OBJ.idFromName("")), unicode: (env) => String(env.OBJ.idFromName("ü😀")), second: (env) => String(env.SECOND.idFromName("foo")), number: (env) => String(env.OBJ.idFromName(5)), long: (env) => String(env.OBJ.idFromName("x".repeat(5000))), nul: (env) => String(env.OBJ.idFromName("a\0b")) };
const probes = {
  length: (env) => [String(env.OBJ.newUniqueId()).length, /^[0-9a-f]{64}$/.test(String(env.OBJ.newUniqueId()))],
  uniqueDiffer: (env) => env.OBJ.newUniqueId().equals(env.OBJ.newUniqueId()),
  uniqueName: (env) => [env.OBJ.newUniqueId().name, "name" in env.OBJ.newUniqueId()],
  named: (env) => { const id = env.OBJ.idFromName("foo"); return [id.name, Object.keys(id), typeof id, id.constructor.name, Object.prototype.toString.call(id), id.jurisdiction]; },
  emptyName: (env) => env.OBJ.idFromName("").name,
  fromStringRound: (env) => { const id = env.OBJ.idFromName("foo"); const back = env.OBJ.idFromString(String(id)); return [back.equals(id), id.equals(back), back.name]; },
  fromStringUpper: (env) => { const id = env.OBJ.idFromName("foo"); const back = env.OBJ.idFromString(String(id).toUpperCase()); return [back.equals(id), String(back) === String(id)]; },
  fromStringShort: (env) => thrown(() => env.OBJ.idFromString("abc")),
  fromStringEmpty: (env) => thrown(() => env.OBJ.idFromString("")),
  fromStringNotHex: (env) => thrown(() => env.OBJ.idFromString("g".repeat(64))),
  fromStringForged: (env) => thrown(() => env.OBJ.idFromString("0".repeat(64))),
  fromStringOther: (env) => thrown(() => env.OBJ.idFromString(String(env.SECOND.idFromName("foo")))),
  fromStringNothing: (env) => thrown(() => env.OBJ.idFromString()),
  idFromNameNothing: (env) => thrown(() => env.OBJ.idFromName()),
  equals: (env) => [env.OBJ.idFromName("a").equals(env.OBJ.idFromName("a")), env.OBJ.idFromName("a").equals(env.OBJ.idFromName("b")), env.OBJ.idFromName("a") === env.OBJ.idFromName("a")],
  equalsString: (env) => thrown(() => env.OBJ.idFromName("a").equals(String(env.OBJ.idFromName("a")))),
  equalsNothing: (env) => thrown(() => env.OBJ.idFromName("a").equals()),
  getString: (env) => thrown(() => env.OBJ.get("foo")),
  getNothing: (env) => thrown(() => env.OBJ.get()),
  getByNameNothing: (env) => thrown(() => env.OBJ.getByName()),
  getByNameNumber: (env) => env.OBJ.getByName(5).who(),
  locationHint: async (env) => (await env.OBJ.getByName("foo", { locationHint: "weur" }).who()).name,
  routingMode: (env) => thrown(() => env.OBJ.getByName("foo", { routingMode: "x" })),
  routingModePrimary: async (env) => (await env.OBJ.getByName("foo", { routingMode: "primary-only" }).who()).name,
  jurisdiction: (env) => thrown(() => env.OBJ.jurisdiction("eu")),
  jurisdictionNull: async (env) => [String(env.OBJ.jurisdiction(null).idFromName("foo")) === String(env.OBJ.idFromName("foo")), String(env.OBJ.jurisdiction(undefined).idFromName("foo")) === String(env.OBJ.idFromName("foo"))],
  uniqueInJurisdiction: (env) => thrown(() => env.OBJ.newUniqueId({ jurisdiction: "eu" })),
  namespaceShape: (env) => [typeof env.OBJ, env.OBJ.constructor.name, Object.prototype.toString.call(env.OBJ), ["newUniqueId", "idFromName", "idFromString", "get", "getByName", "jurisdiction"].map((m) => typeof env.OBJ[m])],
  stubShape: (env) => { const s = env.OBJ.getByName("foo"); return [typeof s, s.constructor.name, Object.prototype.toString.call(s), Object.keys(s).sort(), s.name, s.id.equals(env.OBJ.idFromName("foo"))]; },
  stubOfUnique: (env) => { const s = env.OBJ.get(env.OBJ.newUniqueId()); return [s.name, typeof s.id]; },
  insideByName: (env) => env.OBJ.getByName("foo").who(),
  insideById: (env) => env.OBJ.get(env.OBJ.idFromName("bar")).who(),
  insideByString: async (env) => (await env.OBJ.get(env.OBJ.idFromString(String(env.OBJ.idFromName("only-by-string")))).who()).name,
  insideUnique: async (env) => (await env.OBJ.get(env.OBJ.newUniqueId()).who()).name,
  name1024: async (env) => { const { name } = await env.OBJ.getByName("x".repeat(1024)).who(); return name.length; },
  name1025: async (env) => (await env.OBJ.getByName("x".repeat(1025)).who()).name,
  exportsNamespace: (env, ctx) => [ctx.exports.Obj.constructor.name, String(ctx.exports.Obj.idFromName("foo")) === String(env.OBJ.idFromName("foo"))],
  exportsReachesSame: async (env, ctx) => (await ctx.exports.Obj.getByName("foo").who()).name,
  sendId: (env) => caught(() => env.OBJ.getByName("foo").takeId(env.OBJ.idFromName("bar"))),
};
export default { fetch: (request, env, ctx) => answer(request.url.endsWith("/vectors") ? vectors : probes, env, ctx) };
