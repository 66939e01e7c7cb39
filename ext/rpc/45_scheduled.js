// Scheduled events: `scheduled(controller, env, ctx)`, and `stub.scheduled(options)` to cause one.
// API: https://developers.cloudflare.com/workers/runtime-apis/handlers/scheduled/
//
// The answer to such an event is a response with JSON, `{outcome, noRetry}`: the host has no V8 to read a value with.
// It is given when the handler and all it handed to `waitUntil()` have ended; what they threw is in the log only.

import { op_rpc_scheduled } from "ext:core/ops";
import { requireIo, whenDone } from "ext:facetd_rpc/00_context.js";
import { kHandle, types } from "ext:facetd_rpc/10_clone.js";
import { completionError } from "ext:facetd_rpc/15_errors.js";
import { Response } from "ext:facetd_rpc/20_fetch.js";
import { Fetcher, ServiceStub } from "ext:facetd_rpc/30_stub.js";
import { ExecutionContext, hooks, logError, lookup, tracer, worker } from "ext:facetd_rpc/40_events.js";

const kKey = Symbol("key");
const noRetryOf = Symbol("noRetry");

class ScheduledController {
  #noRetry = false;
  constructor(key, cron, time) {
    if (key !== kKey) throw new TypeError("Illegal constructor");
    this.cron = cron;
    this.scheduledTime = time;
  }
  /** In the documentation, not in workerd. */
  get type() {
    return "scheduled";
  }
  noRetry() {
    this.#noRetry = true;
  }
  static [noRetryOf](controller) {
    return controller.#noRetry;
  }
}
const noRetry = ScheduledController[noRetryOf];
delete ScheduledController[noRetryOf];
Object.defineProperty(ScheduledController.prototype, Symbol.toStringTag, { value: "ScheduledController" });
types.platform.add(ScheduledController);

const NO_HANDLER =
  "Received a ScheduledEvent but we lack a handler for ScheduledEvents (a.k.a. Cron Triggers). Did you remember to export a scheduled() function?";

hooks.scheduled = (event, name, props, time, cron) => {
  const controller = new ScheduledController(kKey, cron, time);
  const held = [];
  let ok = true;
  const failed = (where) => (error) => {
    ok = false;
    logError(where, error);
    tracer?.exception(event.io, error);
  };
  // Everything that holds the event, wherever it was handed over, belongs to the run.
  event.hold = (promise) => {
    held.push(Promise.resolve(promise).then(() => {}, failed("waitUntil")));
  };
  const answer = (outcome, noRetry) => {
    if (outcome !== "ok") tracer?.failed(event);
    event.respond(Response.json({ outcome, noRetry }));
  };
  const entry = lookup(name);
  const ctx = new ExecutionContext(event, props ?? {});
  const instance = typeof entry === "function" ? new entry(ctx, worker.env) : entry;
  if (typeof instance.scheduled !== "function") {
    failed("Uncaught")(new Error(NO_HANDLER));
    answer("exception", true);
    return;
  }
  // Classes have `this.env` and `this.ctx`; the platform passes them nothing more than the controller, three arguments long.
  const more = typeof entry === "function" ? [undefined, undefined] : [worker.env, ctx];
  const run = async () => instance.scheduled(controller, ...more);
  const ended = async () => {
    await run().then(() => {}, failed("Uncaught"));
    // What is held may hold more.
    for (let at = 0; at < held.length; at++) await held[at];
    delete event.hold;
    answer(ok ? "ok" : "exception", noRetry(controller));
  };
  ended().catch((error) => event.fail(error, true));
};

// ---- the caller

function timeOf(value) {
  if (value === undefined) return Date.now();
  if (typeof value !== "number" && !(value instanceof Date)) {
    throw new TypeError("Incorrect type for the 'scheduledTime' field on 'ScheduledOptions': the provided value is not of type 'date'.");
  }
  const time = Number(value);
  if (Number.isNaN(time)) throw new TypeError("The value cannot be converted because it is not a valid Date.");
  return time;
}

/** How the platform calls what a limit or the host ended. */
function outcomeOf(error) {
  if (error.code === "EXCEEDED_CPU") return "exceededCpu";
  if (error.code === "EXCEEDED_MEMORY") return "exceededMemory";
  return "exception";
}

/** For the flag `service_binding_extra_handlers`; without it the name is a method like any other. */
hooks.enableScheduled = () => {
  for (const Stub of [Fetcher, ServiceStub]) {
    Object.defineProperty(Stub.prototype, "scheduled", { value: scheduled, configurable: true, writable: true });
  }
};

function scheduled(options = {}) {
  return new Promise((resolve, reject) => {
    const io = requireIo();
    const time = timeOf(options?.scheduledTime);
    const cron = options?.cron === undefined ? "" : String(options.cron);
    const call = op_rpc_scheduled(this[kHandle], io.context.number, io.event, io.section, time, cron);
    whenDone(io, call, (kind, ...rest) => {
      if (kind === 1) new Response(rest[3]).json().then(resolve, reject);
      else resolve({ outcome: outcomeOf(completionError(kind, ...rest)), noRetry: false });
    });
  });
}
