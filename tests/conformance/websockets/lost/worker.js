// The other end is in an object or facet that vanishes: aborts, deleted facets, throwing handlers.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, show, thrown, wait } from "./probe.js";

const UPGRADE = { headers: { Upgrade: "websocket" } };
/** Waits until `test()` holds, at most two seconds, and a little longer for what should not come. */
const until = async (test) => { for (let i = 0; i < 400 && !test(); i++) await wait(5); await wait(10); };
/** Notes what a socket hears, but for an error after a clean close (see websockets/close). */
function listen(socket, heard = []) {
  let clean = false;
  socket.addEventListener("message", (event) => { heard.push(["message", show(event.data)]); });
  socket.addEventListener("close", (event) => { clean = event.wasClean; heard.push(["close", event.code, event.reason, event.wasClean]); });
  socket.addEventListener("error", (event) => { if (!clean) heard.push(["error", event.message, show(event.error)]); });
  return heard;
}
const hasClosed = (heard) => heard.some(([type]) => type === "close");

/** Answers every request with a socket that does what it is told; below /facet/ its facet answers. */
export class Obj extends DurableObject {
  heard = [];
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/facet/")) return this.facet("f").fetch(new Request("http://f" + pathname.slice(6), request));
    const [client, server] = Object.values(new WebSocketPair());
    if (pathname !== "/unaccepted") server.accept();
    listen(server, this.heard);
    server.addEventListener("message", ({ data }) => this.told(server, data));
    return new Response(null, { status: 101, webSocket: client });
  }
  told(server, data) {
    if (data === "abort") this.ctx.abort("told to");
    else if (data === "abort error") this.ctx.abort(new RangeError("told to"));
    else if (data === "last words") { server.send("last"); this.ctx.abort("told to"); }
    else if (data === "close and abort") { server.close(4000, "bye"); this.ctx.abort("told to"); }
    else if (data === "throw") throw new RangeError("in handler");
    else if (data === "reject") return Promise.reject(new RangeError("in handler"));
    else if (data === "gate") this.ctx.blockConcurrencyWhile(() => { throw new RangeError("in gate"); });
    else server.send(`echo ${data}`);
  }
  facet(name) { return this.ctx.facets.get(name, () => ({ class: this.ctx.exports.Obj })); }
  facetDo(method, ...args) { return this.ctx.facets[method](...args); }
  startFacet(name) { return this.facet(name).memory(); }
  wipe() { return this.ctx.storage.deleteAll(); }
  abort() { this.ctx.abort("by call"); }
  memory() { return (this.count = (this.count ?? 0) + 1); }
  async report(count) { await until(() => this.heard.length >= count); return this.heard; }
  /** Opens a socket to another object, talks to it, and keeps it. */
  async dial(name) {
    const { webSocket } = await this.env.OBJ.getByName(name).fetch("http://o/", UPGRADE);
    this.dialled = webSocket;
    webSocket.accept();
    const heard = listen(webSocket);
    webSocket.send("hello");
    await until(() => heard.length);
  }
}
async function connect(target, path = "/") {
  const { webSocket: socket } = await target.fetch("http://o" + path, UPGRADE);
  socket.accept();
  const states = [];
  socket.addEventListener("close", () => { states.push(socket.readyState); });
  return { socket, heard: listen(socket), states };
}
/** Says something to a new socket and shows what is heard: `count` events, one by default. */
async function say(target, text, path, count = 1) {
  const { socket, heard } = await connect(target, path);
  socket.send(text);
  await until(() => heard.length >= count);
  return heard;
}
let made = 0;
const fresh = (env) => { const name = `object ${made++}`; return { name, stub: env.OBJ.getByName(name) }; };
/** Does something to a new object while a socket to it, or to a facet of it, is open. */
async function during(env, path, act, goes = true) {
  const { stub } = fresh(env);
  const { socket, heard } = await connect(stub, path);
  socket.send("hello");
  await until(() => heard.length);
  const result = await caught(() => act(stub, socket));
  if (goes) await until(() => hasClosed(heard)); else await wait(30);
  return [result, ...heard.slice(1)];
}
const probes = {
  echo: (env) => say(fresh(env).stub, "hi"),
  abort: (env) => say(fresh(env).stub, "abort"),
  abortError: (env) => say(fresh(env).stub, "abort error"),
  abortByCall: (env) => during(env, "/", (stub) => stub.abort()),
  abortAfterSend: (env) => say(fresh(env).stub, "last words"),
  abortAfterClose: (env) => say(fresh(env).stub, "close and abort"),
  abortAfterClosed: (env) => during(env, "/", async (stub, socket) => { socket.close(3000); await until(() => socket.readyState === 3); return caught(() => stub.abort()); }),
  abortUnaccepted: async (env) => { const { stub } = fresh(env); const { socket, heard } = await connect(stub, "/unaccepted"); await wait(10); await caught(() => stub.abort()); await until(() => hasClosed(heard)); return heard; },
  abortUnacceptedWithMessage: async (env) => { const { stub } = fresh(env); const { socket, heard } = await connect(stub, "/unaccepted"); socket.send("waiting"); await wait(10); await caught(() => stub.abort()); await until(() => hasClosed(heard)); return heard; },
  abortTakesAll: async (env) => { const { stub } = fresh(env); const one = await connect(stub); const two = await connect(stub); one.socket.send("abort"); await until(() => hasClosed(one.heard) && hasClosed(two.heard)); return [one.heard, two.heard]; },
  gateThrows: (env) => say(fresh(env).stub, "gate"),
  statesAtLoss: async (env) => { const { stub } = fresh(env); const { socket, heard, states } = await connect(stub); socket.send("abort"); await until(() => hasClosed(heard)); return [states, socket.readyState]; },
  usedAfterLoss: (env) => during(env, "/", async (stub, socket) => { await caught(() => stub.abort()); await wait(20); return [thrown(() => socket.send("x")), thrown(() => socket.close(3000)), thrown(() => socket.send("y"))]; }),
  usedInLossHandler: (env) => during(env, "/", async (stub, socket) => { let result; socket.addEventListener("close", () => { result = [thrown(() => socket.send("x")), thrown(() => socket.close(3000, "bye"))]; }); await caught(() => stub.abort()); await until(() => result); return result; }),
  newObjectAfterAbort: async (env) => { const { stub, name } = fresh(env); await stub.memory(); await say(stub, "abort"); return [await env.OBJ.getByName(name).memory(), await say(env.OBJ.getByName(name), "again")]; },
  throwInHandler: async (env) => { const { stub } = fresh(env); await stub.memory(); return [await say(stub, "throw"), await stub.memory(), await stub.report(2)]; },
  rejectInHandler: async (env) => { const { stub } = fresh(env); const { socket, heard } = await connect(stub); socket.send("reject"); socket.send("still"); await until(() => heard.length); return heard; },
  throwLeavesOthers: async (env) => { const { stub } = fresh(env); const one = await connect(stub); const two = await connect(stub); one.socket.send("throw"); await until(() => one.heard.length); two.socket.send("hi"); await until(() => two.heard.length); return [one.heard, two.heard]; },

  facetEcho: (env) => say(fresh(env).stub, "hi", "/facet/"),
  facetAborted: (env) => during(env, "/facet/", (stub) => stub.facetDo("abort", "f", new RangeError("by parent"))),
  facetAbortedUndefined: (env) => during(env, "/facet/", (stub) => stub.facetDo("abort", "f", undefined)),
  facetDeleted: (env) => during(env, "/facet/", (stub) => stub.facetDo("delete", "f")),
  facetClonedOver: (env) => during(env, "/facet/", async (stub) => { await stub.startFacet("other"); await stub.facetDo("clone", "other", "f"); }),
  facetIsCloned: (env) => during(env, "/facet/", (stub) => stub.facetDo("clone", "f", "copy"), false),
  facetOfDeletedAll: (env) => during(env, "/facet/", (stub) => stub.wipe()),
  facetAbortsItself: (env) => say(fresh(env).stub, "abort", "/facet/"),
  facetThrows: (env) => say(fresh(env).stub, "throw", "/facet/"),
  facetParentAborts: (env) => during(env, "/facet/", (stub) => stub.abort()),
  facetGrandparentAborts: (env) => during(env, "/facet/facet/", (stub) => stub.facetDo("abort", "f", "by grandparent")),
  otherFacetAborted: (env) => during(env, "/facet/", async (stub) => { await stub.startFacet("other"); await stub.facetDo("abort", "other", "x"); }, false),
  objectWithDeletedAll: (env) => during(env, "/", (stub) => stub.wipe(), false),

  callerObjectAborts: async (env) => { const { stub, name } = fresh(env); const { stub: caller } = fresh(env); await caller.dial(name); await caught(() => caller.abort()); return stub.report(2); },
};
export default { fetch: (request, env) => answer(probes, env) };
