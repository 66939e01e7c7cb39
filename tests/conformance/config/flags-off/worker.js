// Opposite spellings of flags switch off what the date brings.
import { answer, caught } from "./probe.js";

const probes = {
  node: async () => (await caught(() => import("node:fs")))[0],
  buffer: () => [typeof Buffer, typeof process, typeof setImmediate],
  ctxExports: (ctx) => typeof ctx.exports,
  navigator: () => typeof globalThis.navigator,
};
export default { fetch: (request, env, ctx) => answer(probes, ctx) };
