// What later compatibility dates changed: binary messages, the reply to a close, the length of reasons.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, show, thrown, wait } from "./probe.js";

const LOST = "Uncaught Error: Network connection lost.";
const pair = () => Object.values(new WebSocketPair());
/** Waits until `test()` holds, at most two seconds, and a little longer for what should not come. */
const until = async (test) => { for (let i = 0; i < 400 && !test(); i++) await wait(5); await wait(10); };
/** Notes what a socket hears; LOST after a clean close is left out (see websockets/close). */
function listen(socket, heard = []) {
  let clean = false;
  socket.addEventListener("message", (event) => { heard.push(["message", show(event.data)]); });
  socket.addEventListener("close", (event) => { clean = event.wasClean; heard.push(["close", event.code, event.reason, event.wasClean, ...(clean ? [socket.readyState] : [])]); });
  socket.addEventListener("error", (event) => { if (!clean || event.message !== LOST) heard.push(["error", event.message]); });
  return heard;
}
/** Two accepted ends, what each hears, and `end`, which waits until `test` holds and tells it all. */
function open(options) {
  const [a, b] = pair();
  for (const socket of [a, b]) socket.accept(options);
  const heard = { a: listen(a), b: listen(b) };
  const bothClosed = () => a.readyState === 3 && b.readyState === 3;
  return { a, b, heard, end: async (test = bothClosed) => { await until(test); return { a: [...heard.a], b: [...heard.b], states: [a.readyState, b.readyState] }; } };
}
const lengths = async (reason) => { const { a, heard } = open(); const result = thrown(() => a.close(4000, reason)); await until(() => heard.b.length || Array.isArray(result)); return [result, heard.b.map(([type, code, text]) => [type, code, text.length])]; };
async function connect(env, name, path = "") {
  const { webSocket: socket } = await env.OBJ.getByName(name).fetch(`http://o/${path}`, { headers: { Upgrade: "websocket" } });
  socket.accept();
  return { socket, heard: listen(socket) };
}
const probes = {
  binaryDefault: async () => { const { a, b, heard, end } = open(); a.send(new Uint8Array([1, 2])); return [b.binaryType, await end(() => heard.b.length)]; },
  binaryBlob: async () => { const { a, b, heard } = open(); const seen = []; b.binaryType = "blob"; b.addEventListener("message", (e) => { seen.push(e.data instanceof Blob); }); a.send(new Uint8Array([1])); await until(() => seen.length); return [b.binaryType, seen]; },
  binaryInvalid: () => { const [a] = pair(); return [thrown(() => { a.binaryType = "x"; }), a.binaryType]; },
  text: async () => { const { a, heard, end } = open(); a.send("t"); return end(() => heard.b.length); },
  reason123: () => lengths("x".repeat(123)),
  reason124: () => lengths("x".repeat(124)),
  reason5000: () => lengths("x".repeat(5000)),
  close: async () => { const { a, heard, end } = open(); a.close(4000, "first"); return end(() => heard.b.length); },
  closeNoCode: async () => { const { a, heard, end } = open(); a.close(); return end(() => heard.b.length); },
  replyLater: async () => { const { a, b, heard, end } = open(); a.close(4000, "first"); const before = await end(() => heard.b.length); b.close(4001, "second"); return [before.states, await end()]; },
  replyInHandler: async () => { const { a, b, end } = open(); b.addEventListener("close", () => { b.close(4001, "second"); }); a.close(4000, "first"); return end(); },
  echoInHandler: async () => { const { a, b, end } = open(); b.addEventListener("close", (e) => { b.close(e.code, e.reason); }); a.close(4000, "first"); return end(); },
  replyWithoutCode: async () => { const { a, b, end } = open(); b.addEventListener("close", () => { b.close(); }); a.close(4000, "first"); return end(); },
  replyTwice: async () => { const { a, b, end } = open(); b.addEventListener("close", () => { b.close(4001); b.close(4002); }); a.close(4000, "first"); return end(); },
  sendAfterOtherClosed: async () => { const { a, b, heard, end } = open(); a.close(4000); await until(() => heard.b.length); const sent = thrown(() => b.send("still")); b.close(4001); return [sent, await end()]; },
  sendAfterOwnClose: () => { const { a } = open(); a.close(4000); return thrown(() => a.send("x")); },
  sendAfterBothClosed: async () => { const { a, b, heard, end } = open(); a.close(4000); await until(() => heard.b.length); b.close(4001); await end(); return [thrown(() => a.send("x")), thrown(() => b.send("x"))]; },
  closeFromBoth: async () => { const { a, b, end } = open(); a.close(4001, "a"); b.close(4002, "b"); return end(); },
  halfOpenFalse: async () => { const { a, heard, end } = open({ allowHalfOpen: false }); a.close(4000, "first"); return end(() => heard.b.length); },
  halfOpenTrue: async () => { const { a, heard, end } = open({ allowHalfOpen: true }); a.close(4000, "first"); return end(() => heard.b.length); },
  throwInMessage: async () => { const { a, b, heard, end } = open(); b.addEventListener("message", () => { throw new RangeError("in handler"); }); a.send("bad"); const { states, ...rest } = await end(() => heard.a.length && heard.b.length > 1); return rest; },
  object: async (env) => { const { socket, heard } = await connect(env, "silent"); socket.close(4000, "first"); return [await env.OBJ.getByName("silent").report(), heard, socket.readyState]; },
  objectReplies: async (env) => { const { socket, heard } = await connect(env, "replies", "reply"); socket.close(4000, "first"); await until(() => heard.length); return [await env.OBJ.getByName("replies").report(), heard, socket.readyState]; },
  objectCloses: async (env) => { const { socket, heard } = await connect(env, "closes"); await env.OBJ.getByName("closes").close(4002, "enough"); await until(() => heard.length); const before = [...heard, socket.readyState]; socket.close(4003, "fine"); return [before, await env.OBJ.getByName("closes").report(), socket.readyState]; },
  objectAborts: async (env) => { const { heard } = await connect(env, "aborts"); await caught(() => env.OBJ.getByName("aborts").abort()); await until(() => heard.length); return heard; },
};
export class Obj extends DurableObject {
  fetch(request) {
    const [client, server] = pair();
    server.accept();
    this.server = server;
    this.heard = listen(server);
    if (request.url.endsWith("/reply")) server.addEventListener("close", () => { server.close(4001, "second"); });
    return new Response(null, { status: 101, webSocket: client });
  }
  async report() { await until(() => this.heard.length); return [this.heard, this.server.readyState]; }
  close(...args) { this.server.close(...args); }
  abort() { this.ctx.abort("x"); }
}
export default { fetch: (request, env) => answer(probes, env) };
