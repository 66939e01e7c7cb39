// Without the flag `service_binding_extra_handlers`, `scheduled` is a method like any other for callers.
import { WorkerEntrypoint } from "cloudflare:workers";
import { answer } from "./probe.js";

export class Entry extends WorkerEntrypoint {
  scheduled(...args) { return ["class", ...args]; }
}

const probes = (env) => ({
  handler: () => env.SELF.scheduled("mine"),
  handlerNothing: () => env.SELF.scheduled(),
  entry: () => env.ENTRY.scheduled("mine", 2),
});

export default {
  scheduled: (argument, env, ctx) => ["handler", argument, typeof env, ctx.constructor.name],
  fetch: (request, env) => answer(probes(env)),
};
