// What `cloudflare:workers` exports, and how its classes behave on their own.
import * as workers from "cloudflare:workers";
import { DurableObject, RpcStub, RpcTarget, WorkerEntrypoint, env, exports, withEnv } from "cloudflare:workers";
import { answer, caught, thrown } from "./probe.js";

const probes = {
  exportNames: () => Object.keys(workers).filter((k) => k !== "default").sort(),
  exportTypes: () => Object.fromEntries(Object.keys(workers).filter((k) => k !== "default").sort().map((k) => [k, typeof workers[k]])),
  classNames: () => [DurableObject.name, WorkerEntrypoint.name, RpcTarget.name, RpcStub.name],
  baseSetsCtxAndEnv: (ctx) => { const e = new (class extends WorkerEntrypoint {})(ctx, env); return [e.env === env, e.ctx === ctx]; },
  baseWithoutNew: () => thrown(() => WorkerEntrypoint())[0],
  rpcTargetIsPlain: () => Object.keys(new RpcTarget()),
  stubOfNumber: () => thrown(() => new RpcStub(5)),
  stubOfClassInstance: () => thrown(() => new RpcStub(new (class Own {})())),
  stubOfDate: () => thrown(() => new RpcStub(new Date())),
  exportsFetch: async () => (await exports.default.fetch("http://x/self")).text(),
  withEnvSync: () => withEnv({ V: "other" }, () => env.V),
  withEnvReturnsValue: () => withEnv({}, () => 42),
  withEnvThrows: () => [thrown(() => withEnv({}, () => { throw new Error("inside"); })), env.V],
  withEnvAsync: async () => { const p = withEnv({ V: "other" }, async () => { await new Promise((r) => setTimeout(r, 5)); return env.V; }); return [env.V, await p, env.V]; },
  importSockets: async () => Object.keys(await import("cloudflare:sockets")).includes("connect"),
  importUnknown: () => caught(() => import("cloudflare:nope")),
};
export default {
  fetch(request, env, ctx) {
    if (request.url.endsWith("/self")) return new Response("self");
    return answer(probes, ctx);
  },
};
