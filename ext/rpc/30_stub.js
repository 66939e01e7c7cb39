// Stubs: what a caller holds of something that may live elsewhere.
// API: https://developers.cloudflare.com/workers/runtime-apis/rpc/
//
// A stub is an ordinary object whose prototype is a Proxy: every property it does not have is a
// method or property over there. So structured clone meets an object it can describe, not a Proxy.

import { op_rpc_call, op_rpc_dispose } from "ext:core/ops";
import { exportValue, kHandle, kIsClass, kPromise, types } from "ext:facetd_rpc/10_clone.js";
import { completionError } from "ext:facetd_rpc/15_errors.js";
import { requireIo, whenDone } from "ext:facetd_rpc/00_context.js";
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
      if (kind === 0) resolve(rest[0]);
      else reject(completionError(kind, ...rest));
    });
  });
}

function noop() {}

/** Walks `path` from a value that has arrived; calls what is there if there are `args`. */
function walk(value, path, args) {
  let self;
  for (const name of path) {
    if ((typeof value !== "object" && typeof value !== "function") || value === null) {
      throw new TypeError(`The RPC receiver does not implement the method "${name}".`);
    }
    self = value;
    const isStub = value[kHandle] !== undefined || value[kPromise] !== undefined;
    value = isStub || Object.hasOwn(value, name) ? value[name] : undefined;
  }
  if (args === undefined) return value;
  if (typeof value !== "function") {
    throw new TypeError(`"${path.length === 0 ? "(this)" : path.at(-1)}" is not a function.`);
  }
  return apply(value, self, args);
}

export class RpcPromise {}
export class RpcProperty {}

/**
 * A callable that is also a promise. `run(path, args)` sends; `base` is the promise itself, once
 * there is one.
 */
function makeCallable(Type, run, path, base) {
  const promise = () => (base ??= run(path, undefined));
  return new Proxy(noop, {
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
          return Type.name;
        case Symbol.dispose:
          return noop;
        case "constructor":
          return Type;
      }
      if (typeof name === "symbol") return undefined;
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
      if (stub?.[kHandle] === undefined) {
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

/** `RpcStub`: a function or `RpcTarget` elsewhere. Looks like a function. */
function makeRpcStub(handle, shared = { stubs: 0 }) {
  shared.stubs++;
  let disposed = false;
  const stub = {
    get [kHandle]() {
      if (disposed) throw new Error("RPC stub used after being disposed.");
      return handle;
    },
  };
  const dispose = () => {
    if (disposed) return;
    disposed = true;
    if (--shared.stubs === 0) op_rpc_dispose(handle);
  };
  const root = callable(stub, []);
  return new Proxy(noop, {
    get(_target, name, receiver) {
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
    return makeRpcStub(exportValue(value));
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
types.reviveStub = (handle, kind) => kind === EXPORT_KIND
  ? makeRpcStub(handle)
  : makeStub(types.reviving === "Fetcher" ? Fetcher : ServiceStub, handle);
types.reviveClass = (handle) => new DurableObjectClass(handle, kHandle);
