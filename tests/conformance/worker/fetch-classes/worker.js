// Request, Headers, bodies and their kin: what they refuse and with which words, beyond the everyday.
import { answer, caught, thrown } from "./probe.js";

const utf8 = (text) => new TextEncoder().encode(text);
const stream = (...parts) => new ReadableStream({ start(c) { parts.forEach((p) => c.enqueue(p)); c.close(); } });
const post = (body, more) => new Request("http://x/", { method: "POST", body, ...more });
const probes = {
  requestArguments: () => [thrown(() => new Request()), thrown(() => new Request(5)), thrown(() => new Request("http://x/", 5)), thrown(() => new Request("http://x/", null).url), thrown(() => Request("http://x/"))],
  requestUsed: async () => { const r = post("b"); await r.text(); return [thrown(() => new Request(r)), thrown(() => new Request(r, { body: "c" }).url), thrown(() => new Request(r.url, r))]; },
  requestMethods: () => ["get", "pAtCh", "QUERY", "CONNECT", "TRACK", "FOO", "", "A B"].map((method) => thrown(() => new Request("http://x/", { method }).method)),
  requestRedirects: () => ["follow", "manual", "", null, undefined, 5].map((redirect) => thrown(() => new Request("http://x/", { redirect }).redirect)),
  requestCaches: () => ["default", "no-store", "no-cache", "reload", "nope", null, undefined].map((cache) => thrown(() => new Request("http://x/", { cache }).cache)),
  requestIgnored: () => { const r = new Request("http://x/", { mode: "nope", credentials: "nope", referrer: "nope", priority: "nope", keepalive: true }); return [r.keepalive, r.referrer, r.fetcher]; },
  requestIntegrity: () => thrown(() => new Request("http://x/", { integrity: "sha256-x" })),
  requestSignal: () => [thrown(() => new Request("http://x/", { signal: {} })), new Request("http://x/", { signal: null }).signal instanceof AbortSignal],
  requestCf: () => { const cf = { a: 1, b: { c: 2 } }; const r = new Request("http://x/", { cf }); cf.a = 2; return [r.cf, new Request(r).cf, r.clone().cf, new Request(r, { cf: { z: 1 } }).cf, new Request("http://y/", r).cf, new Request(r).cf === r.cf, r.cf === r.cf, r.cf === cf]; },
  requestCfWritten: () => { const r = new Request("http://x/", { cf: { a: 1 } }); r.cf.a = 5; return [r.cf, new Request(r).cf, thrown(() => { r.cf = 1; })]; },
  requestBadCf: () => [5, null, "s", undefined].map((cf) => thrown(() => new Request("http://x/", { cf }).cf)),
  requestEmptyBody: () => [thrown(() => new Request("http://x/", { body: "" }).url), thrown(() => new Request("http://x/", { body: null }).url), thrown(() => new Request(post("b"), { method: "GET" }))],
  requestHeaders: () => [5, null, [["a"]], { "a b": "1" }, { a: "x\0" }].map((headers) => thrown(() => new Request("http://x/", { headers }))),
  requestSubclass: () => { class Own extends Request { more() { return this.method; } } const r = new Own("http://x/", { method: "PUT" }); return [r.more(), r instanceof Request, r.constructor === Own, Request.prototype.constructor === Request]; },
  headersArguments: () => [5, null, "s", [["a"]], [["a", "b", "c"]], [[]]].map((init) => thrown(() => new Headers(init))),
  headersMethods: () => { const h = new Headers({ a: "1" }); return [thrown(() => h.get("a b")), thrown(() => h.has("a b")), thrown(() => h.append("a b", "c")), thrown(() => h.delete("a b")), thrown(() => h.append("x", "a\rb")), h.getAll("SET-COOKIE"), thrown(() => h.getAll())]; },
  headersSubclass: () => { class Own extends Headers { more() { return this.get("a"); } } const h = new Own({ a: "1" }); return [h.more(), h instanceof Headers]; },
  headersImmutable: (request) => [thrown(() => request.headers.set("a b", "1")), thrown(() => request.headers.append("a", "x\ny")), thrown(() => request.headers.delete("nothere"))],
  readTwice: async () => { const seen = []; for (const m of ["text", "json", "arrayBuffer", "bytes", "blob", "formData"]) { const r = new Response("1"); await r.text(); seen.push((await caught(() => r[m]()))[1]); } return seen; },
  readNull: async () => { const r = new Response(null); return [await r.text(), await r.text(), r.bodyUsed]; },
  readReleased: async () => { const r = new Response("x"); r.body.getReader().releaseLock(); return [r.bodyUsed, await r.text()]; },
  readPartly: async () => { const r = new Response("x"); const reader = r.body.getReader(); await reader.read(); const locked = await caught(() => r.text()); reader.releaseLock(); return [locked, await caught(() => r.text()), r.bodyUsed]; },
  readNoBytes: async () => [await caught(() => new Response(stream(5)).json()), await caught(() => new Response(stream({})).arrayBuffer()), await caught(() => new Response(stream(utf8("a"), "b")).bytes())],
  readJsonBom: () => new Response("\ufeff[1]").json(),
  readForm: async () => [await caught(() => new Response(utf8("x")).formData()), await caught(() => new Response("x", { headers: { "content-type": "multipart/form-data" } }).formData())],
  bodyIsByob: async () => { const reader = new Response("abcdef").body.getReader({ mode: "byob" }); return [await reader.readAtLeast(3, new Uint8Array(4)), await reader.readAtLeast(3, new Uint8Array(4)), await reader.readAtLeast(3, new Uint8Array(4))]; },
  readAtLeastBad: async () => { const reader = new Response("a").body.getReader({ mode: "byob" }); return [await caught(() => reader.readAtLeast(0, new Uint8Array(1))), await caught(() => reader.readAtLeast(5, new Uint8Array(1)))]; },
  bodyOfBody: async () => { const a = new Response("b", { headers: { k: "v" } }); const b = new Response(a.body, a); return [b.headers.get("k"), b.headers.get("content-type"), await b.text()]; },
  bodyShared: async () => { const bytes = utf8("abc"); const a = new Response(bytes); const b = a.clone(); const first = await a.body.getReader().read(); return [first.value, await b.text(), bytes]; },
  bodyUnusable: async () => { const s = stream("a"); s.getReader(); const t = stream("a"); const r = t.getReader(); await r.read(); r.releaseLock(); return [thrown(() => post(s)), thrown(() => post(t)), thrown(() => new Response(s)), thrown(() => new Response(t))]; },
  json: async () => [await Response.json(undefined).text(), await Response.json(() => 1).text(), Response.json(undefined).headers.get("content-type"), thrown(() => Response.json()), thrown(() => Response.json(1n))],
  redirect: () => [thrown(() => Response.redirect("http://x/", "302").status), thrown(() => Response.redirect()), thrown(() => Response.redirect("http://x/", 304)), thrown(() => Response.redirect(new URL("http://x/")).headers.get("location")), thrown(() => Response.redirect("http://x/").headers.set("a", "b"))],
  clone: async () => { const a = post("b"); await a.text(); const b = new Response("x"); b.body.getReader(); return [thrown(() => a.clone()), thrown(() => b.clone())]; },
  readOnly: (request) => ["method", "headers", "cf", "signal", "body", "bodyUsed", "nope"].map((key) => thrown(() => { request[key] = 1; })),
  readOnlyResponse: () => ["status", "headers", "ok", "url", "type"].map((key) => thrown(() => { new Response("x")[key] = 1; })),
  fetch: async () => [await caught(() => fetch("http://x/", { redirect: "nope" })), await caught(() => fetch("http://x/", 5)), await caught(() => fetch(5)), await caught(() => fetch("http://x/", { method: "HEAD", body: "x" }))],
  stubFetch: async (request, stub) => [await caught(() => stub.fetch()), await caught(() => stub.fetch("/x")), await caught(() => stub.fetch("http://x/", { method: "A B" }))],
  lengths: async (request, stub) => { const seen = []; for (const init of [{ method: "POST" }, { body: "" }, { body: "ü" }, { body: utf8("abc") }, { body: new Blob(["abcd"]) }, { body: new Response("abc").body }, { body: "abc", headers: { "content-length": "7" } }]) seen.push((await (await stub.fetch("http://x/headers", { method: "POST", ...init })).json()).find(([name]) => name === "content-length")?.[1] ?? null); return seen; },
  decoder: () => [thrown(() => new TextDecoder(null)), thrown(() => new TextDecoderStream("nope")), thrown(() => new TextDecoder(" utf8 ").encoding)],
  base64: () => [thrown(() => atob("a")), thrown(() => atob()), thrown(() => btoa())].map((e) => e.slice(0, 2)),
  url: () => { class Own extends URL {} return [thrown(() => new URL("http://")), new Own("http://x") instanceof URL, URL.parse("http://x") instanceof URL, URL.length]; },
  clones: () => { const b = new ArrayBuffer(4); const copy = structuredClone({ v: new Uint8Array(b) }, { transfer: [b] }); return [copy, b.byteLength, thrown(() => structuredClone(1, 5)), thrown(() => structuredClone(1, { transfer: 5 })), thrown(() => structuredClone(1, { transfer: [5] }))]; },
  listeners: () => [5, null, undefined, {}, "s"].map((listener) => thrown(() => new EventTarget().addEventListener("x", listener))),
  dates: () => { class Own extends Date {} return [new Date(0).constructor === Date, new Own(5).getTime(), typeof Date(), Date.length, Date.name, Date.UTC(2000, 0), Date.parse("1970-01-01"), new Date(2020, 1).getMonth(), Math.abs(new Date() - Date.now()) < 1000]; },
  digests: async () => [await caught(() => crypto.subtle.digest({ name: "md5" }, utf8("abc"))), (await caught(() => crypto.subtle.digest("nope", utf8("abc")))).slice(0, 2), thrown(() => new crypto.DigestStream("nope")).slice(0, 2), thrown(() => new crypto.DigestStream())],
  identity: async () => { const seen = []; for (const chunk of ["text", new ArrayBuffer(1), new DataView(new ArrayBuffer(1))]) { const { readable, writable } = new IdentityTransformStream(); const writer = writable.getWriter(); const all = new Response(readable).arrayBuffer(); await writer.write(chunk); await writer.close(); seen.push(await all); } return seen; },
  tracing: (request, stub, ctx) => [ctx.tracing.enterSpan("a", (span, x) => [x, span.isTraced, span.setAttribute("k", 1) === span], 5), thrown(() => ctx.tracing.enterSpan("a"))],
};
export default {
  fetch(request, env, ctx) {
    if (request.url.endsWith("/headers")) return Response.json([...request.headers]);
    return answer(probes, request, ctx.exports.default, ctx);
  },
};
