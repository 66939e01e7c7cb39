// What is not plain data in a structured clone.
// API: https://developers.cloudflare.com/workers/runtime-apis/rpc/ ("Types")
//
// V8 asks `describe` for every object that is not plain; the answer is `[tag, standIn, handle?]`,
// or an exception. `revive` makes the object again on the other side.

import { core, primordials } from "ext:core/mod.js";
import { op_rpc_busy, op_rpc_export, op_rpc_may_pass } from "ext:core/ops";
import { currentIo, derivedFrame, inFrame } from "ext:facetd_rpc/00_context.js";

const { apply } = Reflect;
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
// Their methods stay what they are, whatever user code does to Map and Set.
const { SafeMap, SafeSet } = primordials;

/** The handle of a stub or class object. Private to us: user code cannot name the symbol. */
export const kHandle = Symbol("handle");
/** `false` on objects that look passable but must be called first (`ctx.exports.X`). */
export const kRefuse = Symbol("refuse");

const MODE_RPC = 0;
const MODE_ENV = 1;
const MODE_STORAGE = 3;

const TAG_STUB = 1;
const TAG_CLASS = 2;
const TAG_HEADERS = 3;
const TAG_REQUEST = 4;
const TAG_RESPONSE = 5;
const TAG_STREAM = 6;
const TAG_BLOB = 7;
const TAG_FUNCTION = 8;
const TAG_ERROR = 9;
const TAG_WRITABLE = 10;
const TAG_OWNED = 11;

export function dataCloneError(message) {
  return new DOMException(message, "DataCloneError");
}

export function unsupported(name) {
  return dataCloneError(
    `Could not serialize object of type "${name}". This type does not support serialization.`,
  );
}

const NOT_PASSABLE = [
  undefined,
  "Stubs pointing to Durable Object facets are not serializable.",
  "Entrypoints to dynamically-loaded workers cannot be transferred to other Workers, because the system does not know how to reload this Worker from scratch. Instead, have the parent Worker expose an entrypoint which constructs the dynamic worker and forwards to it.",
  "ServiceStub cannot be serialized in this context.",
  "RpcStub cannot be serialized in this context because it is not a persistent stub.",
  "RpcStub cannot be serialized in this context.",
];

/** What was passed out, by the number its stubs carry. @type {Map<number, Exported>} */
const exported = new SafeMap();
let lastExport = 0;

/** A function or `RpcTarget` that others have stubs of, or a result that calls were pipelined on. */
class Exported {
  /** The event that stays alive for it, if it came out of a stateless one as a result. */
  home = undefined;
  /** The object that stays in memory for it. */
  busy = false;
  /** Stubs that were lent to the event whose result it is. */
  borrowed = undefined;
  constructor(value, io, quiet) {
    this.value = value;
    this.io = io;
    /** Its disposer does not run: it is kept for the sake of pipelined calls only. */
    this.quiet = quiet;
  }
}

function keep(value, quiet) {
  do lastExport = (lastExport + 1) >>> 0; while (lastExport === 0 || exported.has(lastExport));
  const io = currentIo();
  const entry = new Exported(value, io, quiet);
  exported.set(lastExport, entry);
  if (io !== undefined) (io.context.exports ??= new SafeSet()).add(lastExport);
  return entry;
}

/**
 * @returns a handle for a stub of `value`, which stays reachable until the last stub is gone.
 * `sent`: to somebody else, who may be anywhere.
 */
export function exportValue(value, sent = true) {
  const { io } = keep(value, false);
  const number = lastExport;
  if (sent) stayFor(exported.get(number), types.answering);
  return op_rpc_export(number, io?.context.number ?? 0, io?.section ?? 0);
}

/** Keeps the result of `event` for calls that were pipelined on it. @returns its number */
export function keepResult(event, value) {
  const entry = keep(value, true);
  const number = lastExport;
  entry.borrowed = event.borrowed;
  stayFor(entry, event);
  return number;
}

/** Whoever has a stub of a result or of what an object passed out keeps its context. */
function stayFor(entry, event) {
  if (entry.io?.context.isObject) {
    entry.busy = true;
    op_rpc_busy(entry.io.context.number, 1);
  } else if (event !== undefined) {
    entry.home = event;
    event.enter();
  }
}

export function exportedValue(number) {
  return exported.get(number);
}

/** The context is over: nobody can call what it has passed out. */
export function forgetExports(context) {
  if (context.exports === undefined) return;
  for (const number of context.exports) exported.delete(number);
  context.exports = undefined;
}

/** Called by Rust: the last stub of `number` is gone. */
export function release(number) {
  const entry = exported.get(number);
  if (entry === undefined) return;
  exported.delete(number);
  entry.io?.context.exports?.delete(number);
  if (entry.io === undefined || !entry.io.context.alive) return;
  try {
    if (entry.borrowed !== undefined) types.disposeAll(entry.borrowed);
    if (!entry.quiet) {
      const dispose = entry.value?.[Symbol.dispose];
      if (typeof dispose === "function") inFrame(derivedFrame(entry.io), dispose, entry.value);
    }
  } catch (error) {
    types.reportUncaught(error);
  } finally {
    if (entry.busy) op_rpc_busy(entry.io.context.number, -1);
    entry.home?.over();
  }
}

/** Set by the files that define the types: clone must know them, they must know clone. */
export const types = {
  hold: () => () => {},
  /** The event whose result is being written: what it passes out keeps it alive. */
  answering: undefined,
  /** Stubs in arguments are duplicated for the callee: `rpc_params_dup_stubs`. */
  paramsAreDuplicated: true,
  /** Without that flag: stubs that were in the arguments written last, which now belong to the callee. */
  moved: [],
  disposeAll: undefined,
  takeArrived: undefined,
  reportUncaught: undefined,
  AbortSignal: undefined,
  stored: [],
  RpcTarget: undefined,
  describeBody: undefined,
  /** Own properties of errors cross: `enhanced_error_serialization`. */
  errorsKeepOwn: true,
  reviveRequest: undefined,
  reviveResponse: undefined,
  reviveStream: undefined,
  streamHandle: undefined,
  WritableStream: undefined,
  writableEnd: undefined,
  reviveWritable: undefined,
  reviveStub: undefined,
  reviveClass: undefined,
  Headers: undefined,
  Request: undefined,
  Response: undefined,
  Blob: undefined,
  ReadableStream: undefined,
  blobParts: undefined,
  headerPairs: undefined,
  describeStored: undefined,
  /** Classes of ours and of the web that are never stored. */
  platform: new Set(),
  reviving: "ServiceStub",
};

/** A message on objects that can never be passed: facet stubs. */
export const kNotPassable = Symbol("notPassable");
/** The type's name on RpcPromises and RpcProperties. */
export const kPromise = Symbol("rpcPromise");

/** Stands in for a function or callable stub, which V8 refuses before it asks us. */
class Passed {
  constructor(value) {
    this.value = value;
  }
}

/** A plain result with a disposer of its own, which runs when the caller is done with the result. */
class Owned {
  constructor(owner) {
    this.owner = owner;
    this.plain = withPassed(owner, MODE_RPC) ?? owner;
  }
}

/** What to write in place of the result `value`. */
export function ownedResult(value, noop) {
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  const dispose = value[Symbol.dispose];
  return typeof dispose !== "function" || dispose === noop ? value : new Owned(value);
}

const BAD_DUP =
  "Couldn't create a stub for the RcpTarget because it has a dup() method which did not return another RpcTarget. Either remove the dup() method or make sure it returns an RpcTarget.";

/** A target in arguments may give each callee a copy of its own. */
function ownCopy(target) {
  if (types.answering !== undefined || !types.paramsAreDuplicated) return target;
  const { dup } = target;
  if (typeof dup !== "function") return target;
  const copy = apply(dup, target, []);
  if (!is(copy, types.RpcTarget)) throw dataCloneError(BAD_DUP);
  return copy;
}

function is(value, type) {
  return type !== undefined && value instanceof type;
}

/** Called by Rust. `mode`: 0 rpc, 1 env, 2 props, 3 storage. */
export function describe(object, mode) {
  if (object instanceof Passed) return describePassed(object.value, mode);
  if (mode === MODE_STORAGE) {
    const described = types.describeStored(object);
    if (described !== undefined) return described;
  }
  if (object instanceof Error || object instanceof DOMException) return [TAG_ERROR, packError(object)];
  const message = object[kNotPassable];
  if (message !== undefined) throw dataCloneError(message);
  const handle = object[kHandle];
  if (handle !== undefined) return describeHandle(object, handle, mode);
  if (is(object, types.RpcTarget)) {
    if (mode !== MODE_RPC) {
      throw dataCloneError("Remote RPC references can only be serialized for RPC.");
    }
    return [TAG_FUNCTION, null, exportValue(ownCopy(object))];
  }
  if (object instanceof Owned) return [TAG_OWNED, object.plain, exportValue(object.owner)];
  if (is(object, types.Headers)) return [TAG_HEADERS, types.headerPairs(object)];
  if (is(object, types.ReadableStream)) {
    if (mode !== MODE_RPC) throw dataCloneError("ReadableStream can only be serialized for RPC.");
    return [TAG_STREAM, null, types.streamHandle(object)];
  }
  if (is(object, types.WritableStream)) {
    if (mode !== MODE_RPC) throw dataCloneError("WritableStream can only be serialized for RPC.");
    return [TAG_WRITABLE, null, exportValue(types.writableEnd(object))];
  }
  if (is(object, types.Request) || is(object, types.Response)) {
    const described = types.describeBody(object, mode === MODE_RPC);
    if (described === undefined) {
      throw dataCloneError("ReadableStream can only be serialized for RPC.");
    }
    const [fields, body] = described;
    return [is(object, types.Request) ? TAG_REQUEST : TAG_RESPONSE, fields, body];
  }
  if (is(object, types.Blob)) return [TAG_BLOB, types.blobParts(object)];
  if (is(object, types.AbortSignal)) throw dataCloneError("AbortSignal serialization is not enabled.");
  const name = object.constructor?.name ?? "Object";
  // The instances of a user's own classes are stored as plain objects; the platform's are refused.
  if (mode === MODE_STORAGE && !types.platform.has(object.constructor)) return undefined;
  throw unsupported(name);
}

function describeHandle(object, handle, mode) {
  const refuse = object[kRefuse];
  if (refuse !== undefined) throw unsupported(refuse);
  const why = op_rpc_may_pass(handle, mode);
  if (why !== 0) throw dataCloneError(NOT_PASSABLE[why]);
  const isClass = object[kIsClass] === true;
  if (mode === MODE_RPC && !types.paramsAreDuplicated && types.answering === undefined) types.moved.push(object);
  return [isClass ? TAG_CLASS : TAG_STUB, null, handle];
}

/** Marks class objects among the things that have a handle. */
export const kIsClass = Symbol("isClass");

function describePassed(value, mode) {
  const pending = value[kPromise];
  if (pending !== undefined) throw unsupported(pending);
  const handle = value[kHandle];
  if (handle !== undefined) return describeHandle(value, handle, mode);
  return [TAG_FUNCTION, null, exportValue(value)];
}

/** Called by Rust. `kind`: the target's kind, for stubs. */
export function revive(tag, standIn, handle, kind) {
  switch (tag) {
    case TAG_STUB:
    case TAG_FUNCTION:
      return types.reviveStub(handle, kind);
    case TAG_CLASS:
      return types.reviveClass(handle);
    case TAG_HEADERS:
      return new types.Headers(standIn);
    case TAG_REQUEST:
      return types.reviveRequest(standIn, handle);
    case TAG_RESPONSE:
      return types.reviveResponse(standIn, handle);
    case TAG_STREAM:
      return types.reviveStream(handle);
    case TAG_ERROR:
      return unpackError(standIn);
    case TAG_WRITABLE:
      return types.reviveWritable(handle);
    case TAG_OWNED:
      types.reviveStub(handle, kind); // it comes with the result, and is disposed with it
      return standIn;
    case TAG_BLOB:
      return new types.Blob(standIn.parts, { type: standIn.type });
    default:
      throw new TypeError("The value was made by a newer facetd and cannot be read.");
  }
}

/**
 * Called by Rust when V8 refused a value: `[copy]` with its callables replaced, or undefined if the
 * refusal stands. `refused`: what V8 threw.
 */
export function passable(value, refused, mode) {
  if (refused?.name !== "DataCloneError") return undefined;
  const copy = withPassed(value, mode);
  return copy === undefined ? undefined : [copy];
}

/**
 * A copy of `value` in which functions and callable stubs are replaced by something V8 lets us
 * describe; `undefined` if there is none, so that the refusal of V8 stands.
 */
function withPassed(value, mode) {
  let found = false;
  const seen = new Map();
  const walk = (v) => {
    if (typeof v === "function") {
      // Outside RPC only stubs may pass; a plain function keeps V8's own refusal.
      const known = v[kHandle] !== undefined || v[kPromise] !== undefined;
      if (mode !== MODE_RPC && !known) return v;
      found = true;
      // The same function twice is the same stub twice.
      let passed = seen.get(v);
      if (passed === undefined) seen.set(v, passed = new Passed(v));
      return passed;
    }
    if (typeof v !== "object" || v === null) return v;
    if (seen.has(v)) return seen.get(v);
    if (Array.isArray(v)) {
      const copy = new Array(v.length);
      seen.set(v, copy);
      for (const i of Object.keys(v)) copy[i] = walk(v[i]);
      return copy;
    }
    if (v instanceof Map) {
      const copy = new Map();
      seen.set(v, copy);
      for (const [k, x] of v) copy.set(walk(k), walk(x));
      return copy;
    }
    if (v instanceof Set) {
      const copy = new Set();
      seen.set(v, copy);
      for (const x of v) copy.add(walk(x));
      return copy;
    }
    const proto = Object.getPrototypeOf(v);
    if (proto !== Object.prototype && proto !== null) return v;
    const copy = {};
    seen.set(v, copy);
    for (const k of Object.keys(v)) copy[k] = walk(v[k]);
    return copy;
  };
  const copy = walk(value);
  return found ? copy : undefined;
}

export const NATIVE_ERRORS = {
  __proto__: null,
  Error,
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
  AggregateError,
};


/** Whose error is being packed, for `durableObjectId`. */
export const thrower = { id: undefined };

/** Called by Rust before a thrown value crosses: keeps an error's own properties too. */
export function packError(thrown) {
  const id = thrower.id;
  thrower.id = undefined;
  if (typeof thrown === "function" || typeof thrown === "symbol") return { text: String(thrown) };
  if (thrown instanceof DOMException) {
    return { dom: [thrown.name, thrown.message] };
  }
  if (!(thrown instanceof Error)) {
    return typeof thrown === "object" && thrown !== null
      ? { value: thrown }
      : { text: String(thrown) };
  }
  const own = {};
  if (types.errorsKeepOwn) {
    for (const key of Object.keys(thrown)) {
      if (key !== "remote") own[key] = thrown[key];
    }
    for (const key of ["cause", "errors"]) if (Object.hasOwn(thrown, key)) own[key] = thrown[key];
  }
  const packed = {
    class: nativeClassOf(thrown),
    name: String(thrown.name),
    message: typeof thrown.message === "string" ? thrown.message : "",
    stack: String(thrown.stack),
  };
  if (id !== undefined) packed.id = String(id);
  try {
    const names = Object.keys(own);
    if (names.length > 0) {
      if (names.some((name) => isReference(own[name]))) throw new TypeError("no stubs in errors");
      structuredClone(own);
      packed.own = own;
    }
  } catch {
    // An own property that cannot cross is dropped with its siblings; class and message survive.
  }
  return packed;
}

/** It would cross as a stub, which nobody would dispose of. */
function isReference(value) {
  if (typeof value !== "object" && typeof value !== "function" || value === null) return false;
  return is(value, types.RpcTarget) || value[kHandle] !== undefined;
}

export function nativeClassOf(error) {
  for (let proto = Object.getPrototypeOf(error); proto !== null; proto = Object.getPrototypeOf(proto)) {
    const name = proto.constructor?.name;
    if (NATIVE_ERRORS[name]?.prototype === proto) return name;
  }
  return "Error";
}

export function unpackError(packed) {
  if ("value" in packed) return packed.value;
  if ("dom" in packed) return new DOMException(packed.dom[1], packed.dom[0]);
  if ("text" in packed) return new Error(packed.text);
  const Class = NATIVE_ERRORS[packed.class] ?? Error;
  const error = Class === AggregateError ? new AggregateError([], packed.message) : new Class(packed.message);
  if (packed.id !== undefined) {
    Object.defineProperty(error, "durableObjectId", { value: packed.id, configurable: true, writable: true });
  }
  if (packed.name !== error.name) error.name = packed.name;
  for (const key of Object.keys(packed.own ?? {})) {
    Object.defineProperty(error, key, { value: packed.own[key], configurable: true, writable: true, enumerable: true });
  }
  return error;
}
