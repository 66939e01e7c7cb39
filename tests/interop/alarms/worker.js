// An alarm set by one program fires in the other.
import { DurableObject } from "cloudflare:workers";

/** Tells one process from another. */
let process;
const here = () => (process ??= crypto.randomUUID());

export class Log extends DurableObject {
  add(entry) { this.ctx.storage.kv.put("entry", entry); }
  get() { return this.ctx.storage.kv.get("entry") ?? null; }
}
export class Keeper extends DurableObject {
  async alarm(info) { await this.env.LOG.getByName("log").add({ name: this.ctx.id.name, process: here(), scheduled: info.scheduledTime, retryCount: info.retryCount }); }
  async set(at) { await this.ctx.storage.setAlarm(at); return this.ctx.storage.getAlarm(); }
  get() { return this.ctx.storage.getAlarm(); }
}
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/write") {
      const scheduled = await env.KEEPER.getByName("soon").set(Date.now() + 4000);
      await env.KEEPER.getByName("far").set(4_000_000_000_000);
      return Response.json({ process: here(), scheduled });
    }
    // Nobody asks the keeper before its alarm has woken it.
    const log = env.LOG.getByName("log");
    for (let i = 0; i < 1500 && (await log.get()) === null; i++) await scheduler.wait(20);
    return Response.json({ fired: await log.get(), here: here(), far: await env.KEEPER.getByName("far").get() });
  },
};
