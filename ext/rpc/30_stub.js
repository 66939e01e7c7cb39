// Stubs: what a caller holds of something that may live elsewhere.
// API: https://developers.cloudflare.com/workers/runtime-apis/rpc/
//
// A stub is an ordinary object whose prototype is a Proxy: every property it does not have is a
// method or property over there. So structured clone meets an object it can describe, not a Proxy.

import { op_rpc_call, op_rpc_dispose } from "ext:core/ops";
import { exportValue, handleOf, isStub, kHandle, kIsClass, kPromise, kTarget, types } from "ext:facetd_rpc/10_clone.js";
import { completionError } from "ext:facetd_rpc/15_errors.js";
import { currentContext, giveTo, homeOf, land, requireIo, requireOwn, whenDone } from "ext:facetd_rpc/00_context.js";
import { WRITABLE } from "ext:facetd_rpc/17_ownership.js";
import { fetchThrough } from "ext:facetd_rpc/20_fetch.js";

const { apply } = Reflect;
const PATH_MAX = 64;
const EXPORT_KIND = 4;

function send(stub, path, args) {
  const io = requireIo();
  return new Promise((resolve, reject) => {
    const handle = stub[kHandle];
    const { number } = io.context;
    const call = op_rpc_call(handle, number, io.event, io.section, path, args);
    whenDone(io, call, (kind, ...rest) => {
      if (kind === 0) resolve(disposable(rest[0], takeArrived()));
      else reject(completionError(kind, ...rest));
    });
  });
}

function noop() {}

/** Stubs that came with the value that was read last. */
let arrived = [];
const NONE = [];

/** Those stubs; whoever asks is responsible for them. */
export function takeArrived() {
  if (arrived.length === 0) return NONE;
  const taken = arrived;
  arrived = [];
  return taken;
}

export function disposeAll(stubs) {
  for (let i = 0; i < stubs.length; i++) stubs[i][Symbol.dispose]();
}

/** Gives a result that is no stub itself a disposer for the `stubs` in it. */
function disposable(value, stubs) {
  if (typeof value !== "object" || value === null) return value;
  if (Object.getPrototypeOf(value) !== Object.prototype && handleOf(value) !== undefined) return value;
  const dispose = stubs.length === 0 ? noop : () => disposeAll(stubs);
  return Object.defineProperty(value, Symbol.dispose, { value: dispose, configurable: true, writable: true });
}

/** An error in the words of the other side, where the platform walks. */
function remoteError(message) {
  return Object.assign(new TypeError(message), { remote: true });
}

/** Walks `path` from a value that has arrived; calls what is there if there are `args`. */
function walk(value, path, args) {
  let self;
  for (let i = 0; i < path.length; i++) {
    const name = path[i];
    const isObject = (typeof value === "object" || typeof value === "function") && value !== null;
    const isThere = (isObject && isStub(value)) || (isObject && Object.hasOwn(value, name));
    // A property that is read last may be missing.
    if (!isThere && (!isObject || i < path.length - 1 || args !== undefined)) {
      throw remoteError(`The RPC receiver does not implement the method "${name}".`);
    }
    self = value;
    value = isThere ? value[name] : undefined;
  }
  if (args === undefined) return value;
  if (typeof value !== "function") {
    throw remoteError(`"${path.length === 0 ? "(this)" : path.at(-1)}" is not a function.`);
  }
  return apply(value, self, args);
}

const INDEX = /^(0|[1-9][0-9]*)$/;

export class RpcPromise {}
export class RpcProperty {}

/**
 * A callable that is also a promise. `run(path, args)` sends; `base` is the promise itself, once
 * there is one.
 */
function makeCallable(Type, run, path, base) {
  const promise = () => (base ??= run(path, undefined));
  return new Proxy(kTarget, {
    get(_target, name) {
      switch (name) {
        case "then":
          return (...args) => promise().then(...args);
        case "catch":
          return (...args) => promise().catch(...args);
        case "finally":
          return (...args) => promise().finally(...args);
        case kPromise:
          return Type.name;
        case kHandle:
          return undefined;
        case Symbol.toStringTag:
          return `Js${Type.name}`;
        case Symbol.dispose:
          return noop;
        case "constructor":
          return Type;
      }
      // The platform has no handler for indexes.
      if (typeof name === "symbol" || INDEX.test(name)) return undefined;
      if (path.length >= PATH_MAX) {
        throw new TypeError(`RPC pipelined property path is too deep (max ${PATH_MAX}).`);
      }
      return makeCallable(RpcProperty, run, [...path, name]);
    },
    apply(_target, _self, args) {
      return makeCallable(RpcPromise, pipeline(run(path, args)), [], undefined);
    },
    getPrototypeOf: () => Type.prototype,
    has: (_target, name) => typeof name === "string",
    ownKeys: () => ["prototype"],
    set: () => false,
  });
}

/** Property and call on a result that is still on its way. */
function pipeline(promise) {
  promise.catch(noop);
  return (path, args) => path.length === 0 && args === undefined ? promise : promise.then((v) => walk(v, path, args));
}

function callable(stub, path) {
  return makeCallable(RpcProperty, (p, args) => {
    requireIo(); // at top level the call throws; everything else that is wrong with it rejects
    try {
      return send(stub, p, args);
    } catch (error) {
      return Promise.reject(error);
    }
  }, path);
}

const traps = {
  get(target, name, stub) {
    if (typeof name === "symbol" || name in target) return Reflect.get(target, name, stub);
    if (name === "then") return undefined;
    return callable(stub, [name]);
  },
};

function stubType(name) {
  const Type = { [name]: function () { throw new TypeError("Illegal constructor"); } }[name];
  const prototype = {
    fetch(input, init) {
      const stub = this;
      if (handleOf(stub) === undefined) {
        throw new TypeError("Illegal invocation: function called with incorrect `this` reference. See https://developers.cloudflare.com/workers/observability/errors/#illegal-invocation-errors for details.");
      }
      const io = requireIo();
      return fetchThrough(io, () => stub[kHandle], input, init);
    },
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

/** `RpcStub`: a function or `RpcTarget` elsewhere. Looks like a function. */
function makeRpcStub(handle, shared = { stubs: 0, home: undefined }) {
  shared.stubs++;
  let disposed = false;
  const stub = {
    get [kHandle]() {
      if (disposed) throw new Error("RPC stub used after being disposed.");
      requireOwn(shared.home, "Client");
      return handle;
    },
  };
  const dispose = () => {
    if (disposed) return;
    disposed = true;
    if (--shared.stubs === 0) op_rpc_dispose(handle);
  };
  const root = callable(stub, []);
  /** What user code has set on the stub: it stays here. */
  const own = new Map();
  return new Proxy(kTarget, {
    get(_target, name) {
      if (own.has(name)) return own.get(name);
      switch (name) {
        case kHandle:
          return stub[kHandle];
        case "dup":
          return () => makeRpcStub(stub[kHandle], shared);
        case "onRpcBroken":
          return noop;
        case Symbol.dispose:
          return dispose;
        case Symbol.toStringTag:
          return "JsRpcStub";
        case "constructor":
          return RpcStub;
        case "then":
          return undefined;
      }
      return typeof name === "symbol" ? undefined : callable(stub, [name]);
    },
    apply: (_target, _self, args) => apply(root, undefined, args),
    getPrototypeOf: () => RpcStub.prototype,
    has: (_target, name) => typeof name === "string" || own.has(name),
    set(_target, name, value) {
      own.set(name, value);
      return true;
    },
    ownKeys: () => ["prototype"],
  });
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
    return makeRpcStub(exportValue(value, true), { stubs: 0, home: currentContext() });
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
  return stub;
};
types.reviveClass = (handle) => new DurableObjectClass(handle, kHandle);

// ---- writable streams: the one who has it writes by calls to the one who sent it

class WritableEnd extends RpcTarget {
  #writer;
  constructor(stream) {
    super();
    this.#writer = stream.getWriter();
  }
  write(chunk) {
    return this.#writer.write(chunk);
  }
  close() {
    return this.#writer.close();
  }
  abort(reason) {
    return this.#writer.abort(reason);
  }
  /** Nobody can write any more: if it was not closed, it was cut off. */
  [Symbol.dispose]() {
    this.#writer.abort(new Error("WritableStream received over RPC was disposed before it was closed.")).catch(noop);
  }
}

types.writableEnd = (stream) => {
  requireOwn(homeOf(stream), WRITABLE);
  return new WritableEnd(stream);
};
types.reviveWritable = (handle) => {
  const stub = makeRpcStub(handle);
  const last = async (call) => {
    try {
      await call;
    } finally {
      stub[Symbol.dispose]();
    }
  };
  const stream = new types.WritableStream({
    write: (chunk) => send(stub, ["write"], [chunk]),
    close: () => last(send(stub, ["close"], [])),
    abort: (reason) => last(send(stub, ["abort"], [reason])),
  });
  land((home) => giveTo(stream, home));
  return stream;
};
