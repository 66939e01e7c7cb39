// Stubs: what a caller holds of something that may live elsewhere.
// API: https://developers.cloudflare.com/workers/runtime-apis/rpc/
//
// A stub is an ordinary object whose prototype is a Proxy: every property it does not have is a
// method or property over there. So structured clone meets an object it can describe, not a Proxy.
// What a call returns is a Proxy with a handler (`Callable`) over a *source*: the place where its path begins.
// A source has a `promise` of what is there and a `send(path, args)` that gives the source of what lies beyond.

import { core, primordials } from "ext:core/mod.js";
import { op_rpc_adopt, op_rpc_call, op_rpc_dispose, op_rpc_give_up, op_rpc_pipeline, op_rpc_watch } from "ext:core/ops";
import { exportValue, handleOf, isStub, kHandle, kIsClass, kPromise, kTarget, noop, types } from "ext:facetd_rpc/10_clone.js";
import { completionError, errorHere } from "ext:facetd_rpc/15_errors.js";
import {
  awaitCall,
  claimLanded,
  currentContext,
  currentIo,
  forget,
  giveTo,
  homeOf,
  inFrame,
  land,
  requireIo,
  requireOwn,
  whenDone,
} from "ext:facetd_rpc/00_context.js";
import { WRITABLE } from "ext:facetd_rpc/17_ownership.js";
import { fetchThrough } from "ext:facetd_rpc/20_fetch.js";

const { apply } = Reflect;
const { getAsyncContext } = core;
// They stay what they are, whatever user code does to Object and WeakMap.
const { ObjectHasOwn, SafeWeakMap } = primordials;
const PATH_MAX = 64;
const EXPORT_KIND = 4;
const NO_PATH = [];

const STUB_DISPOSED = "RPC stub used after being disposed.";
const PROMISE_DISPOSED = "RPC promise used after being disposed.";
const NO_PIPELINE = "Can't pipeline on RPC that did not return an object.";

/** Stubs that came with the value that was read last, and their handles. */
let arrived = [];
let arrivedHandles = [];
/** Writable streams that came with it. @type {WritableSource[]} */
let arrivedStreams = [];
const NONE = [];

/** Those stubs, from now on `io`'s, as are the streams. Whoever asks is responsible for the stubs. */
export function takeArrived(io) {
  if (arrivedStreams.length > 0) {
    for (let i = 0; i < arrivedStreams.length; i++) arrivedStreams[i].come(io);
    arrivedStreams = [];
  }
  if (arrived.length === 0) return NONE;
  const taken = arrived;
  const handles = arrivedHandles;
  arrived = [];
  arrivedHandles = [];
  for (let i = 0; i < handles.length; i++) op_rpc_adopt(handles[i], io.context.number);
  return taken;
}

export function disposeAll(stubs) {
  for (let i = 0; i < stubs.length; i++) stubs[i][Symbol.dispose]();
}

/** Gives a result that is no stub itself a disposer for the `stubs` in it. */
function disposable(value, stubs) {
  if (typeof value !== "object" || value === null) return value;
  // Not `handleOf`: nobody's code runs yet, so the stub would say that it is another's.
  if (ObjectHasOwn(value, kHandle)) return value;
  const dispose = stubs.length === 0 ? noop : () => disposeAll(stubs);
  return Object.defineProperty(value, Symbol.dispose, { value: dispose, configurable: true, writable: true });
}

/** An error in the words of the other side, where the platform walks. */
function remoteError(message) {
  return Object.assign(new TypeError(message), { remote: true });
}

/** Walks `path` from a value that has arrived; calls what is there if there are `args`. */
function walk(value, path, args) {
  if (typeof value !== "object" && typeof value !== "function" || value === null) throw new TypeError(NO_PIPELINE);
  let self;
  for (let i = 0; i < path.length; i++) {
    const name = path[i];
    const isObject = (typeof value === "object" || typeof value === "function") && value !== null;
    if (!isObject) throw remoteError(`The RPC receiver does not implement the method "${path[i - 1]}".`);
    if (!isStub(value) && !Object.hasOwn(value, name)) {
      throw remoteError(`The RPC receiver does not implement the method "${name}".`);
    }
    self = value;
    value = value[name];
  }
  if (args === undefined) return value;
  if (typeof value !== "function") {
    throw remoteError(`"${path.length === 0 ? "(this)" : path.at(-1)}" is not a function.`);
  }
  return apply(value, self, args);
}

// ---- sources

/** A call that was sent, before and after its answer. */
class Sent {
  /** While there is no answer; then 0. */
  #call;
  #io;
  #resolve;
  /** It has arrived as `#value`, with `#stubs` in it. */
  #arrived = false;
  #value = undefined;
  #stubs = NONE;
  #disposed = false;
  /** Calls that want the answer, which is on its way. @type {Later[] | undefined} */
  #later = undefined;

  constructor(io, call) {
    this.#io = io;
    this.#call = call;
    this.promise = new Promise((resolve) => (this.#resolve = resolve));
    // What runs on in a context that is over waits for nothing.
    if (!io.context.alive) {
      op_rpc_give_up(call);
      return;
    }
    io.context.pending.add(call);
    awaitCall(call, this);
  }

  settle(kind, ...rest) {
    const { context } = this.#io;
    context.pending.delete(this.#call);
    this.#call = 0;
    if (!context.alive) {
      claimLanded(undefined);
      return;
    }
    claimLanded(context);
    if (kind === 0) {
      this.#stubs = takeArrived(this.#io);
      this.#value = disposable(rest[0], this.#stubs);
      this.#arrived = true;
      if (this.#disposed) disposeAll(this.#stubs);
      this.#goOn();
      this.#resolve(this.#value);
    } else {
      // What came with an error is not in it: its properties with stubs in them stay behind.
      disposeAll(takeArrived(this.#io));
      this.#resolve(errorHere(() => completionError(kind, ...rest)));
      this.#goOn();
    }
  }

  #goOn() {
    const later = this.#later;
    this.#later = undefined;
    for (let i = 0; i < later?.length; i++) later[i].goOn(this);
  }

  send(path, args) {
    if (this.#disposed) throw new Error(PROMISE_DISPOSED);
    if (this.#arrived) return new Walked(this.#value, path, args);
    requireOwn(this.#io.context, "Client");
    // Whoever waits for the result of the result hears of an error there.
    this.promise.catch(noop);
    if (this.#call === 0) return new Failed(this.promise);
    const io = requireIo();
    if (types.moved.length > 0) types.moved = []; // of a call that was refused
    const call = op_rpc_pipeline(this.#call, io.context.number, io.event, io.section, path, args);
    if (args !== undefined && types.moved.length > 0) giveAway();
    if (call !== 0) return new Sent(io, call);
    const later = new Later(path, args);
    (this.#later ??= []).push(later);
    return later;
  }

  dispose() {
    if (this.#disposed) return;
    this.#disposed = true;
    disposeAll(this.#stubs);
  }
}

/** What lies beyond a value that is here. */
class Walked {
  #value;
  #failed = false;
  constructor(value, path, args) {
    try {
      this.#value = walk(value, path, args);
      this.promise = Promise.resolve(this.#value);
    } catch (error) {
      this.#failed = true;
      this.promise = Promise.reject(error);
    }
  }

  send(path, args) {
    return this.#failed ? new Failed(this.promise) : new Walked(this.#value, path, args);
  }

  dispose() {}
}

/** What lies beyond something that is not there. */
class Failed {
  constructor(rejected) {
    this.promise = rejected.then(noop);
  }

  send() {
    return new Failed(this.promise);
  }

  dispose() {}
}

/**
 * A call on a result that had left when the call was made: it goes on from what arrives, in its place among the calls
 * that follow.
 */
class Later {
  #path;
  #args;
  #resolve;
  #source = undefined;
  #later = undefined;

  constructor(path, args) {
    this.#path = path;
    this.#args = args;
    this.promise = new Promise((resolve) => (this.#resolve = resolve));
  }

  goOn(from) {
    try {
      this.#source = from.send(this.#path, this.#args);
    } catch (error) {
      this.#source = failed(error);
    }
    this.#resolve(this.#source.promise);
    for (let i = 0; i < this.#later?.length; i++) this.#later[i].goOn(this.#source);
    this.#later = undefined;
  }

  send(path, args) {
    this.promise.catch(noop);
    if (this.#source !== undefined) return this.#source.send(path, args);
    const later = new Later(path, args);
    (this.#later ??= []).push(later);
    return later;
  }

  dispose() {}
}

/** The source of nothing but `error`. */
function failed(error) {
  return new Failed(Promise.reject(error));
}

/** Sends a call (with `args`) or a get. */
function sendThrough(handle, path, args, io = requireIo()) {
  if (types.moved.length > 0) types.moved = []; // of a call that was refused
  const call = op_rpc_call(handle, io.context.number, io.event, io.section, path, args);
  if (args !== undefined && types.moved.length > 0) giveAway();
  return new Sent(io, call);
}

/** Stubs in arguments belong to the callee (before `rpc_params_dup_stubs`). */
function giveAway() {
  const stubs = types.moved;
  types.moved = [];
  for (let i = 0; i < stubs.length; i++) stubs[i][Symbol.dispose]?.();
}

// ---- RpcPromise, RpcProperty

const INDEX = /^(0|[1-9][0-9]*)$/;

export class RpcPromise {}
export class RpcProperty {}

/** The Proxy handler of an RpcPromise or RpcProperty: what lies at `path` from a stub or a source. */
class Callable {
  /** What is at the path, once somebody wants it: of a property it is fetched then. */
  #result;

  constructor(Type, from, path, result) {
    this.type = Type;
    this.from = from;
    this.path = path;
    this.#result = result;
  }

  send(path, args) {
    requireIo(); // at top level the call throws; everything else that is wrong with it rejects
    try {
      const { from } = this;
      // The result of a call is a beginning; a property is a step from one.
      if (from === undefined) return this.#result.send(path, args);
      return from instanceof Callable ? from.send(path, args) : sendThrough(from[kHandle], path, args);
    } catch (error) {
      return failed(error);
    }
  }

  source() {
    return (this.#result ??= this.send(this.path, undefined));
  }

  get(_target, name, receiver) {
    switch (name) {
      case "then":
        return (...args) => this.source().promise.then(...args);
      case "catch":
        return (...args) => this.source().promise.catch(...args);
      case "finally":
        return (...args) => this.source().promise.finally(...args);
      case "onRpcBroken":
        return (callback) => this.#onBroken(callback);
      case kPromise:
        return this.type.name;
      case Symbol.toStringTag:
        return `Js${this.type.name}`;
      case Symbol.dispose:
        return this.type === RpcPromise ? () => this.source().dispose() : undefined;
    }
    if (typeof name === "symbol") return undefined;
    if (name in RpcPromise.prototype) return Reflect.get(this.type.prototype, name, receiver);
    // The platform has no handler for indexes.
    if (INDEX.test(name)) return undefined;
    const { type, path } = this;
    if (path.length >= PATH_MAX) throw new TypeError(`RPC pipelined property path is too deep (max ${PATH_MAX}).`);
    // From the result of a call a path of its own begins.
    return type === RpcPromise
      ? makeCallable(RpcProperty, this, [name])
      : makeCallable(RpcProperty, this.from, [...path, name]);
  }

  apply(_target, _self, args) {
    return makeCallable(RpcPromise, undefined, NO_PATH, this.send(this.path, args));
  }

  #onBroken(callback) {
    requireCallback(callback);
    const told = (value) => {
      if (handleOf(value) !== undefined) value.onRpcBroken(callback);
    };
    this.source().promise.then(told, callback);
  }

  getPrototypeOf() {
    return this.type.prototype;
  }

  has(_target, name) {
    return typeof name === "string";
  }

  ownKeys() {
    return ["prototype"];
  }

  set() {
    return false;
  }
}

function makeCallable(Type, from, path, result) {
  return new Proxy(kTarget, new Callable(Type, from, path, result));
}

// ---- stubs

const traps = {
  get(target, name, stub) {
    if (typeof name === "symbol" || name in target) return Reflect.get(target, name, stub);
    if (name === "then") return undefined;
    return makeCallable(RpcProperty, stub, [name]);
  },
};

function requireCallback(callback) {
  if (typeof callback !== "function") {
    throw new TypeError("Failed to execute 'onRpcBroken': parameter 1 is not of type 'Function'.");
  }
}

/**
 * Calls `callback` with what calls get once `handle` is broken.
 * @returns a function that stops that, or undefined if it never is
 */
function watch(handle, callback) {
  requireCallback(callback);
  const io = requireIo();
  const call = op_rpc_watch(handle, io.context.number, io.event);
  if (call === 0) return undefined;
  const frame = getAsyncContext();
  whenDone(io, call, (kind, ...rest) => {
    try {
      inFrame(frame, callback, undefined, completionError(kind, ...rest));
    } catch (error) {
      types.reportUncaught(error);
    }
  });
  return () => forget(io, call);
}

const ILLEGAL =
  "Illegal invocation: function called with incorrect `this` reference. See https://developers.cloudflare.com/workers/observability/errors/#illegal-invocation-errors for details.";

/** What each duplicate is one of: it knows whose the stub is. */
const originals = new SafeWeakMap();

/** Another stub of the same, with a disposer. */
function duplicate(stub) {
  const own = Object.getOwnPropertyDescriptors(stub);
  const original = originals.get(stub) ?? stub;
  let disposed = false;
  own[kHandle] = {
    get() {
      if (disposed) throw new Error(STUB_DISPOSED);
      return original[kHandle];
    },
  };
  own[Symbol.dispose] = { value: () => (disposed = true), configurable: true, writable: true };
  const copy = Object.create(Object.getPrototypeOf(stub), own);
  originals.set(copy, original);
  return copy;
}

function stubType(name) {
  const Type = { [name]: function () { throw new TypeError("Illegal constructor"); } }[name];
  const prototype = {
    fetch(input, init) {
      const stub = this;
      if (handleOf(stub) === undefined) throw new TypeError(ILLEGAL);
      const io = requireIo();
      return fetchThrough(io, () => stub[kHandle], input, init);
    },
    // DIVERGES: the platform has these three on other stubs only (case rpc/lifetime).
    dup() {
      if (handleOf(this) === undefined) throw new TypeError(ILLEGAL);
      return duplicate(this);
    },
    onRpcBroken(callback) {
      if (handleOf(this) === undefined) throw new TypeError(ILLEGAL);
      watch(this[kHandle], callback);
    },
    /** A binding is not anybody's to dispose of; a duplicate is. */
    [Symbol.dispose]() {},
  };
  for (const key of Reflect.ownKeys(prototype)) {
    Object.defineProperty(prototype, key, { enumerable: false });
  }
  Object.defineProperties(prototype, {
    constructor: { value: Type },
    [Symbol.toStringTag]: { value: name === "DurableObject" ? name : "Fetcher" },
  });
  Type.prototype = new Proxy(prototype, traps);
  return Type;
}

/** Stubs that arrive in `env`. */
export const Fetcher = stubType("Fetcher");
/** Entry points, facets, stubs that arrive over RPC. */
export const ServiceStub = stubType("ServiceStub");
/** Root Durable Objects. */
export const ObjectStub = stubType("DurableObject");

/** A stub of `Type` that sends through `handle`: the handle, or a function that gives it. */
export function makeStub(Type, handle) {
  const stub = Object.create(Type.prototype);
  Object.defineProperty(
    stub,
    kHandle,
    typeof handle === "function" ? { get: handle } : { value: handle },
  );
  return stub;
}

/** As `makeStub`; only `home` may use it. `type`: what the platform calls it. */
export function makeOwnStub(Type, handle, home, type) {
  return makeStub(Type, () => {
    requireOwn(home, type);
    return handle;
  });
}

/** A stub that came in a message: it belongs to whoever reads that. */
function landedStub(Type, handle) {
  let home;
  land((claimed) => {
    home = claimed;
  });
  return makeStub(Type, () => {
    requireOwn(home, "SubrequestChannel");
    return handle;
  });
}

/** The Proxy handler of an `RpcStub`: a function or `RpcTarget` elsewhere. Looks like a function. */
class StubHandler {
  #handle;
  #disposed = false;
  /** Shared with its duplicates, which have the same handle. */
  #shared;
  #watches = undefined;
  /** What user code has set on the stub: it stays here. */
  #own = undefined;

  constructor(handle, shared) {
    this.#handle = handle;
    this.#shared = shared;
    shared.stubs++;
  }

  #live() {
    if (this.#disposed) throw new Error(STUB_DISPOSED);
    requireOwn(this.#shared.home, "Client");
    return this.#handle;
  }

  #dispose() {
    if (this.#disposed) return;
    this.#disposed = true;
    for (let i = 0; i < this.#watches?.length; i++) this.#watches[i]();
    if (--this.#shared.stubs === 0) op_rpc_dispose(this.#handle, currentIo()?.context.number ?? 0);
  }

  #onBroken(callback) {
    const stop = watch(this.#live(), callback);
    if (stop !== undefined) (this.#watches ??= []).push(stop);
  }

  get(_target, name, stub) {
    if (this.#own?.has(name)) return this.#own.get(name);
    switch (name) {
      case kHandle:
        return this.#live();
      case "dup":
        return () => makeRpcStub(this.#live(), this.#shared);
      case "onRpcBroken":
        return (callback) => this.#onBroken(callback);
      case Symbol.dispose:
        return () => this.#dispose();
      case Symbol.toStringTag:
        return "JsRpcStub";
      case "then":
        return undefined;
    }
    if (typeof name === "symbol") return undefined;
    if (name in RpcStub.prototype) return Reflect.get(RpcStub.prototype, name, stub);
    return makeCallable(RpcProperty, stub, [name]);
  }

  apply(_target, _self, args) {
    requireIo();
    let sent;
    try {
      sent = sendThrough(this.#live(), NO_PATH, args);
    } catch (error) {
      sent = failed(error);
    }
    return makeCallable(RpcPromise, undefined, NO_PATH, sent);
  }

  getPrototypeOf() {
    return RpcStub.prototype;
  }

  has(_target, name) {
    return typeof name === "string" || this.#own?.has(name) === true;
  }

  set(_target, name, value) {
    (this.#own ??= new Map()).set(name, value);
    return true;
  }

  ownKeys() {
    return ["prototype"];
  }
}

/** `shared.home`: whose it is. */
function makeRpcStub(handle, shared = { stubs: 0, home: undefined }) {
  return new Proxy(kTarget, new StubHandler(handle, shared));
}

export class RpcTarget {}

export class RpcStub {
  constructor(value) {
    const passable = typeof value === "function" || value instanceof RpcTarget ||
      (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype);
    if (typeof value !== "object" && typeof value !== "function" || value === null) {
      throw new TypeError("Failed to construct 'JsRpcStub': constructor parameter 1 is not of type 'Object'.");
    }
    if (!passable) {
      throw new TypeError("RpcStubs can only wrap plain objects, functions, and RpcTarget derivatives.");
    }
    return makeRpcStub(exportValue(value, false), { stubs: 0, home: currentContext() });
  }
}

/** A Durable Object class as a value. */
export class DurableObjectClass {
  constructor(handle, key) {
    if (key !== kHandle) throw new TypeError("Illegal constructor");
    Object.defineProperties(this, { [kHandle]: { value: handle }, [kIsClass]: { value: true } });
  }
}

Object.defineProperty(DurableObjectClass.prototype, Symbol.toStringTag, { value: "DurableObjectClass" });

types.RpcTarget = RpcTarget;
types.reviveStub = (handle, kind) => {
  if (kind !== EXPORT_KIND) return landedStub(types.reviving === "Fetcher" ? Fetcher : ServiceStub, handle);
  const shared = { stubs: 0, home: undefined };
  land((home) => {
    shared.home = home;
  });
  const stub = makeRpcStub(handle, shared);
  arrived.push(stub);
  arrivedHandles.push(handle);
  return stub;
};
types.reviveClass = (handle) => new DurableObjectClass(handle, kHandle);

types.disposeAll = disposeAll;
types.takeArrived = takeArrived;

// ---- writable streams: the one who has it writes by calls to the one who sent it

/** Written and not taken by the sink: a writer with more waits. */
const WINDOW_BYTES = 256 << 10;
/** In one call: well below the limit of a message. */
const CALL_BYTES = 4 << 20;
const DISCONNECTED = "WritableStream received over RPC was disconnected because the remote execution context has ended.";
const NOT_BYTES =
  "This TransformStream is being used as a byte stream, but received an object of non-ArrayBuffer/ArrayBufferView type on its writable side.";

/** The sender's half: hands chunks to the stream, one after another. */
class WritableEnd extends RpcTarget {
  #writer;
  #over = false;
  #failed;
  constructor(stream) {
    super();
    if (stream.locked) throw new TypeError("This WritableStream is currently locked to a writer.");
    this.#writer = stream.getWriter();
    this.#writer.closed.catch((error) => (this.#failed = { error }));
  }
  async write(...chunks) {
    for (let i = 0; i < chunks.length; i++) {
      await this.#writer.ready;
      // Its promise says no more than the next `ready` and the end do.
      this.#writer.write(chunks[i]).catch(noop);
    }
    await this.#writer.ready;
    if (this.#failed !== undefined) throw this.#failed.error;
  }
  close() {
    this.#over = true;
    return this.#writer.close();
  }
  abort(reason) {
    this.#over = true;
    return this.#writer.abort(reason);
  }
  /** Nobody can write any more: if it was not closed, it was cut off. */
  [Symbol.dispose]() {
    if (this.#over) return;
    this.#writer.abort(Object.assign(new Error(DISCONNECTED), { retryable: true })).catch(noop);
  }
}

function bytesOf(chunk) {
  if (typeof chunk === "string") return core.encode(chunk).buffer;
  if (chunk instanceof ArrayBuffer) return chunk.slice(0);
  if (ArrayBuffer.isView(chunk)) return chunk.buffer.slice(chunk.byteOffset, chunk.byteOffset + chunk.byteLength);
  if (chunk === undefined) return new ArrayBuffer(0);
  throw new TypeError(NOT_BYTES);
}

/**
 * The receiver's half. What is written while chunks are on their way goes with the next call, so that many small writes
 * make few calls; a writer waits only while a window's worth is outstanding.
 */
class WritableSource {
  #stub;
  /** Whose stream it is. Streams call us in frames of their own. */
  #io;
  #controller;
  /** Written and not sent. @type {ArrayBuffer[]} */
  #chunks = [];
  #chunkBytes = 0;
  #onWayBytes = 0;
  #failed = undefined;
  /** Those who wait for room, or for everything to have arrived. */
  #waiting = [];

  constructor(stub) {
    this.#stub = stub;
  }

  come(io) {
    this.#io = io;
    op_rpc_adopt(this.#stub[kHandle], io.context.number);
  }

  start(controller) {
    this.#controller = controller;
  }

  write(chunk) {
    const bytes = bytesOf(chunk);
    for (let at = 0; at < bytes.byteLength; at += CALL_BYTES) {
      this.#chunks.push(bytes.byteLength <= CALL_BYTES ? bytes : bytes.slice(at, at + CALL_BYTES));
    }
    this.#chunkBytes += bytes.byteLength;
    if (this.#onWayBytes === 0) this.#send();
    return this.#chunkBytes + this.#onWayBytes < WINDOW_BYTES ? undefined : this.#until(WINDOW_BYTES);
  }

  async #send() {
    const chunks = [];
    let size = 0;
    while (this.#chunks.length > 0 && (size === 0 || size + this.#chunks[0].byteLength <= CALL_BYTES)) {
      size += this.#chunks[0].byteLength;
      chunks.push(this.#chunks.shift());
    }
    if (size === 0) return;
    this.#chunkBytes -= size;
    this.#onWayBytes += size;
    try {
      await sendThrough(this.#stub[kHandle], ["write"], chunks, this.#io).promise;
    } catch (error) {
      this.#fail(error);
    }
    this.#onWayBytes -= size;
    if (this.#failed === undefined && this.#onWayBytes === 0) this.#send();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (let i = 0; i < waiting.length; i++) waiting[i]();
  }

  #fail(error) {
    if (this.#failed !== undefined) return;
    this.#failed = { error: local(error) };
    this.#controller.error(this.#failed.error);
  }

  /** Until less than `bytes` are outstanding. */
  async #until(bytes) {
    while (this.#chunkBytes + this.#onWayBytes >= bytes && this.#failed === undefined) {
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
    if (this.#failed !== undefined) throw this.#failed.error;
  }

  async close() {
    await this.#until(1);
    await this.#last("close", []);
  }

  async abort(reason) {
    this.#chunks = [];
    this.#chunkBytes = 0;
    await this.#last("abort", [reason]);
  }

  async #last(method, args) {
    try {
      await sendThrough(this.#stub[kHandle], [method], args, this.#io).promise;
    } catch (error) {
      throw local(error);
    } finally {
      this.#stub[Symbol.dispose]();
    }
  }
}

/** A sink's error is the stream's own, wherever the sink is. */
function local(error) {
  if (typeof error === "object" && error !== null) delete error.remote;
  return error;
}

types.writableEnd = (stream) => {
  requireOwn(homeOf(stream), WRITABLE);
  return new WritableEnd(stream);
};
types.reviveWritable = (handle) => {
  const source = new WritableSource(makeRpcStub(handle));
  arrivedStreams.push(source);
  const stream = new types.WritableStream(source);
  land((home) => giveTo(stream, home));
  return stream;
};
