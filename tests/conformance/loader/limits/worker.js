// Limits of loaded workers are enforced; a killed worker takes nobody with it.
import { WorkerEntrypoint } from "cloudflare:workers";
import { answer } from "./probe.js";

export class Outbound extends WorkerEntrypoint { fetch() { return new Response("ok"); } }
const MAIN = `export default {
  spin(x) { for (;;) {} },
  fine(x) { return "fine"; },
  async fetches(n) { const seen = []; for (let i = 0; i < n; i++) { try { seen.push(await (await fetch("http://out/")).text()); } catch (e) { seen.push(e.message); } } return seen; },
};`;
const code = (ctx, limits, text = MAIN) => ({ compatibilityDate: "2026-09-01", mainModule: "main.js", modules: { "main.js": text }, globalOutbound: ctx.exports.Outbound, ...(limits && { limits }) });
const messageOf = (promise) => promise.then((x) => x, (e) => e.message.split("\n")[0]);
const probes = {
  busyLoop: ({ LOADER }, ctx) => messageOf(LOADER.load(code(ctx, { cpuMs: 50 })).getEntrypoint().spin(1)),
  busyLoopInEntrypointOptions: ({ LOADER }, ctx) => messageOf(LOADER.load(code(ctx)).getEntrypoint(null, { limits: { cpuMs: 50 } }).spin(1)),
  neighbourUnharmed: async ({ LOADER }, ctx) => { const good = LOADER.load(code(ctx)).getEntrypoint(); await good.fine(1); await messageOf(LOADER.load(code(ctx, { cpuMs: 50 })).getEntrypoint().spin(1)); return good.fine(1); },
  reloadedAfterKill: async ({ LOADER }, ctx) => { const get = () => LOADER.get("killed", () => code(ctx, { cpuMs: 50 })).getEntrypoint(); await messageOf(get().spin(1)); return get().fine(1); },
  noSubRequests: async ({ LOADER }, ctx) => (await LOADER.load(code(ctx, { subRequests: 0 })).getEntrypoint().fetches(1))[0],
  twoSubRequests: ({ LOADER }, ctx) => LOADER.load(code(ctx, { subRequests: 2 })).getEntrypoint().fetches(3),
  withinLimits: ({ LOADER }, ctx) => LOADER.load(code(ctx, { cpuMs: 1000, subRequests: 5 })).getEntrypoint().fine(1),
  busyStartUp: async ({ LOADER }, ctx) => { const text = await messageOf(LOADER.load(code(ctx, { cpuMs: 50 }, "for (;;) {}")).getEntrypoint().fine(1)); return text.includes("exceeded CPU time limit") ? "Worker exceeded CPU time limit." : text; },
};
export default { fetch: (request, env, ctx) => answer(probes, env, ctx) };
