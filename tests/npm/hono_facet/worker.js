import { DurableObject } from "cloudflare:workers";
import appModule from "./app.js.txt";
// Made by prepare.mjs: module name -> source text of the package's own, unmodified files.
import packageModules from "./packages.json";

export class Supervisor extends DurableObject {
  fetch(request) {
    const facet = this.ctx.facets.get("notes", () => {
      const worker = this.env.LOADER.get("notes-v1", () => ({
        compatibilityDate: "2026-09-01",
        mainModule: "app.js",
        modules: { "app.js": appModule, ...packageModules },
        globalOutbound: null,
      }));
      return { class: worker.getDurableObjectClass("App") };
    });
    return facet.fetch(request);
  }
}

export default {
  fetch: (request, env) => env.SUPERVISOR.getByName("main").fetch(request),
};
