// An upgrade answered by one context and passed on by others: unchanged, rebuilt, spliced, not at all.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, show, wait } from "./probe.js";

const UPGRADE = { headers: { Upgrade: "websocket" } };
const pair = () => Object.values(new WebSocketPair());
/** Waits until `test()` holds, at most two seconds, and a little longer for what should not come. */
const until = async (test) => { for (let i = 0; i < 400 && !test(); i++) await wait(5); await wait(10); };
/** Notes messages and closes; errors after a clean close are left out (see websockets/close). */
function listen(socket, heard = []) {
  let clean = false;
  socket.addEventListener("message", ({ data }) => { heard.push(show(data)); });
  socket.addEventListener("close", (e) => { clean = e.wasClean; heard.push(["close", e.code, e.reason, e.wasClean]); });
  socket.addEventListener("error", (e) => { if (!clean) heard.push(["error", e.message]); });
  return heard;
}

/** Answers with an echoing socket; a facet of it does when the path says so. Remembers what it heard. */
export class Obj extends DurableObject {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/facet") return this.facet().fetch(new Request("http://facet/", request));
    if (pathname === "/facet/spliced") return spliced(this.facet().fetch(new Request("http://facet/", request)));
    const [client, server] = pair();
    server.accept();
    this.heard = listen(server);
    server.addEventListener("message", ({ data }) => {
      if (data === "close") server.close(4001, "from object");
      else if (data === "abort") this.ctx.abort("told to");
      else server.send(`${this.name()} echoes ${data}`);
    });
    return new Response(null, { status: 101, webSocket: client, headers: { "x-from": this.name() } });
  }
  name() { return "object"; }
  facet() { return this.ctx.facets.get("f", () => ({ class: this.ctx.exports.Facet })); }
  async report(count) { await until(() => this.heard.length >= count); return this.heard; }
  facetReport(count) { return this.facet().report(count); }
  abort() { this.ctx.abort("by call"); }
}
export class Facet extends Obj { name() { return "facet"; } }
/** Stands between: accepts the answer's socket and one of its own and passes messages and closes on. */
async function spliced(fetching) {
  const { webSocket: inner } = await fetching;
  const [client, outer] = pair();
  for (const socket of [inner, outer]) { socket.accept(); socket.binaryType = "arraybuffer"; }
  for (const [from, to] of [[inner, outer], [outer, inner]]) {
    from.addEventListener("message", ({ data }) => { to.send(data); });
    from.addEventListener("close", ({ code, reason }) => { to.close(code === 1006 ? 1011 : code, reason); });
  }
  return new Response(null, { status: 101, webSocket: client });
}
export class Between extends WorkerEntrypoint {
  async fetch(request) {
    const { hostname, pathname } = new URL(request.url);
    const how = pathname.slice(1);
    const target = this.env.OBJ.getByName(hostname);
    if (how === "facet" || how === "facet/spliced") return target.fetch(request);
    if (how === "twice") return this.ctx.exports.Between.fetch(new Request(`http://${hostname}/unchanged`, request));
    if (how === "spliced-twice") return spliced(this.ctx.exports.Between.fetch(new Request(`http://${hostname}/spliced`, request)));
    const fetching = target.fetch(new Request("http://o/", request));
    if (how === "spliced") return spliced(fetching);
    const response = await fetching;
    const { webSocket } = response;
    if (how === "rebuilt") return new Response(null, { status: 101, webSocket, headers: { "x-between": "1" } });
    if (how === "copied") return new Response(null, response);
    if (how === "copied-changed") { const copy = new Response(null, response); copy.headers.set("x-between", "1"); return copy; }
    if (how === "accepted") { webSocket.accept(); return response; }
    if (how === "closed") { webSocket.accept(); webSocket.close(3000, "not wanted"); return new Response("closed it"); }
    if (how === "dropped") return new Response("dropped it");
    return response;
  }
}
let made = 0;
/** Talks through `Between` to a new object: status, headers, what is heard at both ends. */
async function talk(env, ctx, how, say, inside = "report", told = 2) {
  const name = `object-${made++}`;
  const r = await ctx.exports.Between.fetch(`http://${name}/${how}`, UPGRADE);
  const heard = r.webSocket ? listen(r.webSocket) : await r.text();
  const closed = () => heard.some((item) => item[0] === "close");
  if (r.webSocket) {
    r.webSocket.accept();
    r.webSocket.send("hi");
    await until(() => heard.length);
    if (say === "call abort") await caught(() => env.OBJ.getByName(name).abort());
    else if (say) r.webSocket.send(say);
    else r.webSocket.close(4000, "bye");
    await until(closed);
  }
  return [r.status, [...r.headers], heard, told ? await env.OBJ.getByName(name)[inside](told) : "?"];
}
const probes = {
  unchanged: (env, ctx) => talk(env, ctx, "unchanged"),
  twice: (env, ctx) => talk(env, ctx, "twice"),
  rebuilt: (env, ctx) => talk(env, ctx, "rebuilt"),
  copied: (env, ctx) => talk(env, ctx, "copied"),
  copiedAndChanged: (env, ctx) => talk(env, ctx, "copied-changed"),
  facet: (env, ctx) => talk(env, ctx, "facet", undefined, "facetReport"),
  spliced: (env, ctx) => talk(env, ctx, "spliced"),
  splicedTwice: (env, ctx) => talk(env, ctx, "spliced-twice"),
  splicedByParent: (env, ctx) => talk(env, ctx, "facet/spliced", undefined, "facetReport"),

  closedByObject: (env, ctx) => talk(env, ctx, "unchanged", "close", "report", 3),
  closedByFacet: (env, ctx) => talk(env, ctx, "facet", "close", "facetReport", 3),
  closedByObjectSpliced: (env, ctx) => talk(env, ctx, "spliced", "close", "report", 3),
  aborted: (env, ctx) => talk(env, ctx, "unchanged", "abort", "", 0),
  abortedFacet: (env, ctx) => talk(env, ctx, "facet", "abort", "", 0),
  abortedParent: (env, ctx) => talk(env, ctx, "facet", "call abort", "", 0),
  abortedSpliced: (env, ctx) => talk(env, ctx, "spliced", "abort", "", 0),

  accepted: async (env, ctx) => { const r = await ctx.exports.Between.fetch("http://accepted/accepted", UPGRADE); const heard = listen(r.webSocket); r.webSocket.accept(); await until(() => heard.length); return [r.status, heard]; },
  closedBetween: (env, ctx) => talk(env, ctx, "closed", undefined, "report", 1),
  droppedBetween: (env, ctx) => talk(env, ctx, "dropped", undefined, "report", 1),
};
export default { fetch: (request, env, ctx) => answer(probes, env, ctx) };
