// `stub.fetch`: what reaches the object, redirects, bodies, failures.
import { DurableObject } from "cloudflare:workers";
import { answer, caught } from "./probe.js";

export class Obj extends DurableObject {
  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === "/throw") throw new RangeError("in object");
    if (url.pathname === "/nothing") return undefined;
    if (url.pathname === "/redirect") return Response.redirect(`http://${url.host}/end`);
    if (url.pathname === "/error-status") return new Response("bad", { status: 500 });
    if (url.pathname === "/stream") return new Response(request.body);
    if (url.pathname === "/headers") return Response.json([...request.headers]);
    if (url.pathname === "/cf") return Response.json(request.cf ?? null);
    return Response.json([request.method, request.url, request.headers.get("x-a"), request.redirect, await request.text(), arguments.length]);
  }
}
const json = async (promise) => (await promise).json();
const probes = {
  get: (s) => json(s.fetch("http://any.host:99/p?q=1")),
  https: (s) => json(s.fetch("https://h/p")),
  post: (s) => json(s.fetch("http://h/p", { method: "POST", body: "b", headers: { "x-a": "1" } })),
  request: (s) => json(s.fetch(new Request("http://h/p", { method: "PUT", body: "b" }))),
  requestAndInit: (s) => json(s.fetch(new Request("http://h/p", { headers: { "x-a": "1" } }), { method: "DELETE" })),
  urlObject: (s) => json(s.fetch(new URL("http://h/p"))),
  fragment: (s) => json(s.fetch("http://h/p#frag")),
  relative: (s) => caught(() => s.fetch("/y")),
  nothing: (s) => caught(() => s.fetch()),
  ftp: (s) => caught(() => s.fetch("ftp://h/")),
  headersSent: (s) => json(s.fetch("http://h/headers", { method: "POST", body: "body", headers: { B: "2", a: "1" } })),
  noHeadersAdded: (s) => json(s.fetch("http://h/headers")),
  hostHeader: (s) => json(s.fetch("http://h/headers", { headers: { host: "other" } })),
  follow: async (s) => { const r = await s.fetch("http://h/redirect"); return [r.redirected, r.url, await r.json()]; },
  manual: async (s) => { const r = await s.fetch("http://h/redirect", { redirect: "manual" }); return [r.status, r.headers.get("location")]; },
  throws: (s) => caught(() => s.fetch("http://h/throw")),
  nothingReturned: (s) => caught(() => s.fetch("http://h/nothing")),
  errorStatus: async (s) => { const r = await s.fetch("http://h/error-status"); return [r.status, r.ok, await r.text()]; },
  streamed: async (s) => { const { readable, writable } = new IdentityTransformStream(); const w = writable.getWriter(); const sent = (async () => { await w.write(new TextEncoder().encode("part one, ")); await w.write(new TextEncoder().encode("part two")); await w.close(); })(); const r = await s.fetch("http://h/stream", { method: "POST", body: readable }); const text = await r.text(); await sent; return text; },
  responseHeadersImmutable: async (s) => caught(async () => (await s.fetch("http://h/p")).headers.set("a", "1")),
  responseUrl: async (s) => { const r = await s.fetch("http://h/p"); await r.text(); return r.url; },
  cf: (s) => json(s.fetch("http://h/cf", { cf: { a: 1 } })),
  aborted: async (s) => (await caught(() => s.fetch("http://h/p", { signal: AbortSignal.abort() }))).slice(0, 2),
  detached: (s) => { const { fetch } = s; return caught(() => fetch("http://h/p")); },
};
export default { fetch: (request, env) => answer(probes, env.OBJ.getByName("f")) };
