// Objects and facets with alarms. What an alarm does is stored with it; each run leaves an entry in the
// one Log, so that a test can see what woke up without waking anything itself.
import { DurableObject } from "cloudflare:workers";

export class Log extends DurableObject {
  add(entry) {
    const n = this.ctx.storage.kv.get("n") ?? 0;
    this.ctx.storage.kv.put("n", n + 1);
    this.ctx.storage.kv.put(`e${n}`, entry);
  }
  all() { return Array.from({ length: this.ctx.storage.kv.get("n") ?? 0 }, (_, n) => this.ctx.storage.kv.get(`e${n}`)); }
}

class Alarmed extends DurableObject {
  async alarm({ retryCount, isRetry, scheduledTime }) {
    const kv = this.ctx.storage.kv;
    const log = this.env.LOGGER ?? this.env.LOG.getByName("log");
    const now = Date.now();
    const doing = kv.get("doing");
    await log.add({ who: this.ctx.props.who ?? "root", name: this.ctx.id.name ?? null, retryCount, isRetry, early: now < scheduledTime, now });
    if (doing === "throw" || (doing === "throw once" && retryCount === 0)) throw new Error("the alarm fails");
    if (doing === "again") await this.ctx.storage.setAlarm(Date.now());
    if (doing === "loop") for (;;) {}
    if (doing === "hang") await new Promise(() => {});
  }
  async set(inMs, doing) {
    this.ctx.storage.kv.put("doing", doing ?? "nothing");
    await this.ctx.storage.setAlarm(Date.now() + inMs);
    return String(this.ctx.id);
  }
  delete() { return this.ctx.storage.deleteAlarm(); }
  get() { return this.ctx.storage.getAlarm(); }
}

/** Facets of this worker; may have facets of its own. */
export class Child extends Alarmed {
  #below(name) { return { class: this.ctx.exports.Child({ props: { who: `${this.ctx.props.who}/${name}` } }) }; }
  facetAlarm(name) { return this.#below(name); }
  below([name, ...rest], method, ...args) {
    const facet = this.ctx.facets.get(name, () => this.#below(name));
    return rest.length > 0 ? facet.below(rest, method, ...args) : facet[method](...args);
  }
}

const LOADED = `import { DurableObject } from "cloudflare:workers"; ${Alarmed}; export { Alarmed as App };`;

class Parent extends Alarmed {
  options(name) {
    const how = this.ctx.storage.kv.get(`how ${name}`);
    if (how === undefined) return undefined;
    if (how.fails) throw new Error("the supervisor fails");
    const props = { who: name };
    if (!how.limits) return { class: this.ctx.exports.Child({ props }) };
    const worker = this.env.LOADER.get(name, () => ({
      compatibilityDate: "2026-09-01", mainModule: "a.js", modules: { "a.js": how.broken ? "this is no code" : LOADED }, globalOutbound: null,
      env: { LOGGER: this.env.LOG.getByName("log") }, limits: how.limits,
    }));
    return { class: worker.getDurableObjectClass("App", { props }) };
  }
  how(name, how) { if (how === null) this.ctx.storage.kv.delete(`how ${name}`); else this.ctx.storage.kv.put(`how ${name}`, how); }
  facet(name) { return this.ctx.facets.get(name, () => this.options(name)); }
  call([name, ...rest], method, ...args) {
    const facet = this.facet(name);
    return rest.length > 0 ? facet.below(rest, method, ...args) : facet[method](...args);
  }
  deleteFacet(name) { this.ctx.facets.delete(name); }
  clone(from, to) { this.ctx.facets.clone(from, to); }
  deleteAll() { return this.ctx.storage.deleteAll(); }
}

/** Asked by facetd when the alarm of a facet is due. */
export class Supervisor extends Parent {
  async facetAlarm(name) {
    await this.env.LOG.getByName("log").add({ who: `asked for ${name}` });
    return this.options(name);
  }
}
/** Says in its constructor how its facets are started. */
export class Registers extends Parent {
  constructor(ctx, env) { super(ctx, env); this.facet("registered"); }
}
/** Says nothing. */
export class Silent extends Parent {}

/** Sets an alarm where nobody can check that it has a handler: in its constructor. */
export class NoHandler extends DurableObject {
  constructor(ctx, env) { super(ctx, env); ctx.storage.setAlarm(Date.now()); }
  get() { return this.ctx.storage.getAlarm(); }
}

export default {
  async fetch(request, env) {
    const [, namespace, name, method] = new URL(request.url).pathname.split("/");
    const args = request.method === "POST" ? await request.json() : [];
    try {
      return Response.json((await env[namespace].getByName(name)[method](...args)) ?? null);
    } catch (error) {
      return Response.json({ error: error.message }, { status: 500 });
    }
  },
};
