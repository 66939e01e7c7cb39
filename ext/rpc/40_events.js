// Events: from the mailbox to user code and back.
// API: https://developers.cloudflare.com/workers/runtime-apis/handlers/

import { core, primordials } from "ext:core/mod.js";
import {
  op_event_linger,
  op_event_unwind,
  op_log,
  op_rpc_answer_error,
  op_rpc_answer_response,
  op_rpc_answer_value,
  op_rpc_done,
  op_rpc_own_class,
  op_rpc_own_entrypoint,
  op_rpc_route,
} from "ext:core/ops";
import {
  claimLanded,
  Context,
  currentContext,
  currentIo,
  frameOf,
  inFrame,
  keepBusy,
  requireIo,
  tables,
} from "ext:facetd_rpc/00_context.js";
import {
  exportedValue,
  forgetExports,
  isStub,
  keepResult,
  kHandle,
  kIsClass,
  kRefuse,
  loopbacks,
  noop,
  ownedResult,
  thrower,
  types,
} from "ext:facetd_rpc/10_clone.js";
import { asksForSocket, Response, requestFromWire, responseToWire } from "ext:facetd_rpc/20_fetch.js";
import {
  disposeAll,
  DurableObjectClass,
  makeOwnStub,
  makeStub,
  RpcTarget,
  ServiceStub,
  takeArrived,
} from "ext:facetd_rpc/30_stub.js";
import { tracing } from "ext:facetd_rpc/35_tracing.js";

const { apply } = Reflect;
// Their methods stay what they are, whatever user code does to Map and Set.
const { SafeMap } = primordials;
const { abortRequest } = core.loadExtScript("ext:deno_fetch/23_request.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");

function requireCtx(type, ctx) {
  if (typeof ctx !== "object" || ctx === null) {
    throw new TypeError(`Failed to construct '${type}': constructor parameter 1 is not of type 'Object'.`);
  }
}

export class WorkerEntrypoint {
  constructor(ctx, env) {
    requireCtx("WorkerEntrypoint", ctx);
    this.ctx = ctx;
    this.env = env;
  }
}

export class DurableObject {
  constructor(ctx, env) {
    requireCtx("DurableObject", ctx);
    this.ctx = ctx;
    this.env = env;
  }
}

export class WorkflowEntrypoint {
  constructor(ctx, env) {
    this.ctx = ctx;
    this.env = env;
  }
}

/** The worker this isolate became. Set by `boot`. */
export const worker = {
  env: {},
  exports: { __proto__: null },
  ctxExports: undefined,
  /** Compatibility flags in force. @type {Set<string>} */
  flags: new Set(),
  /** Classes with a namespace: name to the object that stands for it in `ctx.exports`. */
  namespaces: new Map(),
};

/** Objects alive here: context number to `{ context, instance, state }`. */
const objects = new SafeMap();
tables.instances = objects;

/** Set by the durable_object extension: `(io, id, props) => DurableObjectState`. */
export const hooks = {
  makeState: undefined,
  makeBinding: undefined,
  applyFlags: undefined,
  /** Set by the storage extension: an alarm is due. `(event, object)` */
  alarm: undefined,
  /** Set by the facets extension: the alarm of a facet that does not run is due. `(event, object, name)` */
  facetDue: undefined,
  /** Set by `45_scheduled.js`: a cron trigger. `(event, name, props, time, cron)`; and gives stubs `scheduled()`. */
  scheduled: undefined,
  enableScheduled: undefined,
  /** Set by `46_tail.js`: a trace item for a tail. `(event, targetKind, object, name, props, item)`; and starts to trace. */
  tail: undefined,
  startTracing: undefined,
  /** Set by the websocket extension: the context of an accepted socket; what to do with what it receives. */
  contextOfSocket: undefined,
  receive: undefined,
};

/** What collects what tails are told: see `46_tail.js`. Nothing at all if the worker has none. */
export let tracer;

export function setTracer(made) {
  tracer = made;
}

// ---- entry points

export function lookup(name) {
  const key = name ?? "default";
  if (!Object.hasOwn(worker.exports, key)) {
    throw new NoEntrypoint(name);
  }
  const entry = worker.exports[key];
  if (typeof entry === "function" && !isClass(entry, WorkerEntrypoint)) throw new NoEntrypoint(name);
  return entry;
}

/** Ours, not user code's: it crosses without `remote`. */
class NoEntrypoint extends Error {
  constructor(name) {
    super(name === null ? "Worker has no default entrypoint." : `Worker has no such entrypoint: ${name}`);
  }
}

/** A thrown Proxy may refuse to say what it is. */
function isNoEntrypoint(error) {
  try {
    return error instanceof NoEntrypoint;
  } catch {
    return false;
  }
}

function isClass(value, Base) {
  return typeof value === "function" && (value === Base || value.prototype instanceof Base);
}

export function requirePromise(promise, type) {
  if (promise === undefined) {
    throw new TypeError(`Failed to execute 'waitUntil' on '${type}': parameter 1 is not of type 'Promise'.`);
  }
}

/** What a stateless handler gets as `ctx`. */
export class ExecutionContext {
  #event;
  constructor(event, props) {
    this.#event = event;
    this.props = props;
    this.exports = worker.ctxExports;
  }
  get tracing() {
    return tracing;
  }
  waitUntil(promise) {
    requirePromise(promise, "ExecutionContext");
    this.#event.hold(promise);
  }
  passThroughOnException() {}
  /** Ends the request at once: nothing of it runs on. */
  abort(reason) {
    this.#event.cutOff(reason === undefined ? new Error("Worker execution was aborted due to call to ctx.abort().") : reason);
  }
}

Object.defineProperty(ExecutionContext.prototype, Symbol.toStringTag, { value: "ExecutionContext" });

/** One delivered event: knows when everything it started is over. */
class Event {
  #open = 1;
  /** How many of the reasons to stay are promises given to `waitUntil`. */
  #waits = 0;
  answered = false;
  /** Stubs that came with the arguments: the caller's, lent until the answer. */
  borrowed = [];
  /** What it is, for the log: the kind, and the name of the entry point. */
  kind = 0;
  name = null;
  /** The path of an RPC call. @type {string[] | undefined} */
  path = undefined;
  request = undefined;
  /** The resource of the request's body. */
  body = undefined;
  /** Of a call to a function that was passed out: the event which passed it out, and stays for it. */
  host = undefined;
  constructor(number, io, owns) {
    this.number = number;
    this.io = io;
    /** The context ends with this event: it is not an object's, nor another event's. */
    this.owns = owns;
  }

  /** `waitUntil`: the event is not over before `promise` settles, within limits. */
  hold(promise) {
    const settled = this.#stay(1);
    Promise.resolve(promise).then(settled, (error) => {
      logError("waitUntil", error);
      tracer?.exception(this.io, error);
      settled();
    });
  }

  /** The event is not over before the returned function is called. */
  keep() {
    return this.#stay(0);
  }

  #stay(waits) {
    if (this.#open === 0) return noop;
    this.#open++;
    this.#waits += waits;
    let stays = true;
    return () => {
      if (!stays) return;
      stays = false;
      this.#waits -= waits;
      this.over();
    };
  }

  /** As `keep`, without a function: `over` is called once more. */
  enter() {
    this.#open++;
  }

  over() {
    if (this.#open === 0) return;
    if (--this.#open > 0) {
      // Nothing but `waitUntil` is left: from now on its time counts.
      if (this.answered && this.#open === this.#waits && this.owns) op_event_linger(this.number);
      return;
    }
    this.#end();
  }

  /** Nobody wants the answer any more: all that may still go on is what `waitUntil` holds. */
  desert() {
    if (this.answered || !this.owns) return;
    this.answered = true;
    tracer?.canceled(this);
    disposeAll(this.borrowed);
    this.over();
  }

  /** Ends here and now. Does not return if it is the running code that ends. */
  cutOff(error) {
    const runs = currentContext() === this.io.context;
    this.close(error);
    if (runs) op_event_unwind();
  }

  /** It is over; whoever still waits is told `error`. */
  close(error) {
    if (this.#open === 0) return;
    if (!this.answered) {
      this.answered = true;
      // As on the platform: a call is told the plain error, a fetch that it was thrown elsewhere.
      this.#tellSafely(error, this.request !== undefined);
      disposeAll(this.borrowed);
    }
    this.#open = 0;
    this.#end();
  }

  #end() {
    running.delete(this.number);
    if (!this.owns) this.io.context.guests--;
    else if (this.io.context.guests > 0) endGuests(this.io.context);
    this.leaveHost();
    // Nobody may read on: a client whose body is held is never let go.
    if (this.body !== undefined) core.tryClose(this.body);
    if (this.owns) {
      forgetExports(this.io.context);
      this.io.context.end();
    }
    op_rpc_done(this.number);
  }

  /** The event whose function it calls need not wait for it any longer. */
  leaveHost() {
    const { host } = this;
    this.host = undefined;
    host?.over();
  }

  respond(response) {
    if (this.answered) return;
    if (!(response instanceof Response) || response.type === "error") {
      this.fail(new TypeError(INCORRECT_RESULT));
      return;
    }
    let wire;
    try {
      const socket = types.takeSocket(response);
      if (socket !== null && !asksForSocket(this.request)) {
        throw new TypeError(
          'Worker tried to return a WebSocket in a response to a request which did not contain the header "Upgrade: websocket".',
        );
      }
      wire = responseToWire(this.io, response);
      const [status, text, headers, body, pumped] = wire;
      this.answered = true;
      op_rpc_answer_response(this.number, status, text, headers, body, socket);
      if (pumped !== undefined) pumped.catch((error) => logError("Response body", error)).finally(this.keep());
    } catch (error) {
      this.answered = false;
      this.fail(error);
      return;
    }
    this.over();
  }

  resolve(value) {
    if (this.answered) return;
    this.answered = true;
    let pipelined = false;
    types.answering = this;
    try {
      const written = ownedResult(value);
      pipelined = inFrame(frameOf(this.io), op_rpc_answer_value, undefined, this.number, written);
    } catch (error) {
      op_rpc_answer_error(this.number, error, true);
    } finally {
      types.answering = undefined;
    }
    if (pipelined) this.#route(value);
    else disposeAll(this.borrowed);
    this.over();
  }

  /** Calls are waiting for the result: they are delivered to it here. */
  #route(value) {
    const number = inFrame(frameOf(this.io), keepResult, undefined, this, value);
    op_rpc_route(this.number, number, this.io.context.number);
  }

  fail(error) {
    if (this.answered) return;
    this.answered = true;
    this.#tellSafely(error, true);
    disposeAll(this.borrowed);
    this.over();
  }

  #tellSafely(error, remote) {
    try {
      this.#tell(error, remote);
    } catch {
      // A thrown value that throws when it is looked at.
      op_rpc_answer_error(this.number, new Error("The thrown value could not be read."), true);
    }
  }

  #tell(error, remote) {
    const home = isNoEntrypoint(error);
    thrower.id = this.io.context.isObject ? objects.get(this.io.context.number)?.state.id : undefined;
    op_rpc_answer_error(this.number, home ? new Error(error.message) : error, remote && !home);
    if (!home) logError(`Uncaught in ${this.#describe()}`, error);
    // A call that fails is its caller's to see.
    if (this.path === undefined) tracer?.exception(this.io, error);
  }

  /** `fails() of Counter 3f2a...`, `GET /path of default`. */
  #describe() {
    try {
      const { context } = this.io;
      let what = KINDS[this.kind] ?? "event";
      if (this.path !== undefined) what = `${this.path.length === 0 ? "call" : this.path.join(".")}()`;
      else if (this.request !== undefined) what = `${this.request.method} ${new URL(this.request.url).pathname}`;
      const object = context.isObject ? objects.get(context.number) : undefined;
      if (object === undefined) return `${what} of ${this.owns ? this.name ?? "default" : "a callback"}`;
      const { id } = object.state;
      return `${what} of ${object.className} ${id.name ?? id}`;
    } catch {
      return "an event";
    }
  }
}

/** By the numbers of `run`. */
const KINDS = ["fetch()", "a call", "test()", "exports", "a WebSocket message", "alarm()", "the start of a facet", "scheduled()", "tail()"];

const WARN = 3;
const INCORRECT_RESULT =
  "Incorrect type for Promise: the Promise did not resolve to 'Response'.";


/** The context is over before the calls that run in it because it passed a function out: they are told. */
function endGuests(context) {
  for (const event of running.values()) {
    if (event.io.context === context && !event.owns) event.close(new Error(HOST_GONE));
  }
}

const HOST_GONE = "The execution context which hosts this callback is no longer running.";

/** Called by Rust: what `waitUntil` holds has had its time. */
export function tooLong(number, limitMs) {
  const event = running.get(number);
  if (event === undefined) return;
  op_log(
    WARN,
    `waitUntil() tasks did not complete within ${limitMs / 1000} seconds after the response and were cancelled. See limits.wait_until_ms.`,
  );
  event.close(new Error("waitUntil() took too long."));
}

/** Events that are not over, for cancellation. @type {Map<number, Event>} */
const running = new SafeMap();
tables.running = running;

/** The event whose listeners run, and what one of them threw. */
let dispatching;

/** Runs `dispatch`, in which listeners of `event` are called. What one throws skips the rest and is returned. */
export function listening(event, dispatch) {
  const before = dispatching;
  const mine = { event, thrown: undefined };
  dispatching = mine;
  try {
    dispatch();
  } catch (error) {
    reportUncaught(error);
  } finally {
    dispatching = before;
  }
  return mine.thrown;
}

/** What user code threw where nobody could catch it. */
export function reportUncaught(error) {
  if (dispatching !== undefined) {
    dispatching.thrown ??= { error };
    dispatching.event.stopImmediatePropagation();
  }
  logError("Uncaught", error);
  tracer?.exception(currentIo(), error);
}

/** `Uncaught`, and what was thrown, which may refuse to be text. */
export function uncaughtMessage(error) {
  try {
    return `Uncaught ${String(error)}`;
  } catch {
    return "Uncaught exception";
  }
}

export function logError(where, error) {
  let text;
  try {
    text = error instanceof Error ? String(error.stack ?? error) : String(error);
  } catch {
    text = "an exception that cannot be shown";
  }
  op_log(4, `${where}: ${text}`);
}

/** Called by Rust. See `Deliver` in the isolate crate for the numbers. */
export function deliver(number, context, targetKind, name, props, kind, a, b, c, d, cf) {
  let io;
  let object;
  let host;
  let owns = false;
  if (targetKind === 1) {
    object = objects.get(context);
    if (object === undefined) return;
    io = { context: object.io.context, event: number, section: 0 };
  } else if (targetKind === 3) {
    const home = hooks.contextOfSocket(name);
    if (home === undefined) return;
    io = { context: home, event: number, section: 0 };
  } else {
    const exported = targetKind === 2 ? exportedValue(name) : undefined;
    // An exported function runs in the context that exported it: a Durable Object's, or its event's.
    const home = exported?.io;
    owns = home === undefined;
    // What was passed out in a result keeps its event, and so does a call of it; a call of what was lent does not.
    if (!owns && !home.context.isObject) host = exported.home;
    io = { context: home?.context ?? new Context(context, false), event: number, section: home?.section ?? 0 };
  }
  claimLanded(io.context);
  if (!owns) io.context.guests++;
  const event = new Event(number, io, owns);
  running.set(number, event);
  if (host !== undefined) {
    host.enter();
    event.host = host;
  }
  const frame = frameOf(io);
  inFrame(frame, run, undefined, event, targetKind, object, name, props, kind, a, b, c, d, cf);
}

function run(event, targetKind, object, name, props, kind, a, b, c, d, cf) {
  event.kind = kind;
  event.name = name;
  try {
    if (tracer !== undefined) tracer.begin(event, kind, a, b, c, cf);
    if (kind === 0) fetchEvent(event, targetKind, object, name, props, a, b, c, d, cf);
    else if (kind === 1) rpcEvent(event, targetKind, object, name, props, a, b);
    else if (kind === 2) testEvent(event, name);
    else if (kind === 4) socketEvent(event, name, a, b, c);
    else if (kind === 5) hooks.alarm(event, object);
    else if (kind === 6) hooks.facetDue(event, object, a);
    else if (kind === 7) hooks.scheduled(event, name, props, a, b);
    else if (kind === 8) hooks.tail(event, targetKind, object, name, props, a);
    else event.respond(Response.json(describeExports()));
  } catch (error) {
    event.fail(error);
  }
}

/** Nobody waits for an answer: the event is over when its listeners and what they hold are. */
function socketEvent(event, number, kind, a, b) {
  event.answered = true;
  hooks.receive(number, kind, a, b);
  event.over();
}

function settle(event, result, done) {
  if (typeof result === "object" && result !== null && typeof result.then === "function" || typeof result === "function") {
    Promise.resolve(result).then((value) => done.call(event, value), (error) => event.fail(error));
  } else {
    done.call(event, result);
  }
}

const NO_FETCH = "Handler does not export a fetch() function.";

function fetchEvent(event, targetKind, object, name, props, method, url, headers, body, cf) {
  const request = requestFromWire(method, url, headers, body, cf);
  event.request = request;
  if (typeof body === "number") event.body = body;
  let result;
  if (targetKind === 1) {
    const { instance } = object;
    if (typeof instance.fetch !== "function") throw new Error(NO_FETCH);
    result = instance.fetch(request, worker.env, object.state);
  } else {
    const entry = lookup(name);
    const ctx = new ExecutionContext(event, props ?? {});
    if (typeof entry === "function") {
      const instance = new entry(ctx, worker.env);
      if (typeof instance.fetch !== "function") throw new Error(NO_FETCH);
      result = instance.fetch(request, worker.env, ctx);
    } else {
      if (typeof entry.fetch !== "function") throw new Error(NO_FETCH);
      result = entry.fetch(request, worker.env, ctx);
    }
  }
  if (result instanceof Response) event.respond(result);
  else settle(event, result, event.respond);
}

// ---- RPC

const RESERVED = new Set(["fetch", "connect", "alarm", "webSocketMessage", "webSocketClose", "webSocketError", "facetAlarm", "dup", "constructor"]);
const RESERVED_TARGET = new Set(["dup", "constructor"]);

function notImplemented(name) {
  return new TypeError(`The RPC receiver does not implement the method "${name}".`);
}

/** A member of a class instance: of its prototypes only, never its own, never Object's. */
function prototypeMember(instance, name) {
  if (Object.hasOwn(instance, name)) throw notImplemented(name);
  for (let proto = Object.getPrototypeOf(instance); proto !== null && proto !== Object.prototype; proto = Object.getPrototypeOf(proto)) {
    const found = Object.getOwnPropertyDescriptor(proto, name);
    if (found === undefined) continue;
    if (found.get === undefined && found.set !== undefined) break;
    const value = Reflect.get(proto, name, instance);
    if (value === undefined) break;
    return value;
  }
  throw notImplemented(name);
}

/** What `name` is on a value reached over RPC. */
function member(value, name) {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) throw notImplemented(name);
  if (value instanceof RpcTarget) {
    if (RESERVED_TARGET.has(name)) {
      throw new TypeError(`'${name}' is a reserved method and cannot be called over RPC.`);
    }
    return prototypeMember(value, name);
  }
  if (isStub(value)) return value[name];
  if (hasMembers(value) && Object.hasOwn(value, name)) return value[name];
  throw notImplemented(name);
}

/** Of other classes nothing can be reached, built-in ones included. */
function hasMembers(value) {
  if (typeof value === "function") return true;
  const proto = Object.getPrototypeOf(value);
  return proto === Object.prototype || proto === null;
}

/** It has to be awaited before one can look into it; a stub or a pipelined call need not, one goes on through it. */
function isPromise(value) {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  return !isStub(value) && typeof value.then === "function";
}

/** Goes on from `value`, the member `path[at - 1]` of `self`. */
function walk(value, path, args, at = 0, self = undefined) {
  for (; ; at++) {
    if (isPromise(value)) return value.then((settled) => walk(settled, path, args, at, self));
    if (at === path.length) break;
    // What has no members is not there, as far as a path is concerned.
    if (at > 0 && (value === null || (typeof value !== "object" && typeof value !== "function"))) {
      throw notImplemented(path[at - 1]);
    }
    self = value;
    value = member(value, path[at]);
  }
  if (args === undefined) return value;
  if (typeof value !== "function") throw new TypeError(`"${path.at(-1) ?? "(this)"}" is not a function.`);
  return apply(value, self, args);
}

const NO_RPC =
  "The receiving Durable Object does not support RPC, because its class was not declared with `extends DurableObject`. In order to enable RPC, make sure your class extends the special class `DurableObject`, which can be imported from the module \"cloudflare:workers\".";

function rpcEvent(event, targetKind, object, name, props, path, args) {
  event.path = path;
  event.borrowed = takeArrived(event.io);
  if (targetKind === 2) {
    const exported = exportedValue(name);
    if (exported === undefined || exported.io?.context.alive === false) {
      throw new Error(HOST_GONE);
    }
    settle(event, walk(exported.value, path, args, 0, exported.value), event.resolve);
    return;
  }
  let instance;
  if (targetKind === 1) {
    instance = object.instance;
    if (!(instance instanceof DurableObject)) throw new TypeError(NO_RPC);
  } else {
    const entry = lookup(name);
    const ctx = new ExecutionContext(event, props ?? {});
    if (typeof entry !== "function") {
      settle(event, handlerCall(entry, path, args, ctx), event.resolve);
      return;
    }
    instance = new entry(ctx, worker.env);
    if (!(instance instanceof WorkerEntrypoint)) throw notImplemented(path[0]);
  }
  const first = path[0];
  if (RESERVED.has(first)) {
    throw new TypeError(`'${first}' is a reserved method and cannot be called over RPC.`);
  }
  const found = prototypeMember(instance, first);
  let result;
  if (path.length > 1) result = walk(found, path, args, 1, instance);
  else if (args === undefined) result = found;
  else if (typeof found === "function") result = apply(found, instance, args);
  else throw new TypeError(`"${first}" is not a function.`);
  settle(event, result, event.resolve);
}

/** Plain-object exports take `(arg, env, ctx)`. */
function handlerCall(entry, path, args, ctx) {
  const name = path[0];
  if (RESERVED.has(name)) throw new TypeError(`'${name}' is a reserved method and cannot be called over RPC.`);
  if (!Object.hasOwn(entry, name)) throw notImplemented(name);
  const value = entry[name];
  if (path.length > 1) return walk(value, path, args, 1, entry);
  if (args === undefined) return value;
  if (typeof value !== "function") throw new TypeError(`"${name}" is not a function.`);
  if (args.length !== 1) {
    throw new TypeError(
      `Attempted to call RPC function "${name}" with the wrong number of arguments. When calling a top-level handler function that is not declared as part of a class, you must always send exactly one argument. In order to support variable numbers of arguments, the server must use class-based syntax (extending WorkerEntrypoint) instead.`,
    );
  }
  if (value.length > 3) {
    throw new TypeError(
      `Cannot call handler function "${name}" over RPC because it has the wrong number of arguments. A simple function handler can only be called over RPC if it has exactly the arguments (arg, env, ctx), where only the first argument comes from the client. To support multi-argument RPC functions, use class-based syntax (extending WorkerEntrypoint) instead.`,
    );
  }
  return apply(value, entry, [args[0], worker.env, ctx]);
}

function testEvent(event, name) {
  const entry = lookup(name);
  const ctx = new ExecutionContext(event, {});
  const instance = typeof entry === "function" ? new entry(ctx, worker.env) : entry;
  if (typeof instance.test !== "function") throw new Error("Handler does not export a test() function.");
  const result = typeof entry === "function" ? instance.test({}) : instance.test({}, worker.env, ctx);
  settle(event, Promise.resolve(result).then(() => undefined), event.resolve);
}

// ---- objects

/** Called by Rust: makes the instance. What the constructor throws is the caller's to see. */
export function construct(number, className, id, props) {
  const Class = className === null ? worker.exports.default : worker.exports[className];
  const isActorClass = typeof Class === "function" && !isClass(Class, WorkerEntrypoint);
  if (!isActorClass || !Object.hasOwn(worker.exports, className ?? "default")) {
    return className === null
      ? "Worker has no default actor class."
      : `Worker has no such actor class: ${className}`;
  }
  const context = new Context(number, true);
  claimLanded(context);
  const io = { context, event: 0, section: 0 };
  const object = { io, className: className ?? "default", instance: undefined, state: undefined };
  objects.set(number, object);
  try {
    inFrame(frameOf(io), () => {
      object.state = hooks.makeState(io, id, props ?? {});
      object.instance = new Class(object.state, worker.env);
    });
  } catch (error) {
    objects.delete(number);
    context.end();
    throw error;
  }
  return undefined;
}

/** Does the class have an `alarm()`? While its constructor runs, nobody knows. */
export function hasAlarmHandler(number) {
  const instance = objects.get(number)?.instance;
  return instance === undefined || typeof instance.alarm === "function";
}

/** Called by Rust: the object leaves memory. */
export function destroy(number) {
  const object = objects.get(number);
  if (object === undefined) return;
  objects.delete(number);
  const { context } = object.io;
  // Rust has answered for them. What their promises wait for may never come.
  for (const event of running.values()) if (event.io.context === context) running.delete(event.number);
  forgetExports(context);
  context.end();
}

/**
 * Called by Rust: whoever asked for the event has gone away. `byCode`: 1 if that was a call of a worker's. A client
 * that leaves stops nothing; a caller that is over, or gave up, takes the stateless calls along that it made.
 */
export function cancel(number, byCode) {
  const event = running.get(number);
  if (event === undefined) return;
  if (event.request !== undefined) inFrame(frameOf(event.io), abortRequest, undefined, event.request);
  if (byCode === 1) event.desert();
  event.leaveHost();
}

// ---- boot

/** Called by Rust before the modules are evaluated (phase 1) and after (phase 2). */
export function boot(phase, ...args) {
  if (phase === 0) types.reviving = "Fetcher";
  else if (phase === 1) bootEnv(...args);
  else return bootExports(...args);
}

function bootEnv(bindings, env, namespaces, flags, isTraced) {
  worker.flags = new Set(flags);
  types.errorsKeepOwn = worker.flags.has("enhanced_error_serialization");
  types.paramsAreDuplicated = worker.flags.has("rpc_params_dup_stubs");
  if (env !== undefined) Object.assign(worker.env, env);
  // What `env` holds belongs to every request.
  claimLanded(undefined);
  types.reviving = "ServiceStub";
  hooks.applyFlags(worker.flags);
  if (worker.flags.has("service_binding_extra_handlers")) hooks.enableScheduled();
  for (const [name, kind, value] of bindings) worker.env[name] = hooks.makeBinding(kind, value);
  for (const [name, handle] of namespaces) worker.namespaces.set(name, handle);
  if (isTraced) hooks.startTracing();
}

/** Phase 2: the exports of the main module. Returns a complaint about one that cannot be served. */
function bootExports(namespace, checked) {
  for (const name of Object.keys(namespace)) {
    const value = namespace[name];
    if (typeof value !== "function" && (typeof value !== "object" || value === null)) {
      return `Incorrect type for map entry '${name}': the provided value is not of type 'function or ExportedHandler'.`;
    }
    worker.exports[name] = value;
  }
  if (worker.flags.has("enable_ctx_exports")) worker.ctxExports = makeExports();
  return undefined;
}

/** What the main module exports, for the host. */
function describeExports() {
  return Object.keys(worker.exports).map((name) => {
    const value = worker.exports[name];
    const isObject = typeof value !== "function";
    const kind = isObject ? "handler" : isClass(value, WorkerEntrypoint) ? "entrypoint" : "class";
    const holder = isObject ? value : value.prototype;
    return { name, kind, test: kind !== "class" && typeof holder?.test === "function" };
  });
}

function propsOf(name, options) {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(
      `Failed to execute '(called as function)' on '${name}': parameter 1 is not of type 'Options'.`,
    );
  }
  const { props } = options;
  if (props !== undefined && (typeof props !== "object" || props === null)) {
    throw new TypeError("Incorrect type for the 'props' field on 'Options': the provided value is not of type 'Object'.");
  }
  return props ?? null;
}

/** An object that can also be called: `ctx.exports.X` and `ctx.exports.X({props})`. */
function loopback(kind, object, call) {
  // The call must find the object's own properties: a Proxy over a function, backed by the object.
  const proxy = new Proxy(call, {
    get(_target, key, receiver) {
      if (key === kRefuse) return kind;
      if (key === "constructor") return { name: kind };
      if (key === Symbol.toStringTag) return kind;
      const value = Reflect.get(object, key, object);
      return typeof value === "function" && kind !== "LoopbackServiceStub" ? value.bind(object) : value;
    },
    has: (_target, key) => Reflect.has(object, key),
    ownKeys: (target) => Reflect.ownKeys(target),
    getPrototypeOf: () => Object.getPrototypeOf(object),
  });
  loopbacks.add(proxy);
  return proxy;
}

function makeExports() {
  const exports = {};
  for (const name of Object.keys(worker.exports)) {
    const value = worker.exports[name];
    const exportName = name === "default" ? null : name;
    if (typeof value === "function" && !isClass(value, WorkerEntrypoint)) {
      const make = (props) => new DurableObjectClass(op_rpc_own_class(exportName, props), kHandle);
      const namespace = worker.namespaces.get(name);
      const kind = namespace === undefined ? "LoopbackDurableObjectClass" : "LoopbackDurableObjectNamespace";
      let own;
      const object = namespace === undefined ? Object.create(DurableObjectClass.prototype) : hooks.makeBinding(1, namespace);
      Object.defineProperties(object, {
        [kHandle]: { get: () => (own ??= make(null))[kHandle] },
        [kIsClass]: { value: true },
      });
      exports[name] = loopback(kind, object, (options) => make(propsOf(kind, options)));
    } else {
      let own;
      const stub = makeStub(ServiceStub, () => (own ??= op_rpc_own_entrypoint(exportName, null)));
      exports[name] = loopback(
        "LoopbackServiceStub",
        stub,
        (options) => makeOwnStub(
          ServiceStub,
          op_rpc_own_entrypoint(exportName, propsOf("LoopbackServiceStub", options)),
          currentContext(),
          "SubrequestChannel",
        ),
      );
    }
  }
  return exports;
}

types.reportUncaught = reportUncaught;
types.hold = (io) => {
  const event = running.get(io?.event);
  if (event === undefined || io.context.isObject) return () => {};
  return event.keep();
};

/** `waitUntil` from `cloudflare:workers`: that of the current event or object. */
export function waitUntil(promise) {
  requirePromise(promise, "EntrypointsModule");
  const io = requireIo();
  const event = running.get(io.event);
  if (event !== undefined && !io.context.isObject) event.hold(promise);
  else keepBusy(io, Promise.resolve(promise));
}
