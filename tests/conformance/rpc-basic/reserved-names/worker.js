// Names that cannot be called over RPC, and names that never leave the stub.
import { DurableObject, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught } from "./probe.js";

const RESERVED = ["connect", "alarm", "webSocketMessage", "webSocketClose", "webSocketError", "dup", "constructor"];
const withReserved = (Base) => {
  class C extends Base {
    ok() { return "ok"; }
    // Handlers of the platform: present, and still not for callers.
    alarm() { return "alarm"; }
    webSocketMessage() { return "message"; }
    webSocketClose() { return "close"; }
    webSocketError() { return "error"; }
    connect() { return "connect"; }
    dup() { return "own dup"; }
    then(resolve) { resolve("own then"); }
    map() { return "own map"; }
    onRpcBroken() { return "own"; }
    toString() { return "own toString"; }
    toJSON() { return "own toJSON"; }
  }
  return C;
};
export class Entry extends withReserved(WorkerEntrypoint) {}
export class Obj extends withReserved(DurableObject) {}
class Target extends RpcTarget { ok() { return "ok"; } alarm() { return "alarm"; } webSocketMessage() { return "message"; } connect() { return "connect"; } fetch() { return "fetch"; } }
export class Maker extends WorkerEntrypoint { target() { return new Target(); } }

const NAMES = ["alarm", "webSocketMessage", "webSocketClose", "webSocketError", "toJSON"];
const probes = {};
for (const name of NAMES) {
  probes[`entry ${name}`] = (env, ctx) => caught(() => ctx.exports.Entry[name]());
  probes[`object ${name}`] = (env) => caught(() => env.OBJ.getByName("r")[name]());
}
Object.assign(probes, {
  "entry constructor": (env, ctx) => typeof ctx.exports.Entry({ props: {} }).constructor,
  "entry toString": (env, ctx) => String(ctx.exports.Entry({ props: {} })),
  "object toString": (env) => String(env.OBJ.getByName("r")),
  "entry typeof then": (env, ctx) => typeof ctx.exports.Entry({ props: {} }).then,
  "entry is not awaited": async (env, ctx) => { const stub = ctx.exports.Entry({ props: {} }); return typeof (await stub); },
  "object symbol": (env) => typeof env.OBJ.getByName("r")[Symbol.iterator],
  "entry typeof anything": (env, ctx) => typeof ctx.exports.Entry({ props: {} }).anythingAtAll,
  "object typeof anything": (env) => typeof env.OBJ.getByName("r").anythingAtAll,
  "target alarm": (env, ctx) => caught(async () => (await ctx.exports.Maker.target()).alarm()),
  "target webSocketMessage": (env, ctx) => caught(async () => (await ctx.exports.Maker.target()).webSocketMessage()),
  "target connect": (env, ctx) => caught(async () => (await ctx.exports.Maker.target()).connect()),
  "target fetch": (env, ctx) => caught(async () => (await ctx.exports.Maker.target()).fetch()),
  "still works": (env, ctx) => ctx.exports.Entry.ok(),
});
export default { fetch: (request, env, ctx) => answer(probes, env, ctx) };
