// Responses that carry a WebSocket: what can be built, read, copied, returned, sent elsewhere.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, thrown, wait } from "./probe.js";

const UPGRADE = { headers: { Upgrade: "websocket" } };
const pair = () => Object.values(new WebSocketPair());
/** Waits until `test()` holds, at most two seconds, and a little longer for what should not come. */
const until = async (test) => { for (let i = 0; i < 400 && !test(); i++) await wait(5); await wait(10); };
const build = (init, body = null) => thrown(() => { const r = new Response(body, init); return [r.status, r.webSocket instanceof WebSocket]; });
const upgrade = (socket = pair()[0], more = {}) => new Response(null, { status: 101, webSocket: socket, ...more });

/** What the handler does with its pair before it answers; `server` is accepted and echoes. */
const answers = {
  ordinary: (client) => upgrade(client),
  acceptedBefore: (client) => { client.accept(); return upgrade(client); },
  acceptedAfter: (client) => { const r = upgrade(client); client.accept(); return r; },
  builtTwice: (client) => { upgrade(client); return upgrade(client); },
  closedServer: (client, server) => { server.close(3000, "at once"); return upgrade(client); },
  sentBefore: (client, server) => { server.send("1"); server.send("2"); return upgrade(client); },
  copied: (client) => new Response(null, upgrade(client)),
  copiedWithHeaders: (client) => { const r = upgrade(client); return new Response(r.body, { status: r.status, headers: { "x-new": "1" }, webSocket: r.webSocket }); },
  statusText: (client) => upgrade(client, { statusText: "My Text", headers: { "x-a": "1" } }),
  headersAdded: (client) => { const r = upgrade(client); r.headers.set("x-late", "1"); r.headers.append("set-cookie", "a=1"); r.headers.append("set-cookie", "b=2"); return r; },
  emptyBody: (client) => new Response("", { status: 101, webSocket: client }),
  clientSocket: () => upgrade(new WebSocket("ws://127.0.0.1:1/")),
  later: async (client) => { await wait(10); return upgrade(client); },
};
export class Entry extends WorkerEntrypoint {
  fetch(request) {
    const [client, server] = pair();
    server.accept();
    server.addEventListener("message", ({ data }) => { server.send(`echo ${data}`); });
    return answers[new URL(request.url).pathname.slice(1)](client, server);
  }
  take(value) { return typeof value; }
  giveSocket() { return pair()[0]; }
  givePair() { return new WebSocketPair(); }
  giveResponse() { return upgrade(); }
}
/** Keeps the socket it answered with, and may answer with it again. */
export class Obj extends DurableObject {
  fetch(request) {
    if (!this.client || request.url.endsWith("/new")) {
      [this.client, this.server] = pair();
      this.server.accept();
      this.server.addEventListener("message", ({ data }) => { this.server.send(`echo ${data}`); });
    }
    return upgrade(this.client);
  }
  useReturned() { const s = this.client; return [thrown(() => s.accept()), thrown(() => s.send("x")), thrown(() => s.close()), thrown(() => s.readyState), thrown(() => upgrade(s).status)]; }
  async store() { const s = this.ctx.storage; return [await caught(() => s.put("a", pair()[0])), thrown(() => s.kv.put("a", pair()[0])), await caught(() => s.put("a", new WebSocketPair())), await caught(() => s.put("a", upgrade()))]; }
}
/** Talks to the answer's socket until an echo or a close comes. */
async function talk(r) {
  if (!r.webSocket) return [r.status, r.webSocket, await r.text()];
  const seen = [];
  r.webSocket.addEventListener("message", ({ data }) => { seen.push(data); });
  r.webSocket.addEventListener("close", (e) => { seen.push([e.code, e.reason]); });
  r.webSocket.accept();
  thrown(() => r.webSocket.send("hi"));
  await until(() => seen.some((item) => item === "echo hi" || Array.isArray(item)));
  return [r.status, r.statusText, [...r.headers], seen];
}
const ask = (ctx, how) => ctx.exports.Entry.fetch(`http://e/${how}`, UPGRADE);
const probes = {
  noSocket: () => build({ status: 101 }),
  noSocketBody: () => build({ status: 101 }, "text"),
  status200: () => build({ status: 200, webSocket: pair()[0] }),
  statusMissing: () => build({ webSocket: pair()[0] }),
  status204: () => build({ status: 204, webSocket: pair()[0] }),
  status100: () => build({ status: 100, webSocket: pair()[0] }),
  status600: () => build({ status: 600, webSocket: pair()[0] }),
  body: () => build({ status: 101, webSocket: pair()[0] }, "text"),
  bodyEmptyText: () => build({ status: 101, webSocket: pair()[0] }, ""),
  bodyUndefined: () => build({ status: 101, webSocket: pair()[0] }, undefined),
  bodyStream: () => build({ status: 101, webSocket: pair()[0] }, new Response("x").body),
  socketNull: () => build({ status: 101, webSocket: null }),
  socketNull200: () => build({ status: 200, webSocket: null }),
  socketUndefined: () => build({ status: 101, webSocket: undefined }),
  socketUndefined200: () => build({ status: 200, webSocket: undefined }),
  socketObject: () => build({ status: 101, webSocket: {} }),
  socketObject200: () => build({ status: 200, webSocket: {} }),
  socketNumber: () => build({ status: 101, webSocket: 5 }),
  socketPair: () => build({ status: 101, webSocket: new WebSocketPair() }),
  socketAccepted: () => { const [a] = pair(); a.accept(); return build({ status: 101, webSocket: a }); },
  socketOtherAccepted: () => { const [a, b] = pair(); b.accept(); return build({ status: 101, webSocket: a }); },
  socketTwice: () => { const [a] = pair(); return [build({ status: 101, webSocket: a }), build({ status: 101, webSocket: a })]; },
  socketBothEnds: () => pair().map((socket) => build({ status: 101, webSocket: socket })),
  socketClosed: () => { const [a] = pair(); a.accept(); a.close(); return build({ status: 101, webSocket: a }); },
  clientSocket: () => build({ status: 101, webSocket: new WebSocket("ws://127.0.0.1:1/") }),
  json: () => thrown(() => Response.json({}, { status: 101, webSocket: pair()[0] })),
  copyOfResponse: () => { const [a] = pair(); return thrown(() => { const r = new Response(null, upgrade(a)); return [r.status, r.webSocket === a]; }); },
  acceptAfterBuilding: () => { const [a] = pair(); upgrade(a); return thrown(() => a.accept()); },
  usedWithoutReturning: async () => { const [a, b] = pair(); const r = upgrade(a); r.webSocket.accept(); b.accept(); const seen = []; b.addEventListener("message", ({ data }) => { seen.push(data); }); a.send("x"); await until(() => seen.length); return seen; },
  getterIsSame: () => { const [a] = pair(); const r = upgrade(a); return [r.webSocket === a, r.webSocket === r.webSocket]; },
  getterOrdinary: () => [new Response("x").webSocket, Response.json({}).webSocket, Response.redirect("http://a/").webSocket, Response.error().webSocket],
  getterDescriptor: () => { const d = Object.getOwnPropertyDescriptor(Response.prototype, "webSocket"); return [typeof d.get, typeof d.set, d.enumerable, d.configurable]; },
  getterSet: () => { const r = new Response("x"); return [thrown(() => { r.webSocket = 5; }), r.webSocket]; },
  members: () => { const r = upgrade(); return [r.status, r.statusText, r.ok, r.body, r.bodyUsed, r.redirected, r.url, r.type, [...r.headers]]; },
  text: () => upgrade().text(),
  clone: () => thrown(() => upgrade().clone()),
  statusText: () => upgrade(undefined, { statusText: "My Text" }).statusText,

  ...Object.fromEntries(Object.keys(answers).map((how) => [`returned ${how}`, (ctx) => caught(async () => talk(await ask(ctx, how)))])),
  received: async (ctx) => { const r = await ask(ctx, "ordinary"); return [r.status, r.statusText, r.ok, r.body, r.bodyUsed, r.redirected, r.url, r.type, r.webSocket === r.webSocket, r.webSocket.constructor === WebSocket]; },
  receivedState: async (ctx) => { const s = (await ask(ctx, "ordinary")).webSocket; const state = () => [s.readyState, s.url, s.protocol, s.extensions, s.binaryType, s.bufferedAmount]; const before = state(); s.accept(); return [before, state()]; },
  receivedSendBeforeAccept: async (ctx) => { const r = await ask(ctx, "ordinary"); return thrown(() => r.webSocket.send("x")); },
  receivedCloseBeforeAccept: async (ctx) => { const r = await ask(ctx, "ordinary"); return thrown(() => r.webSocket.close()); },
  receivedClone: async (ctx) => { const r = await ask(ctx, "ordinary"); return thrown(() => r.clone()); },
  receivedHeaders: async (ctx) => { const r = await ask(ctx, "ordinary"); return thrown(() => r.headers.set("x-a", "1")); },
  receivedText: async (ctx) => (await ask(ctx, "ordinary")).text(),

  usedAfterReturn: async (ctx, env) => { const o = env.OBJ.getByName("used"); const r = await o.fetch("http://o/", UPGRADE); return [await o.useReturned(), await talk(r)]; },
  returnedAgain: async (ctx, env) => { const o = env.OBJ.getByName("again"); const one = await talk(await o.fetch("http://o/", UPGRADE)); return [one, await caught(async () => talk(await o.fetch("http://o/", UPGRADE)))]; },

  rpcTakesSocket: (ctx) => caught(() => ctx.exports.Entry.take(pair()[0])),
  rpcTakesPair: (ctx) => caught(() => ctx.exports.Entry.take(new WebSocketPair())),
  rpcTakesResponse: (ctx) => caught(() => ctx.exports.Entry.take(upgrade())),
  rpcGivesSocket: (ctx) => caught(() => ctx.exports.Entry.giveSocket()),
  rpcGivesPair: (ctx) => caught(() => ctx.exports.Entry.givePair()),
  rpcGivesResponse: (ctx) => caught(() => ctx.exports.Entry.giveResponse()),
  structuredClone: () => [pair()[0], new WebSocketPair(), upgrade()].map((value) => thrown(() => structuredClone(value))),
  stored: (ctx, env) => env.OBJ.getByName("o").store(),
};
export default { fetch: (request, env, ctx) => answer(probes, ctx, env) };
