import { DurableObject } from "cloudflare:workers";
// Made by bundle.mjs: the app with drizzle-orm in it.
import app from "./app.js.txt";

export class Supervisor extends DurableObject {
  run(step) {
    const facet = this.ctx.facets.get("library", () => {
      const worker = this.env.LOADER.get("library-v1", () => ({
        compatibilityDate: "2026-09-01",
        mainModule: "app.js",
        modules: { "app.js": app },
        globalOutbound: null,
      }));
      return { class: worker.getDurableObjectClass("Library") };
    });
    return facet[step]();
  }
}

export default {
  async fetch(request, env) {
    const step = new URL(request.url).pathname.slice(1);
    return Response.json(await env.SUPERVISOR.getByName("main").run(step));
  },
};
