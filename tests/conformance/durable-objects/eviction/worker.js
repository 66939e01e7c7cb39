// What keeps an idle object in memory: each is left alone for longer than an idle object stays.
// `memory()` counts the calls this instance has had: 1 again means that it was evicted.
import { DurableObject, RpcTarget } from "cloudflare:workers";
import { one, wait } from "./probe.js";

class Target extends RpcTarget { hello() { return "hello"; } }

export class Obj extends DurableObject {
  #calls = 0;
  memory() { this.ctx.storage.kv.put("n", this.stored() + 1); return ++this.#calls; }
  stored() { return this.ctx.storage.kv.get("n") ?? 0; }
  target() { return new Target(); }
  callback() { return () => "called"; }
  keep(callback) { this.kept = callback.dup(); }
  waitUntil() { this.ctx.waitUntil(wait(15_000)); }
  timer() { setTimeout(() => {}, 15_000); }
  interval() { setInterval(() => {}, 1_000); }
  slow() { return wait(15_000); }
  floating() { this.env.OBJ.getByName("called by floating").slow().catch(() => {}); }
  alarmLater() { return this.ctx.storage.setAlarm(Date.now() + 3_600_000); }
  alarm() {}
  fetch(request) {
    if (request.headers.get("upgrade") === null) {
      return new Response(new ReadableStream({ pull: async (c) => { c.enqueue(new Uint8Array(1 << 16)); await wait(100); } }));
    }
    const [client, server] = Object.values(new WebSocketPair());
    server.accept();
    server.addEventListener("message", ({ data }) => server.send(`${data} ${this.#calls}`));
    return new Response(null, { status: 101, webSocket: client });
  }
}

const keep = [];
const visits = {
  idle: () => {},
  nameless: () => {},
  target: async (s) => { keep.push(await s.target()); },
  callback: async (s) => { keep.push(await s.callback()); },
  disposedTarget: async (s) => { (await s.target())[Symbol.dispose](); },
  keepsCallback: (s) => s.keep(() => "mine"),
  waitUntil: (s) => s.waitUntil(),
  timer: (s) => s.timer(),
  interval: (s) => s.interval(),
  inFlight: (s) => { keep.push(s.slow()); },
  floating: (s) => s.floating(),
  alarm: (s) => s.alarmLater(),
  unreadBody: async (s) => { keep.push(await s.fetch("http://o/")); },
  socket: async (s) => {
    const { webSocket } = await s.fetch("http://o/", { headers: { upgrade: "websocket" } });
    webSocket.accept();
    keep.push(webSocket);
  },
  closedSocket: async (s) => {
    const { webSocket } = await s.fetch("http://o/", { headers: { upgrade: "websocket" } });
    webSocket.accept();
    webSocket.close();
  },
};

async function visit(env, name) {
  const stub = name === "nameless" ? env.OBJ.get(env.OBJ.newUniqueId()) : env.OBJ.getByName(name);
  const before = await stub.memory();
  await visits[name](stub);
  await wait(12_500);
  return [before, await stub.memory(), await stub.stored()];
}

export default {
  async fetch(request, env) {
    const names = Object.keys(visits);
    const results = await Promise.all(names.map((name) => one(() => visit(env, name))));
    return Response.json(Object.fromEntries(names.map((name, at) => [name, results[at]])));
  },
};
