// list(): ranges, prefix, order, limits; and the same for the synchronous iterator.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown, wait } from "./probe.js";

const KEYS = ["a", "ab", "abc", "b", "ba", "c", "é", "z"];
const OPTIONS = {
  all: undefined, empty: {}, start: { start: "ab" }, startMissing: { start: "abb" }, startAfter: { startAfter: "ab" }, startAfterMissing: { startAfter: "aa" }, end: { end: "b" }, startEnd: { start: "ab", end: "ba" }, emptyRange: { start: "c", end: "b" }, sameStartEnd: { start: "b", end: "b" }, prefix: { prefix: "ab" }, prefixNone: { prefix: "x" }, prefixEmpty: { prefix: "" }, prefixNonAscii: { prefix: "é" }, prefixStart: { prefix: "a", start: "ab" }, prefixStartBelow: { prefix: "b", start: "a" }, prefixEnd: { prefix: "a", end: "abc" }, prefixStartAfter: { prefix: "a", startAfter: "a" }, limit: { limit: 2 }, limitBig: { limit: 1e6 }, limitFraction: { limit: 2.9 }, limitString: { limit: "3" }, reverse: { reverse: true }, reverseLimit: { reverse: true, limit: 2 }, reverseStart: { reverse: true, start: "b" }, reverseEnd: { reverse: true, end: "b" }, reversePrefix: { reverse: true, prefix: "a" }, reverseStartAfterLimit: { reverse: true, startAfter: "a", limit: 3 }, startUndefined: { start: undefined, limit: undefined }, startEmpty: { start: "" }, endEmpty: { end: "" }, concurrency: { allowConcurrency: true, noCache: true, limit: 1 },
};
const BAD = { both: { start: "a", startAfter: "b" }, zero: { limit: 0 }, negative: { limit: -1 }, nan: { limit: NaN }, text: { limit: "x" }, infinite: { limit: Infinity }, prefixNumber: { prefix: 5 }, optionsString: "x", optionsNull: null };
const fill = ({ storage }) => { for (const k of KEYS) storage.kv.put(k, k.length); };
const probes = {};
for (const [name, options] of Object.entries(OPTIONS)) {
  probes[`async ${name}`] = async (ctx) => { fill(ctx); return [...(await ctx.storage.list(options)).keys()].join(" "); };
  probes[`sync ${name}`] = (ctx) => { fill(ctx); return [...ctx.storage.kv.list(options)].map(([k]) => k).join(" "); };
}
for (const [name, options] of Object.entries(BAD)) {
  probes[`async bad ${name}`] = (ctx) => { fill(ctx); return caught(async () => [...(await ctx.storage.list(options)).keys()].join(" ")); };
  probes[`sync bad ${name}`] = (ctx) => { fill(ctx); return thrown(() => [...ctx.storage.kv.list(options)].map(([k]) => k).join(" ")); };
}
Object.assign(probes, {
  isMap: async (ctx) => { fill(ctx); const m = await ctx.storage.list({ limit: 1 }); return [m instanceof Map, [...m]]; },
  emptyStorage: async (ctx) => [(await ctx.storage.list()).size, [...ctx.storage.kv.list()]],
  thousand: async (ctx) => { for (let i = 0; i < 1000; i++) ctx.storage.kv.put(`k${String(i).padStart(4, "0")}`, i); const all = [...(await ctx.storage.list()).keys()]; return [all.length, all[0], all[999]]; },
});

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
