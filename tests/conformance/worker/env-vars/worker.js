// `vars` of every JSON kind, and where they can be read.
import { env as importedEnv, withEnv } from "cloudflare:workers";
import { answer, thrown } from "./probe.js";

const atTopLevel = importedEnv.TEXT;
const probes = {
  values: (env) => env,
  keys: (env) => Object.keys(env).sort(),
  types: (env) => Object.fromEntries(Object.entries(env).map(([k, v]) => [k, v === null ? "null" : Array.isArray(v) ? "array" : typeof v])),
  missing: (env) => env.MISSING,
  hasMissing: (env) => "MISSING" in env,
  imported: () => [importedEnv.TEXT, importedEnv.LIST],
  importedAtTopLevel: () => atTopLevel,
  importedIsHandlerEnv: (env) => env === importedEnv,
  importedSeesWrites: (env) => { env.ADDED = 1; return importedEnv.ADDED; },
  importedWrite: (env) => thrown(() => { importedEnv.OTHER = 2; return env.OTHER; }),
  withEnv: async (env) => withEnv({ TEXT: "swapped" }, async () => { const now = importedEnv.TEXT; await null; return [now, importedEnv.TEXT, env.TEXT === "swapped"]; }),
  withEnvEnds: (env) => { withEnv({ TEXT: "swapped" }, () => {}); return importedEnv.TEXT === env.TEXT; },
  objectIsMutable: (env) => { env.OBJECT.c = 1; return env.OBJECT.c; },
  processEnv: () => [process.env.TEXT, process.env.NUMBER, process.env.YES, process.env.OBJECT, process.env.MISSING],
};
export default { fetch: (request, env) => answer(probes, env) };
