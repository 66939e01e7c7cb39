// What a stack says: where the call was made, and nothing of the runtime. And rejections that nobody handles.
import { DurableObject, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { answer, wait } from "./probe.js";

const unhandled = [];
addEventListener("unhandledrejection", (event) => { unhandled.push(String(event.reason?.message ?? event.reason)); });
const methods = (Base) => class extends Base {
  ok() { return { a: 1 }; }
  fails(message) { throw new Error(message); }
  fetch() { throw new Error("fetch"); }
};
export class Entry extends methods(WorkerEntrypoint) {}
export class Obj extends methods(DurableObject) {
  async deep(name) { return await this.env.OBJ.getByName(name).fails("deep"); }
}
/** Names of the functions on the way, without places; our own scripts must not be among them. */
const names = (error) => String(error.stack).split("\n").slice(1).map((line) => /^\s+at (?:async )?([\w.$]+|Promise\.all)/.exec(line)?.[1].replace(/^.*\./, "") ?? line.trim()).filter((name) => /^(outer|inner|caller|all|chained)$/.test(name));
const ours = (error) => /ext:|node:/.test(String(error.stack));
const stackOf = async (run) => { try { await run(); return "no error"; } catch (error) { return [names(error), ours(error)]; } };
const probes = (env, ctx) => {
  const { Entry } = ctx.exports;
  const o = (name) => env.OBJ.getByName(name);
  return {
    entry: () => stackOf(async function outer() { await (async function inner() { await Entry.fails("x"); })(); }),
    object: () => stackOf(async function outer() { await (async function inner() { await o("a").fails("x"); })(); }),
    objectFetch: () => stackOf(async function outer() { await (async function inner() { await o("a").fetch("http://x/"); })(); }),
    deep: () => stackOf(async function caller() { await o("a").deep("b"); }),
    pipelined: () => stackOf(async function caller() { await o("a").fails("x").y.z(); }),
    returned: () => stackOf(async function outer() { await (async function inner() { return Entry.fails("x"); })(); }),
    promiseAll: () => stackOf(async function caller() { await Promise.all([Entry.ok(), Entry.fails("x")]); }),
    missing: () => stackOf(async function caller() { await Entry.nope(); }),
    unserialisable: () => stackOf(async function caller() { await Entry.fails(Symbol("x")); }),
    local: () => stackOf(async function caller() { structuredClone(Symbol("x")); }),
    badFetch: () => stackOf(async function caller() { await fetch("foo:bar"); }),
    isOwn: () => ours(new Error("x")),
    customFormat: async () => {
      const before = Error.prepareStackTrace;
      Error.prepareStackTrace = (error, sites) => sites.map((site) => String(site.getFileName())).join("|");
      try { await Entry.fails("x"); } catch (error) { return /ext:/.test(error.stack); } finally { Error.prepareStackTrace = before; }
    },
    notAwaited: async () => { unhandled.length = 0; Entry.fails("not awaited"); await wait(20); return [...unhandled]; },
    onlyPipelined: async () => { unhandled.length = 0; await Entry.fails("first").x.y().catch(() => {}); await wait(20); return [...unhandled]; },
    neither: async () => { unhandled.length = 0; Entry.fails("neither").x.y(); await wait(20); return [...unhandled]; },
    handled: async () => { unhandled.length = 0; await Entry.fails("handled").catch(() => {}); await wait(20); return [...unhandled]; },
    property: async () => { unhandled.length = 0; Entry.nothing; await wait(10); return [...unhandled]; },
    disposed: async () => { unhandled.length = 0; const p = Entry.fails("disposed"); p[Symbol.dispose](); await wait(20); return [...unhandled]; },
  };
};
export default { fetch: (request, env, ctx) => answer(probes(env, ctx)) };
