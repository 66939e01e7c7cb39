// Sockets and the context they belong to: lives as long as its open sockets, gates, other requests may not use them.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, show, thrown, wait } from "./probe.js";

const UPGRADE = { headers: { Upgrade: "websocket" } };
const pair = () => Object.values(new WebSocketPair());
/** Waits until `test()` holds, at most two seconds, and a little longer for what should not come. */
const until = async (test) => { for (let i = 0; i < 400 && !test(); i++) await wait(5); await wait(10); };
function listen(socket, heard = []) {
  socket.addEventListener("message", ({ data }) => { heard.push(show(data)); });
  socket.addEventListener("close", (e) => { heard.push(["close", e.code, e.reason, e.wasClean]); });
  return heard;
}
const first = (e) => (Array.isArray(e) ? [e[0], String(e[1]).split(". ")[0]] : e);
const kept = {};

export class Entry extends WorkerEntrypoint {
  fetch(request) {
    const { pathname } = new URL(request.url);
    const [client, server] = pair();
    server.accept();
    if (pathname === "/timer") setTimeout(() => server.send("later"), 20);
    if (pathname === "/waitUntil") this.ctx.waitUntil(wait(20).then(() => server.send("later")));
    if (pathname === "/rejects") this.ctx.waitUntil(Promise.reject(new Error("nobody")));
    if (pathname === "/timer-throws") setTimeout(() => { server.send("throwing"); throw new RangeError("in timer"); }, 5);
    server.addEventListener("message", async ({ data }) => {
      if (data === "fetch") server.send(await this.env.OBJ.getByName("counter").count());
      else if (data === "keep") { kept.server = server; server.send("kept"); }
      else server.send(`echo ${data}`);
    });
    return new Response(null, { status: 101, webSocket: client });
  }
  /** Opens a socket to an object, talks to it or never accepts it, and returns. */
  async dial(name, accept) {
    const { webSocket } = await this.env.OBJ.getByName(name).fetch("http://o/", UPGRADE);
    if (!accept) return;
    webSocket.accept();
    const heard = listen(webSocket);
    webSocket.send("hello");
    await until(() => heard.length);
  }
  useKept() { return [thrown(() => kept.server.send("x")), thrown(() => kept.server.readyState)].map(first); }
}
export class Obj extends DurableObject {
  seen = [];
  fetch() {
    const [client, server] = pair();
    server.accept();
    this.server = server;
    this.heard = listen(server);
    server.addEventListener("message", async ({ data }) => {
      this.seen.push(`heard ${data}`);
      if (data === "hello") server.send("hello back");
      if (data === "block") await this.ctx.blockConcurrencyWhile(async () => { this.seen.push("blocked"); server.send("blocked"); await wait(50); this.seen.push("unblocked"); });
      if (data === "write") { await this.ctx.storage.put("written", this.seen.length); server.send("written"); }
    });
    return new Response(null, { status: 101, webSocket: client });
  }
  count() { return (this.n = (this.n ?? 0) + 1); }
  send(text) { this.server.send(text); return this.server.readyState; }
  async report(count) { await until(() => this.heard.length >= count); return this.heard; }
  async order(count) { await until(() => this.seen.length >= count); return this.seen; }
  written() { return this.ctx.storage.get("written"); }
  keep() { kept.ofObject = pair()[0]; kept.ofObject.accept(); }
  useKept() { return first(thrown(() => kept.ofObject.send("x"))); }
}
async function connect(target, path = "") {
  const { webSocket: socket } = await target.fetch(`http://o/${path}`, UPGRADE);
  socket.accept();
  return { socket, heard: listen(socket) };
}
/** What is heard after saying each of `texts`, waiting for an answer every time. */
async function say(target, path, ...texts) {
  const { socket, heard } = await connect(target, path);
  for (const [at, text] of texts.entries()) { socket.send(text); await until(() => heard.length > at); }
  if (!texts.length) await until(() => heard.length);
  return heard;
}
const probes = {
  echoAfterReturn: (env, ctx) => say(ctx.exports.Entry, "", "hi", "again"),
  callAfterReturn: (env, ctx) => say(ctx.exports.Entry, "", "fetch", "fetch"),
  timerAfterReturn: (env, ctx) => say(ctx.exports.Entry, "timer"),
  waitUntil: (env, ctx) => say(ctx.exports.Entry, "waitUntil"),
  waitUntilRejects: (env, ctx) => say(ctx.exports.Entry, "rejects", "hi"),
  timerThrows: async (env, ctx) => { const { socket, heard } = await connect(ctx.exports.Entry, "timer-throws"); await until(() => heard.length); socket.send("hi"); await until(() => heard.length > 1); return heard; },
  callerReturns: async (env, ctx) => { await ctx.exports.Entry.dial("returns", true); await wait(30); return env.OBJ.getByName("returns").report(1); },
  callerNeverAccepts: async (env, ctx) => { await ctx.exports.Entry.dial("never", false); return env.OBJ.getByName("never").report(1); },
  objectKeepsSocket: async (env) => { const o = env.OBJ.getByName("keeps"); const { heard } = await connect(o); const state = await o.send("from a later call"); await until(() => heard.length); return [state, heard]; },
  messagesWaitForGate: async (env) => { const o = env.OBJ.getByName("gate"); const { socket, heard } = await connect(o); socket.send("block"); await until(() => heard.length); socket.send("next"); return o.order(4); },
  writtenBeforeHeard: async (env) => { const o = env.OBJ.getByName("write"); const { socket, heard } = await connect(o); socket.send("write"); await until(() => heard.length); return [heard, await o.written()]; },
  otherObject: async (env) => { await env.OBJ.getByName("one").keep(); return [await env.OBJ.getByName("one").useKept(), await env.OBJ.getByName("two").useKept()]; },
  otherEntry: async (env, ctx) => { const heard = await say(ctx.exports.Entry, "", "keep"); return [heard, await ctx.exports.Entry.useKept()]; },
};
const foreign = {
  accept: () => thrown(() => kept.raw.accept()),
  send: () => thrown(() => kept.open.send("x")),
  sendUnaccepted: () => thrown(() => kept.raw.send("x")),
  close: () => thrown(() => kept.open.close()),
  closeBadCode: () => thrown(() => kept.open.close(999)),
  readyState: () => thrown(() => kept.open.readyState),
  bufferedAmount: () => thrown(() => kept.open.bufferedAmount),
  binaryType: () => thrown(() => kept.open.binaryType),
  strings: () => thrown(() => [kept.open.url, kept.open.protocol, kept.open.extensions]),
  addEventListener: () => thrown(() => kept.open.addEventListener("message", () => {})),
  serializeAttachment: () => thrown(() => kept.open.serializeAttachment(1)),
  deserializeAttachment: () => thrown(() => kept.open.deserializeAttachment()),
  intoResponse: () => thrown(() => new Response(null, { status: 101, webSocket: kept.raw }).status),
  pairIndex: () => thrown(() => kept.pair[0] instanceof WebSocket),
  responseWebSocket: () => thrown(() => kept.response.webSocket instanceof WebSocket),
};
export default {
  fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname === "/keep") {
      const [open, other] = pair();
      for (const socket of [open, other]) socket.accept();
      Object.assign(kept, { open, other, raw: pair()[0], pair: new WebSocketPair(), response: new Response(null, { status: 101, webSocket: pair()[0] }) });
      return new Response("kept");
    }
    if (pathname === "/foreign") return answer(Object.fromEntries(Object.entries(foreign).map(([name, probe]) => [name, () => first(probe())])));
    return answer(probes, env, ctx);
  },
};
