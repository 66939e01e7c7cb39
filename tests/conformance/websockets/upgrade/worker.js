// The upgrade request and its answer: entrypoints, objects, facets, loaded workers; headers, methods, other answers.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, show, thrown, wait } from "./probe.js";

const UPGRADE = { headers: { Upgrade: "websocket" } };
/** Waits until `test()` holds, at most two seconds, and a little longer for what should not come. */
const until = async (test) => { for (let i = 0; i < 400 && !test(); i++) await wait(5); await wait(10); };

/** Answers with an echoing socket that first says what the request was like; some paths answer otherwise. */
async function serve(request, name) {
  const { pathname } = new URL(request.url);
  if (pathname === "/plain") return new Response(`plain ${name} ${request.method} ${await request.text()}`, { status: 404 });
  if (pathname === "/throw") throw new RangeError(`thrown by ${name}`);
  if (pathname === "/redirect") return new Response(null, { status: 302, headers: { location: "http://e/" } });
  const [client, server] = Object.values(new WebSocketPair());
  server.accept();
  server.binaryType = "arraybuffer";
  server.send(JSON.stringify([name, request.method, request.url, [...request.headers], request.body === null]));
  server.addEventListener("message", ({ data }) => { server.send(typeof data === "string" ? `${name} echoes ${data}` : data); });
  const headers = { "x-name": name };
  if (pathname === "/protocol") headers["Sec-WebSocket-Protocol"] = "b";
  if (pathname === "/extensions") headers["Sec-WebSocket-Extensions"] = "x";
  return new Response(null, { status: 101, webSocket: client, headers });
}
export class Entry extends WorkerEntrypoint { fetch(request) { return serve(request, `entry${this.ctx.props?.n ?? ""}`); } }
export class Facet extends DurableObject { fetch(request) { return serve(request, "facet"); } }
export class Obj extends DurableObject {
  fetch(request) {
    if (!request.url.includes("/facet")) return serve(request, "object");
    return this.ctx.facets.get("f", () => ({ class: this.ctx.exports.Facet })).fetch(new Request(request.url.replace("/facet", ""), request));
  }
}
const LOADED = `
  import { DurableObject } from "cloudflare:workers";
  const serve = () => { const [client, server] = Object.values(new WebSocketPair()); server.accept(); server.send("[]"); server.addEventListener("message", ({ data }) => { server.send("loaded echoes " + data); }); return new Response(null, { status: 101, webSocket: client, headers: { "x-name": "loaded" } }); };
  export default { fetch: (request, env) => new URL(request.url).pathname === "/pass" ? env.PASS.fetch(request) : serve() };
  export class App extends DurableObject { fetch() { return serve(); } }
`;
const load = (env, ctx) => env.LOADER.load({ compatibilityDate: "2026-09-01", mainModule: "m.js", modules: { "m.js": LOADED }, env: { PASS: ctx.exports.Entry({ props: { n: 2 } }) } });
export class LoadingObj extends DurableObject {
  fetch(request) { return this.ctx.facets.get("app", () => ({ class: load(this.env, this.ctx).getDurableObjectClass("App") })).fetch(request); }
}
/** The answer to an upgrade: status, headers, what the socket says, and the close that answers ours. */
async function talk(fetching) {
  const r = await fetching;
  const s = r.webSocket;
  if (!s) return [r.status, s, await r.text()];
  const seen = [];
  s.addEventListener("message", ({ data }) => { seen.push(data.startsWith("[") ? JSON.parse(data) : data); });
  s.addEventListener("close", ({ code, reason, wasClean }) => { seen.push([code, reason, wasClean]); });
  s.accept();
  s.send("hi");
  await until(() => seen.length === 2);
  s.close(4000, "bye");
  await until(() => s.readyState === 3);
  return [r.status, [...r.headers], s.protocol, s.extensions, ...seen];
}
/** What comes back when `values` are sent to the echo of `target`. */
async function echoes(target, values, shown) {
  const s = (await target.fetch("http://e/", UPGRADE)).webSocket;
  const seen = [];
  s.binaryType = "arraybuffer";
  s.addEventListener("message", ({ data }) => { seen.push(shown(data)); });
  s.accept();
  for (const value of values) s.send(value);
  await until(() => seen.length > values.length);
  return seen.slice(1);
}
const entry = (ctx, path, init = UPGRADE) => caught(() => talk(ctx.exports.Entry.fetch(`http://e/${path}`, init)));
const object = (env, path, init = UPGRADE) => caught(() => talk(env.OBJ.getByName("o").fetch(`http://o/${path}`, init)));
const asked = (protocols, more) => ({ headers: { Upgrade: "websocket", "Sec-WebSocket-Protocol": protocols, ...more } });
const UPGRADE_VALUES = { upgradeMixedCase: "WebSocket", upgradeUpperCase: "WEBSOCKET", upgradeSpaces: " websocket ", upgradeListFirst: "websocket, h2c", upgradeListLast: "h2c, websocket", upgradeOther: "h2c", upgradeEmpty: "" };
const probes = {
  entry: (env, ctx) => entry(ctx, ""),
  entryWithProps: (env, ctx) => talk(ctx.exports.Entry({ props: { n: 1 } }).fetch("http://e/", UPGRADE)),
  object: (env) => object(env, ""),
  facet: (env) => object(env, "facet"),
  service: (env) => talk(env.SELF.fetch("http://s/", UPGRADE)),
  loaded: (env, ctx) => talk(load(env, ctx).getEntrypoint().fetch("http://l/", UPGRADE)),
  loadedForwards: (env, ctx) => talk(load(env, ctx).getEntrypoint().fetch("http://l/pass", UPGRADE)),
  loadedFacet: (env) => talk(env.LOADING.getByName("o").fetch("http://l/", UPGRADE)),
  objectEchoes: (env) => echoes(env.OBJ.getByName("o"), ["text", "", new Uint8Array([1, 2]), new ArrayBuffer(0), "last"], show),
  objectEchoesLarge: (env) => echoes(env.OBJ.getByName("o"), ["x".repeat(1 << 20), new Uint8Array(1 << 20)], (data) => data.length ?? data.byteLength),
  objectEchoesMany: async (env) => (await echoes(env.OBJ.getByName("o"), Array.from({ length: 300 }, (_, at) => at), show)).every((text, at) => text === `object echoes ${at}`),

  noUpgradeEntry: (env, ctx) => entry(ctx, "", {}),
  noUpgradeObject: (env) => object(env, "", {}),
  noUpgradeFacet: (env) => object(env, "facet", {}),
  noUpgradeLoaded: (env, ctx) => caught(() => talk(load(env, ctx).getEntrypoint().fetch("http://l/"))),
  plainAnswer: (env, ctx) => entry(ctx, "plain"),
  plainAnswerObject: (env) => object(env, "plain"),
  throws: (env, ctx) => entry(ctx, "throw"),
  throwsObject: (env) => object(env, "throw"),
  redirects: (env, ctx) => entry(ctx, "redirect"),
  redirectManual: (env, ctx) => entry(ctx, "redirect", { ...UPGRADE, redirect: "manual" }),

  ...Object.fromEntries(Object.entries(UPGRADE_VALUES).map(([name, value]) => [name, (env, ctx) => entry(ctx, "", { headers: { Upgrade: value } })])),
  withRequest: (env, ctx) => caught(() => talk(ctx.exports.Entry.fetch(new Request("http://e/", UPGRADE)))),
  withRequestOfRequest: (env, ctx) => caught(() => talk(ctx.exports.Entry.fetch(new Request("http://e/", new Request("http://x/", UPGRADE))))),
  handshakeHeaders: (env, ctx) => entry(ctx, "", { headers: { Upgrade: "websocket", Connection: "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" } }),
  ownHeaders: (env, ctx) => entry(ctx, "", { headers: { Upgrade: "websocket", "x-a": "1", Cookie: "c=1" } }),
  https: (env, ctx) => caught(() => talk(ctx.exports.Entry.fetch("https://e/", UPGRADE))),
  ws: (env, ctx) => caught(() => ctx.exports.Entry.fetch("ws://e/", UPGRADE)),
  wssObject: (env) => caught(() => env.OBJ.getByName("o").fetch("wss://e/", UPGRADE)),
  post: (env, ctx) => entry(ctx, "", { ...UPGRADE, method: "POST" }),
  postBody: (env, ctx) => entry(ctx, "", { ...UPGRADE, method: "POST", body: "body" }),
  postBodyPlainAnswer: (env, ctx) => entry(ctx, "plain", { ...UPGRADE, method: "POST", body: "body" }),
  postBodyOtherUpgrade: (env, ctx) => entry(ctx, "plain", { headers: { Upgrade: "h2c" }, method: "POST", body: "body" }),
  head: (env, ctx) => entry(ctx, "", { ...UPGRADE, method: "HEAD" }),
  protocol: (env, ctx) => entry(ctx, "protocol", asked("a, b")),
  protocolUnasked: (env, ctx) => entry(ctx, "protocol"),
  protocolUnanswered: (env, ctx) => entry(ctx, "", asked("a, b")),
  protocolObject: (env) => object(env, "protocol", asked("a, b")),
  protocolFacet: (env) => object(env, "facet/protocol", asked("a, b")),
  extensions: (env, ctx) => entry(ctx, "extensions", { headers: { Upgrade: "websocket", "Sec-WebSocket-Extensions": "permessage-deflate" } }),
  abortedBefore: async (env, ctx) => (await entry(ctx, "", { ...UPGRADE, signal: AbortSignal.abort() })).slice(0, 2),
  abortedAfter: async (env, ctx) => { const c = new AbortController(); const r = await ctx.exports.Entry.fetch("http://e/", { ...UPGRADE, signal: c.signal }); const s = r.webSocket; const seen = []; for (const type of ["message", "close", "error"]) s.addEventListener(type, (e) => { seen.push(type === "close" ? [type, e.code, e.reason, e.wasClean] : type === "error" ? [type, e.message, show(e.error)] : type); }); s.accept(); await until(() => seen.length); c.abort(); await until(() => seen.length > 1); return seen; },
};
export default {
  fetch(request, env, ctx) {
    if (request.headers.get("upgrade")) return serve(request, "default");
    if (new URL(request.url).pathname === "/101") return serve(new Request("http://d/"), "default");
    return answer(probes, env, ctx);
  },
};
