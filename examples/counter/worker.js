import { DurableObject } from "cloudflare:workers";

/** One named counter. Its value lives in the object's own database and survives restarts. */
export class Counter extends DurableObject {
  /** Adds `amount` and returns the new value. The answer leaves only once the write is durable. */
  add(amount) {
    const value = this.value() + amount;
    this.ctx.storage.kv.put("value", value);
    return value;
  }

  value() {
    return this.ctx.storage.kv.get("value") ?? 0;
  }
}

export default {
  /** `GET /NAME` reads the counter NAME, `POST /NAME` adds one. */
  async fetch(request, env) {
    const name = new URL(request.url).pathname.slice(1) || "default";
    const counter = env.COUNTER.getByName(name);
    switch (request.method) {
      case "GET":
        return Response.json({ name, value: await counter.value() });
      case "POST":
        return Response.json({ name, value: await counter.add(1) });
      default:
        return new Response("Use GET or POST.\n", { status: 405, headers: { allow: "GET, POST" } });
    }
  },
};
