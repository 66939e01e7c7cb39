// Does a little of everything with stubs, streams, facets and loaded code, and often does not clean up. See soak.rs.
//
//   POST /run {seed, calls}   so many random calls; {done: {kind: how often}, failed: {text: how often}}
//   GET /keep                 an object keeps one stub
//   GET /end                  throws all objects out of memory, with what they keep
import { DurableObject, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";

const OBJECTS = 6;
const KEPT_MAX = 20;
const HANG_MS = 40_000;

/** mulberry32 */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

class Counter extends RpcTarget {
  n = 0;
  add(by) {
    return (this.n += by);
  }
  get value() {
    return this.n;
  }
  another() {
    return new Counter();
  }
  [Symbol.dispose]() {
    this.n = -1;
  }
}

const LOADED = `import { WorkerEntrypoint, RpcTarget, DurableObject } from "cloudflare:workers";
class Counter extends RpcTarget { n = 0; add(by) { return (this.n += by); } }
export default class extends WorkerEntrypoint {
  counter() { return new Counter(); }
  call(f, n) { return f(n); }
  slow() { return new Promise(() => setTimeout(() => {}, 1e6)); }
}
export class App extends DurableObject {
  kept = [];
  count() { const n = (this.ctx.storage.kv.get("n") ?? 0) + 1; this.ctx.storage.kv.put("n", n); return n; }
  keep(stub) { this.kept.push(stub.dup()); }
  counter() { return new Counter(); }
}`;

const code = () => ({ compatibilityDate: "2026-09-01", mainModule: "app.js", modules: { "app.js": LOADED }, globalOutbound: null });

/** What an object and an entry point can both be asked. */
const METHODS = {
  echo: (value) => value,
  counter: () => new Counter(),
  call: (f, n) => f(n),
  shape: (f) => ({ f, twice: [f, f], plain: { n: 1 } }),
  stream: (chunks) => {
    let left = chunks;
    return new ReadableStream({
      type: "bytes",
      pull(controller) {
        if (left-- > 0) controller.enqueue(new Uint8Array(1000));
        else controller.close();
      },
    });
  },
  fail: (code) => {
    throw Object.assign(new RangeError("as asked"), { code, cause: new Error("deeper") });
  },
  slow: (ms) => new Promise((resolve) => setTimeout(() => resolve(ms), ms)),
  never: () => new Promise(() => setTimeout(() => {}, 1e6)),
};

export class Entry extends WorkerEntrypoint {
  fetch(request) {
    return new Response(request.body ?? "x".repeat(5000));
  }
}
export class Obj extends DurableObject {
  #kept = [];
  keep(stub) {
    this.#kept.push(stub.dup());
    if (this.#kept.length > KEPT_MAX) this.#kept.shift()[Symbol.dispose]();
  }
  forget() {
    for (const stub of this.#kept.splice(0)) stub[Symbol.dispose]();
  }
  store(n) {
    this.ctx.storage.kv.put("n", n);
    return this.ctx.storage.sql.exec("SELECT count(*) AS n FROM sqlite_master").one().n;
  }
  abort() {
    this.ctx.abort("as asked");
  }
  #facet(name, own) {
    return this.ctx.facets.get(name, () => ({
      class: own ? this.ctx.exports.Obj : this.env.LOADER.get("shared", code).getDurableObjectClass("App"),
    }));
  }
  async facet(name, what, own) {
    const facet = this.#facet(name, own);
    if (what === "count") return own ? facet.store(1) : facet.count();
    if (what === "keep") return facet.keep(new Counter());
    if (what === "stub") return (await facet.counter()).add(1);
    if (what === "abort") return this.ctx.facets.abort(name, new Error("as asked"));
    return this.ctx.facets.delete(name);
  }
  fetch(request) {
    if (request.headers.get("upgrade") !== "websocket") return new Response(request.body ?? METHODS.stream(20));
    const [client, server] = Object.values(new WebSocketPair());
    server.accept();
    server.addEventListener("message", ({ data }) => server.send(data));
    return new Response(null, { status: 101, webSocket: client });
  }
}
for (const Class of [Entry, Obj]) {
  for (const name of Object.keys(METHODS)) Object.defineProperty(Class.prototype, name, { value: METHODS[name] });
}

/** Each does one thing with `to`, a stub. `r`: a random number below 1; what is not awaited is meant not to be. */
const ACTIONS = {
  echo: (to) => to.echo({ a: [1, new Map([["k", new Set([1])]])], at: new Date(0) }),
  callback: (to) => to.call((n) => n + 1, 1),
  callbackThrows: (to) =>
    to.call(() => {
      throw new Error("as asked");
    }).catch(() => {}),
  disposed: async (to) => {
    using counter = await to.counter();
    await counter.add(1);
  },
  leaked: async (to) => {
    const counter = await to.counter();
    await counter.add(1);
  },
  duplicated: async (to) => {
    const counter = await to.counter();
    const second = counter.dup();
    counter[Symbol.dispose]();
    await second.add(1);
  },
  chained: async (to) => {
    const counter = await to.counter();
    const another = await counter.another();
    await another.value;
  },
  pipelined: (to) => to.counter().add(1),
  notAwaited: (to) => {
    to.counter().catch(() => {});
    to.never().catch(() => {});
  },
  passed: async (to) => {
    const counter = await to.counter();
    const back = await to.shape(counter);
    await back.twice[1].add(1);
    back[Symbol.dispose]();
  },
  targetPassed: async (to) => {
    const back = await to.shape(new Counter());
    await back.f.add(1);
  },
  refused: async (to) => {
    await to.echo([() => 1, new Counter(), Symbol("s")]).catch(() => {});
    await to.echo([new Counter(), new Response("x"), new WeakMap()]).catch(() => {});
  },
  failed: (to) => to.fail(7).catch((error) => error.cause),
  streamHalf: async (to) => {
    const reader = (await to.stream(20)).getReader();
    await reader.read();
    await reader.cancel();
  },
  streamLeft: async (to) => {
    const reader = (await to.stream(20)).getReader();
    await reader.read();
  },
  streamWhole: async (to) => void (await new Response(await to.stream(3)).arrayBuffer()),
  streamSent: async (to) => void (await to.echo(METHODS.stream(5))).cancel().catch(() => {}),
  fetched: async (to) => void (await (await to.fetch("http://x/")).text()),
  fetchedHalf: async (to) => void (await (await to.fetch("http://x/")).body.getReader().read()),
  fetchedNot: async (to) => void (await to.fetch("http://x/", { method: "POST", body: "y".repeat(100) })),
  timer: () => void setTimeout(() => {}, 1e6),
};
/** The same for objects alone. */
const OBJECT_ACTIONS = {
  kept: (to) => to.keep(new Counter()),
  functionKept: (to) => to.keep(() => 1),
  forgotten: (to) => to.forget(),
  stored: (to) => to.store(1),
  reset: (to) => to.abort().catch(() => {}),
  resetInFlight: async (to) => {
    const calls = [to.never(), to.slow(50), to.counter()].map((call) => call.catch(() => {}));
    await to.abort().catch(() => {});
    await Promise.all(calls);
  },
  facet: (to) => to.facet("a", "count"),
  ownFacet: (to) => to.facet("own", "count", true),
  facetKeeps: (to) => to.facet("b", "keep"),
  facetStub: (to) => to.facet("b", "stub"),
  facetAborted: (to) => to.facet("b", "abort"),
  facetDeleted: (to) => to.facet("c", "delete"),
  socket: async (to) => {
    const { webSocket } = await to.fetch("http://x/", { headers: { upgrade: "websocket" } });
    webSocket.accept();
    webSocket.send("hi");
    webSocket.close(1000, "bye");
  },
  socketLeft: async (to) => {
    const { webSocket } = await to.fetch("http://x/", { headers: { upgrade: "websocket" } });
    webSocket.accept();
    webSocket.send("hi");
  },
  socketNotAccepted: (to) => to.fetch("http://x/", { headers: { upgrade: "websocket" } }),
};
const LOADED_ACTIONS = {
  called: (to) => to.call((n) => n + 1, 1),
  leaked: async (to) => void (await (await to.counter()).add(1)),
  notAwaited: (to) => void to.slow().catch(() => {}),
};

/** Ends of these are other people's doing. */
const EXPECTED = /as asked|cut off|Network connection lost|disposed|no longer running|aborted|reset|context of one/;

async function run({ seed, calls }, env, ctx) {
  const r = random(seed);
  const pick = (list) => list[Math.floor(r() * list.length)];
  const done = {};
  const failed = {};
  const kinds = [
    [5, () => [ctx.exports.Entry, ACTIONS]],
    [10, () => [env.OBJ.getByName(`o${Math.floor(r() * OBJECTS)}`), ACTIONS]],
    [5, () => [env.OBJ.getByName(`o${Math.floor(r() * OBJECTS)}`), OBJECT_ACTIONS]],
    [0.03, () => [env.LOADER.load(code()).getEntrypoint(), LOADED_ACTIONS]],
    [0.2, () => [env.LOADER.get("shared", code).getEntrypoint(), LOADED_ACTIONS]],
  ];
  // Nothing here takes long: who hangs is named.
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("hangs")), HANG_MS)));
  late.catch(() => {});
  const total = kinds.reduce((sum, [weight]) => sum + weight, 0);
  for (let left = calls; left > 0; left--) {
    let at = r() * total;
    const [to, actions] = kinds.find(([weight]) => (at -= weight) < 0)[1]();
    const name = pick(Object.keys(actions));
    try {
      await Promise.race([actions[name](to), late]);
      done[name] = (done[name] ?? 0) + 1;
    } catch (error) {
      if (EXPECTED.test(error?.message)) continue;
      const text = `${name}: ${error?.name}: ${error?.message}`;
      failed[text] = (failed[text] ?? 0) + 1;
      if (error?.message === "hangs") break;
    }
  }
  clearTimeout(timer);
  return { done, failed };
}

export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname === "/run") return Response.json(await run(await request.json(), env, ctx));
    // One stub of something here, in an object.
    if (pathname === "/keep") return Response.json((await env.OBJ.getByName("o0").keep(new Counter())) ?? null);
    for (let at = 0; at < OBJECTS; at++) await env.OBJ.getByName(`o${at}`).abort().catch(() => {});
    return new Response("ended");
  },
};
