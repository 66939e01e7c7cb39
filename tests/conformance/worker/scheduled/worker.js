// `stub.scheduled(options)` with the flag `service_binding_extra_handlers`, and what handlers are given.
import { WorkerEntrypoint } from "cloudflare:workers";
import { answer } from "./probe.js";

let seen = [];

async function run(controller, env, ctx) {
  seen.push(controller);
  const { cron } = controller;
  if (cron === "throws") throw new RangeError("from the handler");
  if (cron === "throws nothing") throw undefined;
  if (cron === "waits") ctx.waitUntil(scheduler.wait(20).then(() => seen.push("waited")));
  if (cron === "waits for more") {
    ctx.waitUntil(scheduler.wait(5).then(() => ctx.waitUntil(scheduler.wait(20).then(() => seen.push("waited for more")))));
  }
  if (cron === "waits for a rejection") ctx.waitUntil(Promise.reject(new Error("later")));
  if (cron === "no retry") return controller.noRetry();
  if (cron === "no retry, throws") {
    controller.noRetry();
    throw new Error("and throws");
  }
  if (cron === "hangs") await new Promise(() => {});
  return "ignored";
}

export const handler = { scheduled: run };
export const nothing = { fetch() {} };
export class Entry extends WorkerEntrypoint {
  async scheduled(controller, ...more) {
    seen.push(["class", more.length, typeof more[0], more[1]?.constructor.name, this.ctx.props]);
    return run(controller, this.env, this.ctx);
  }
}
export class Sync extends WorkerEntrypoint {
  scheduled(controller) {
    if (controller.cron === "throws") throw new Error("at once");
  }
}

const TIME = new Date(1_700_000_000_000);
const probes = (env) => {
  const ask = (binding, options) => async () => {
    seen = [];
    const result = await env[binding].scheduled(options);
    return { result, seen: seen.filter((item) => typeof item === "string" || Array.isArray(item)) };
  };
  return {
    ok: ask("SELF", { cron: "* * * * *", scheduledTime: TIME }),
    throws: ask("SELF", { cron: "throws" }),
    throwsNothing: ask("SELF", { cron: "throws nothing" }),
    waits: ask("SELF", { cron: "waits" }),
    waitsForMore: ask("SELF", { cron: "waits for more" }),
    waitsForRejection: ask("SELF", { cron: "waits for a rejection" }),
    noRetry: ask("SELF", { cron: "no retry" }),
    noRetryThrows: ask("SELF", { cron: "no retry, throws" }),
    hangs: ask("SELF", { cron: "hangs" }),
    handler: ask("HANDLER", { cron: "c" }),
    missing: ask("NOTHING", { cron: "c" }),
    entry: ask("ENTRY", { cron: "c" }),
    entryThrows: ask("ENTRY", { cron: "throws" }),
    sync: ask("SYNC", { cron: "c" }),
    syncThrows: ask("SYNC", { cron: "throws" }),
    noOptions: ask("SELF"),
    emptyOptions: ask("SELF", {}),
    numberTime: ask("SELF", { scheduledTime: 5 }),
    stringTime: ask("SELF", { scheduledTime: "x" }),
    invalidTime: ask("SELF", { scheduledTime: new Date(NaN) }),
    numberCron: async () => {
      await ask("SELF", { cron: 5, scheduledTime: TIME })();
      return seen[0].cron;
    },
    controller: async () => {
      await ask("SELF", { cron: "* * * * *", scheduledTime: TIME })();
      const [controller] = seen;
      return [
        controller.constructor.name, String(controller), Object.keys(controller), JSON.stringify(controller), controller.noRetry.length,
      ];
    },
    timeIsNow: async () => {
      const before = Date.now();
      await ask("SELF", {})();
      return seen[0].scheduledTime >= before && seen[0].scheduledTime <= Date.now();
    },
    isMethod: () => [typeof env.SELF.scheduled, "scheduled" in env.SELF],
  };
};

export default {
  scheduled: run,
  fetch: (request, env) => answer(probes(env)),
};
