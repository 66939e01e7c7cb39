// The house that hostile tests bring their code to: a supervisor that runs whatever class it is given as a facet,
// and keeps a neighbour who does nothing wrong.
//
//   POST /facet   {facet?, id?, module | body, limits?, args?, method?}: runs a facet; {ok} or {error}
//   POST /worker  the same code as a stateless loaded worker
//   POST /abort, /delete  {facet}
//   GET /supervisor, /neighbour   counters in their own databases: "still here, nothing lost"
import { DurableObject } from "cloudflare:workers";

const PREFIX = 'import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";\n';
const asClass = (body) => `${PREFIX}export class App extends DurableObject { async run(arg) {\n${body}\n} }`;
const asWorker = (body) => `${PREFIX}export default class extends WorkerEntrypoint { async run(arg) {\n${body}\n} }`;
const NEIGHBOUR = asClass(`const n = (this.ctx.storage.kv.get("n") ?? 0) + 1; this.ctx.storage.kv.put("n", n); return n;`);

const codeOf = (text, { limits, outbound }) => ({
  compatibilityDate: "2026-09-01",
  mainModule: "app.js",
  modules: typeof text === "string" ? { "app.js": text } : text,
  ...(limits && { limits }),
  ...(outbound === "inherit" ? {} : { globalOutbound: null }),
});

async function settled(promise) {
  try {
    const ok = await promise;
    return { ok: ok === undefined ? null : ok };
  } catch (e) {
    const { name, message, code, limit, used, remote, durableObjectReset } = Object(e);
    return { error: { name, message, code, limit, used, remote, durableObjectReset, isError: e instanceof Error } };
  }
}

export class Supervisor extends DurableObject {
  #facet(ask) {
    return this.ctx.facets.get(ask.facet ?? "hostile", () => {
      const text = ask.module ?? asClass(ask.body);
      const worker = ask.id ? this.env.LOADER.get(ask.id, () => codeOf(text, ask)) : this.env.LOADER.load(codeOf(text, ask));
      return { class: worker.getDurableObjectClass(ask.class ?? "App") };
    });
  }

  count() {
    const n = (this.ctx.storage.kv.get("n") ?? 0) + 1;
    this.ctx.storage.kv.put("n", n);
    return n;
  }

  neighbour() {
    return this.ctx.facets.get("neighbour", () => {
      const worker = this.env.LOADER.get("neighbour", () => codeOf(NEIGHBOUR, {}));
      return { class: worker.getDurableObjectClass("App") };
    }).run();
  }

  run(ask) {
    return settled((async () => this.#facet(ask)[ask.method ?? "run"](...(ask.args ?? [])))());
  }

  abort({ facet }) {
    this.ctx.facets.abort(facet ?? "hostile", new Error("aborted by the test"));
  }

  delete({ facet }) {
    this.ctx.facets.delete(facet ?? "hostile");
  }
}

async function worker(env, ask) {
  const text = ask.module ?? asWorker(ask.body);
  const load = () => (ask.id ? env.LOADER.get(ask.id, () => codeOf(text, ask)) : env.LOADER.load(codeOf(text, ask)));
  return settled((async () => load().getEntrypoint()[ask.method ?? "run"](...(ask.args ?? [])))());
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const supervisor = env.SUPERVISOR.getByName("main");
    if (pathname === "/ping") return new Response("pong");
    if (pathname === "/supervisor") return Response.json(await supervisor.count());
    if (pathname === "/neighbour") return Response.json(await supervisor.neighbour());
    const ask = await request.json();
    if (pathname === "/facet") return Response.json(await supervisor.run(ask));
    if (pathname === "/worker") return Response.json(await worker(env, ask));
    if (pathname === "/abort") return Response.json((await supervisor.abort(ask)) ?? null);
    if (pathname === "/delete") return Response.json((await supervisor.delete(ask)) ?? null);
    return new Response("no such route", { status: 404 });
  },
};
