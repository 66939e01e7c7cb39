// Events: from the mailbox to user code and back.
// API: https://developers.cloudflare.com/workers/runtime-apis/handlers/

import { core, primordials } from "ext:core/mod.js";
import {
  op_log,
  op_rpc_answer_error,
  op_rpc_answer_response,
  op_rpc_answer_value,
  op_rpc_done,
  op_rpc_own_class,
  op_rpc_own_entrypoint,
  op_rpc_route,
} from "ext:core/ops";
import { Context, currentIo, frameOf, inFrame, keepBusy } from "ext:facetd_rpc/00_context.js";
import {
  exportedValue,
  forgetExports,
  keepResult,
  kHandle,
  kIsClass,
  kPromise,
  kRefuse,
  ownedResult,
  thrower,
  types,
} from "ext:facetd_rpc/10_clone.js";
import { asksForSocket, Response, requestFromWire, responseToWire } from "ext:facetd_rpc/20_fetch.js";
import { disposeAll, DurableObjectClass, makeStub, noop, RpcTarget, ServiceStub, takeArrived } from "ext:facetd_rpc/30_stub.js";
import { tracing } from "ext:facetd_rpc/35_tracing.js";

const { apply } = Reflect;
// Their methods stay what they are, whatever user code does to Map and Set.
const { SafeMap, SafeSet } = primordials;
const { abortRequest } = core.loadExtScript("ext:deno_fetch/23_request.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");

export class WorkerEntrypoint {
  constructor(ctx, env) {
    this.ctx = ctx;
    this.env = env;
  }
}

export class DurableObject {
  constructor(ctx, env) {
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

/** Set by the durable_object extension: `(io, id, props) => DurableObjectState`. */
export const hooks = {
  makeState: undefined,
  makeBinding: undefined,
  applyFlags: undefined,
  /** Set by the storage extension: an alarm is due. `(event, object)` */
  alarm: undefined,
  /** Set by the facets extension: the alarm of a facet that does not run is due. `(event, object, name)` */
  facetDue: undefined,
  /** Set by the websocket extension: the context of an accepted socket; what to do with what it receives. */
  contextOfSocket: undefined,
  receive: undefined,
};

// ---- entry points

function lookup(name) {
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

function isClass(value, Base) {
  return typeof value === "function" && (value === Base || value.prototype instanceof Base);
}

export function requirePromise(promise, type) {
  if (promise === undefined) {
    throw new TypeError(`Failed to execute 'waitUntil' on '${type}': parameter 1 is not of type 'Promise'.`);
  }
}

/** What a stateless handler gets as `ctx`. */
class ExecutionContext {
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
  abort(reason) {
    this.#event.fail(reason ?? new Error("The request was aborted."));
  }
}

Object.defineProperty(ExecutionContext.prototype, Symbol.toStringTag, { value: "ExecutionContext" });

/** One delivered event: knows when everything it started is over. */
class Event {
  #open = 1;
  answered = false;
  /** Stubs that came with the arguments: the caller's, lent until the answer. */
  borrowed = [];
  /** The event whose result it calls, which is not over before this one is. */
  home = undefined;
  /** What it is, for the log: the kind, and the name of the entry point. */
  kind = 0;
  name = null;
  /** The path of an RPC call. @type {string[] | undefined} */
  path = undefined;
  request = undefined;
  /** The resource of the request's body. */
  body = undefined;
  constructor(number, io, owns) {
    this.number = number;
    this.io = io;
    /** The context ends with this event: it is not an object's, nor another event's. */
    this.owns = owns;
  }

  /** The event is not over before `promise` settles. */
  hold(promise) {
    this.#open++;
    Promise.resolve(promise).then(
      () => this.over(),
      (error) => {
        logError("waitUntil", error);
        this.over();
      },
    );
  }

  /** As `hold`, until one more call of `over`. */
  enter() {
    this.#open++;
  }

  /** As `hold`, until the returned function is called. */
  keep() {
    this.#open++;
    let kept = true;
    return () => {
      if (kept) this.over();
      kept = false;
    };
  }

  over() {
    if (--this.#open > 0) return;
    running.delete(this.number);
    // Nobody may read on: a client whose body is held is never let go.
    if (this.body !== undefined) core.tryClose(this.body);
    if (this.owns) this.#endContext();
    else this.io.context.guests?.delete(this);
    op_rpc_done(this.number);
    this.leaveHome();
  }

  #endContext() {
    const { context } = this.io;
    forgetExports(context);
    const { guests } = context;
    context.guests = undefined;
    context.end();
    if (guests !== undefined) for (const guest of guests) guest.#expel();
  }

  /** The context it runs in has ended: nothing of it runs on. */
  #expel() {
    running.delete(this.number);
    if (!this.answered) {
      this.answered = true;
      op_rpc_answer_error(this.number, new Error(HOST_GONE), false);
    }
    op_rpc_done(this.number);
    this.leaveHome();
  }

  /** The event whose result it calls need not wait for it any longer. */
  leaveHome() {
    const { home } = this;
    this.home = undefined;
    home?.over();
  }

  respond(response) {
    if (this.answered) return;
    if (!(response instanceof Response) || response.type === "error") {
      this.fail(new TypeError(INCORRECT_RESULT), true);
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
      if (pumped !== undefined) this.hold(pumped);
    } catch (error) {
      this.answered = false;
      this.fail(error, true);
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
      const written = ownedResult(value, noop);
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

  /** `ours`: the error is this runtime's, not user code's. */
  fail(error, ours = false) {
    if (this.answered) return;
    this.answered = true;
    try {
      this.#tell(error, ours);
    } catch {
      // A thrown value that throws when it is looked at.
      op_rpc_answer_error(this.number, new Error("The thrown value could not be read."), true);
    }
    disposeAll(this.borrowed);
    this.over();
  }

  #tell(error, ours) {
    const home = error instanceof NoEntrypoint;
    thrower.id = this.io.context.isObject ? objects.get(this.io.context.number)?.state.id : undefined;
    op_rpc_answer_error(this.number, home ? new Error(error.message) : error, !home);
    if (!home) logError(`Uncaught in ${this.#describe()}`, error);
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
const KINDS = ["fetch()", "a call", "test()", "exports", "a WebSocket message", "alarm()", "the start of a facet"];

const INCORRECT_RESULT =
  "Incorrect type for Promise: the Promise did not resolve to 'Response'.";

/** Events that are not over, for cancellation. @type {Map<number, Event>} */
const running = new SafeMap();

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
  let owns = false;
  let lender;
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
    io = { context: home?.context ?? new Context(context, false), event: number, section: home?.section ?? 0 };
    lender = exported?.home;
  }
  const event = new Event(number, io, owns);
  if (targetKind === 2 && !owns && !io.context.isObject && io.context.alive) {
    (io.context.guests ??= new SafeSet()).add(event);
    event.home = lender;
    lender?.enter();
  }
  running.set(number, event);
  const frame = frameOf(io);
  inFrame(frame, run, undefined, event, targetKind, object, name, props, kind, a, b, c, d, cf);
}

function run(event, targetKind, object, name, props, kind, a, b, c, d, cf) {
  event.kind = kind;
  event.name = name;
  try {
    if (kind === 0) fetchEvent(event, targetKind, object, name, props, a, b, c, d, cf);
    else if (kind === 1) rpcEvent(event, targetKind, object, name, props, a, b);
    else if (kind === 2) testEvent(event, name);
    else if (kind === 4) socketEvent(event, name, a, b, c);
    else if (kind === 5) hooks.alarm(event, object);
    else if (kind === 6) hooks.facetDue(event, object, a);
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

const HOST_GONE = "The execution context which hosts this callback is no longer running.";
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
    return Reflect.get(proto, name, instance);
  }
  throw notImplemented(name);
}

/** What `name` is on a value reached over RPC. */
function member(value, name) {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) throw notImplemented(name);
  if (value[kHandle] !== undefined || value[kPromise] !== undefined) return value[name];
  if (value instanceof RpcTarget) {
    if (RESERVED_TARGET.has(name)) {
      throw new TypeError(`'${name}' is a reserved method and cannot be called over RPC.`);
    }
    return prototypeMember(value, name);
  }
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
  return value[kHandle] === undefined && value[kPromise] === undefined && typeof value.then === "function";
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
  forgetExports(object.io.context);
  object.io.context.end();
}

/** Called by Rust: whoever asked for the event has gone away. */
export function cancel(number) {
  const event = running.get(number);
  event?.leaveHome();
  if (event?.request !== undefined) inFrame(frameOf(event.io), abortRequest, undefined, event.request);
}

// ---- boot

/** Called by Rust before the modules are evaluated (phase 1) and after (phase 2). */
export function boot(phase, ...args) {
  if (phase === 0) types.reviving = "Fetcher";
  else if (phase === 1) bootEnv(...args);
  else return bootExports(...args);
}

function bootEnv(bindings, env, namespaces, flags) {
  worker.flags = new Set(flags);
  types.errorsKeepOwn = worker.flags.has("enhanced_error_serialization");
  types.paramsAreDuplicated = worker.flags.has("rpc_params_dup_stubs");
  if (env !== undefined) Object.assign(worker.env, env);
  types.reviving = "ServiceStub";
  hooks.applyFlags(worker.flags);
  for (const [name, kind, value] of bindings) worker.env[name] = hooks.makeBinding(kind, value);
  for (const [name, handle] of namespaces) worker.namespaces.set(name, handle);
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
  return new Proxy(call, {
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
        (options) => makeStub(ServiceStub, op_rpc_own_entrypoint(exportName, propsOf("LoopbackServiceStub", options))),
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
  const io = currentIo();
  if (io === undefined) throw new Error("waitUntil() can only be called within a handler.");
  const event = running.get(io.event);
  if (event !== undefined && !io.context.isObject) event.hold(promise);
  else keepBusy(io, Promise.resolve(promise));
}
