// I/O objects belong to the request or object that made them.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught } from "./probe.js";

const kept = {};
export class Entry extends WorkerEntrypoint { hi() { return "hi"; } target() { return () => "called"; } }
export class Obj extends DurableObject {
  hold() { kept.objectResponse = new Response("from one object"); kept.objectStub = this.env.OBJ.getByName("third"); kept.storage = this.ctx.storage; return "held"; }
  ok() { return "ok"; }
  useResponse() { return caught(() => kept.objectResponse.text()).then(first); }
  useStub() { return caught(() => kept.objectStub.ok()).then(first); }
  useOwnLater() { return kept.mine.text(); }
  holdOwn() { kept.mine = new Response("my own"); return "held"; }
}
// The texts end in advice; the first sentence says it all.
const first = (e) => (Array.isArray(e) ? [e[0], String(e[1]).split(". ")[0]] : e);
const used = {
  responseBody: () => caught(() => kept.response.text()).then(first),
  requestBody: () => caught(() => kept.request.text()).then(first),
  stream: () => caught(() => kept.stream.getReader()).then(first),
  rpcStub: () => caught(() => kept.fn()).then(first),
  objectStub: () => caught(() => kept.stub.ok()).then(first),
  abortSignal: () => caught(() => kept.signal.aborted).then(first),
  headersOfRequest: () => caught(() => kept.request.headers.get("x-a")).then(first),
  url: () => kept.request.url.endsWith("/keep"),
  method: () => kept.request.method,
  status: () => kept.response.status,
  plain: () => kept.plain,
};
const objects = {
  hold: (env) => env.OBJ.getByName("one").hold(),
  otherObjectsResponse: (env) => env.OBJ.getByName("two").useResponse(),
  otherObjectsStub: (env) => env.OBJ.getByName("two").useStub(),
  ownAcrossRequests: async (env) => { const s = env.OBJ.getByName("own"); await s.holdOwn(); return s.useOwnLater(); },
};
export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname === "/keep") {
      Object.assign(kept, { request: new Request(request.url, { method: "POST", body: "b", headers: { "x-a": "1" } }), response: new Response("x", { status: 203 }), stream: new Response("y").body, stub: env.OBJ.getByName("k"), fn: await ctx.exports.Entry.target(), plain: { a: [1] }, signal: new AbortController().signal });
      return new Response("kept");
    }
    if (pathname === "/use") return answer(used);
    if (pathname === "/plain-data") return Response.json({ plain: kept.plain });
    return answer(objects, env);
  },
};
