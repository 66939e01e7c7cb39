// Alarms in facets.
import { DurableObject } from "cloudflare:workers";
import { answer, wait } from "./probe.js";

const FAR = 4_000_000_000_000;
export class Child extends DurableObject {
  set(at) { return this.ctx.storage.setAlarm(at); }
  get() { return this.ctx.storage.getAlarm(); }
  async alarm(info) { this.ctx.storage.kv.put("fired", { fired: (this.ctx.storage.kv.get("fired")?.fired ?? 0) + 1, during: await this.ctx.storage.getAlarm(), scheduled: typeof info.scheduledTime === "number" }); }
  async fired() { for (let i = 0; i < 500 && !this.ctx.storage.kv.get("fired"); i++) await wait(10); return this.ctx.storage.kv.get("fired") ?? null; }
}
export class Parent extends DurableObject {
  facet(name) { return this.ctx.facets.get(name, () => ({ class: this.ctx.exports.Child })); }
  async call(name, method, ...args) { return this.facet(name)[method](...args); }
  remove(name) { this.ctx.facets.delete(name); }
  ownAlarm() { return this.ctx.storage.getAlarm(); }
  setOverdue() { return this.facet("overdue").set(Date.now() + 700); }
}
const probes = {
  setAndGet: async (s) => { await s("one").call("f", "set", FAR); return s("one").call("f", "get"); },
  fires: async (s) => { await s("two").call("f", "set", Date.now() + 20); return s("two").call("f", "fired"); },
  parentsAlarmIsItsOwn: async (s) => { await s("three").call("f", "set", FAR); return [await s("three").ownAlarm(), await s("three").call("f", "get")]; },
  twoFacets: async (s) => { await s("four").call("a", "set", Date.now() + 20); await s("four").call("b", "set", Date.now() + 30); return [(await s("four").call("a", "fired")).fired, (await s("four").call("b", "fired")).fired]; },
  goneAfterDelete: async (s) => { await s("five").call("f", "set", FAR); await s("five").remove("f"); return s("five").call("f", "get"); },
};
export default {
  async fetch(request, env) {
    const s = (name) => env.PARENT.getByName(name);
    const { pathname } = new URL(request.url);
    if (pathname === "/overdue") { await s("late").setOverdue(); return new Response("set"); }
    if (pathname === "/after") return Response.json({ fired: (await s("late").call("overdue", "fired")).fired });
    return answer(probes, s);
  },
};
