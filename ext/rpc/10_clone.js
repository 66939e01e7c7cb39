// What is not plain data in a structured clone.
// API: https://developers.cloudflare.com/workers/runtime-apis/rpc/ ("Types")
//
// V8 asks `describe` for every object that is not plain; the answer is `[tag, standIn, handle?]`,
// or an exception. `revive` makes the object again on the other side.

import { core, primordials } from "ext:core/mod.js";
import { op_rpc_busy, op_rpc_export, op_rpc_may_pass } from "ext:core/ops";
import { currentIo, derivedFrame, inFrame, tables } from "ext:facetd_rpc/00_context.js";

const { apply } = Reflect;
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
// Their methods stay what they are, whatever user code does to Map and Set.
const {
  ArrayIsArray,
  MapPrototypeForEach,
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptor,
  ObjectHasOwn,
  ObjectKeys,
  ObjectPrototypeToString,
  ObjectSetPrototypeOf,
  ReflectApply,
  ReflectGetPrototypeOf,
  ReflectOwnKeys,
  SafeMap,
  SafeSet,
  SafeWeakSet,
  SetPrototypeForEach,
  StringPrototypeIndexOf,
  StringPrototypeSlice,
} = primordials;

/** The handle of a stub or class object. Private to us: user code cannot name the symbol. */
export const kHandle = Symbol("handle");
/** `false` on objects that look passable but must be called first (`ctx.exports.X`). */
export const kRefuse = Symbol("refuse");

const MODE_RPC = 0;
const MODE_ENV = 1;
const MODE_STORAGE = 3;
/** A thrown value: plain data only, whatever its class; nothing that could call back. */
const MODE_THROWN = 4;

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

/** Also the disposer of a result that has nothing to dispose of. */
export function noop() {}

/** What was passed out, by the number its stubs carry. @type {Map<number, Exported>} */
const exported = new SafeMap();
tables.exported = exported;
let lastExport = 0;

/** A function or `RpcTarget` that others have stubs of, or a result that calls were pipelined on. */
class Exported {
  /** The event that stays alive for it, if it came out of a stateless one as a result. */
  home = undefined;
  /** The object that stays in memory for it. */
  busy = false;
  /** Stubs that were lent to the event whose result it is. */
  borrowed = undefined;
  constructor(number, value, io, quiet) {
    this.number = number;
    this.value = value;
    this.io = io;
    /** Its disposer does not run: it is kept for the sake of pipelined calls only. */
    this.quiet = quiet;
  }
}

function keep(value, quiet) {
  do lastExport = (lastExport + 1) >>> 0; while (lastExport === 0 || exported.has(lastExport));
  const io = currentIo();
  const entry = new Exported(lastExport, value, io, quiet);
  exported.set(lastExport, entry);
  if (io !== undefined) (io.context.exports ??= new SafeSet()).add(lastExport);
  return entry;
}

/**
 * @returns a handle for a stub of `value`, which stays reachable until the last stub is gone.
 * `sent`: to somebody else, who may be anywhere.
 */
export function exportValue(value, sent = true) {
  const entry = keep(value, false);
  const { io } = entry;
  if (sent) stayFor(entry, types.answering);
  return op_rpc_export(entry.number, io?.context.number ?? 0, io?.section ?? 0);
}

/** Keeps the result of `event` for calls that were pipelined on it. @returns its number */
export function keepResult(event, value) {
  const entry = keep(value, true);
  entry.borrowed = event.borrowed;
  stayFor(entry, event);
  return entry.number;
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
  hold: () => noop,
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
  File: undefined,
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

/**
 * What all our callable Proxies wrap. User code never sees it, so a Proxy of something else is not ours, and must not be
 * asked for our symbols: its `get` trap would learn them.
 */
export const kTarget = () => {};
/** Our other Proxies, made once each. */
export const loopbacks = new SafeWeakSet();

function isOurProxy(value) {
  return core.getProxyDetails(value)[0] === kTarget || loopbacks.has(value);
}

/** `value[key]`, if the value has that of its own or is a Proxy of ours. */
export function ours(value, key) {
  if (value === undefined || value === null) return undefined;
  if (core.isProxy(value)) return isOurProxy(value) ? value[key] : undefined;
  return ObjectHasOwn(value, key) ? value[key] : undefined;
}

/** The handle of a stub; undefined for all else, hostile Proxies included. */
export function handleOf(value) {
  return ours(value, kHandle);
}

/** Is `value` a stub, or a promise of one? */
export function isStub(value) {
  return ours(value, kHandle) !== undefined || ours(value, kPromise) !== undefined;
}

/** A plain result with a disposer of its own, which runs when the caller is done with the result. */
class Owned {
  constructor(owner) {
    this.owner = owner;
  }
}

/** What to write in place of the result `value`. */
export function ownedResult(value) {
  if (typeof value !== "object" || value === null || core.isProxy(value)) return value;
  if (ReflectGetPrototypeOf(value) !== ObjectPrototype) return value;
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

/** Called by Rust. `mode`: 0 rpc, 1 env, 2 props, 3 storage, 4 thrown. */
export function describe(object, mode) {
  if (mode === MODE_STORAGE) {
    const described = types.describeStored(object);
    if (described !== undefined) return described;
  }
  if (object instanceof DOMException) return [TAG_ERROR, packDomException(object)];
  if (core.isNativeError(object)) {
    const packed = packError(object);
    if (mode === MODE_THROWN) {
      if (typeof packed.message !== "string") throw dataCloneError(NO_MESSAGE);
      packed.framed = true;
    }
    return [TAG_ERROR, packed];
  }
  const message = ours(object, kNotPassable);
  if (message !== undefined) throw dataCloneError(message);
  const handle = ours(object, kHandle);
  if (handle !== undefined) return describeHandle(object, handle, mode);
  if (is(object, types.RpcTarget)) {
    if (mode !== MODE_RPC) {
      throw dataCloneError("Remote RPC references can only be serialized for RPC.");
    }
    return [TAG_FUNCTION, null, exportValue(ownCopy(object))];
  }
  if (object instanceof Owned) return [TAG_OWNED, object.owner, exportValue(object.owner)];
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
  if (is(object, types.Blob) && !is(object, types.File)) return [TAG_BLOB, types.blobParts(object)];
  if (is(object, types.AbortSignal)) throw dataCloneError("AbortSignal serialization is not enabled.");
  // The instances of a user's own classes are stored and thrown as plain objects; the platform's are refused.
  const Class = ReflectGetPrototypeOf(object)?.constructor;
  if ((mode === MODE_STORAGE || mode === MODE_THROWN) && !types.platform.has(Class)) return undefined;
  throw unsupported(Class?.name ?? "Object");
}

function describeHandle(object, handle, mode) {
  if (mode === MODE_THROWN) throw dataCloneError("Remote RPC references can only be serialized for RPC.");
  const refuse = ours(object, kRefuse);
  if (refuse !== undefined) throw unsupported(refuse);
  const why = op_rpc_may_pass(handle, mode);
  if (why !== 0) throw dataCloneError(NOT_PASSABLE[why]);
  const isClass = ours(object, kIsClass) === true;
  if (mode === MODE_RPC && !types.paramsAreDuplicated && types.answering === undefined) types.moved.push(object);
  return [isClass ? TAG_CLASS : TAG_STUB, null, handle];
}

/** Marks class objects among the things that have a handle. */
export const kIsClass = Symbol("isClass");

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
      return unpackError(standIn, true);
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

const PROXY_REFUSED =
  "Proxy could not be serialized because it is not a valid RPC receiver type. The Proxy must emulate either a plain object or an RpcTarget, as indicated by the Proxy's prototype chain.";

const { prototype: ObjectPrototype } = Object;

/** Does the Proxy say that it is a plain object or an `RpcTarget`? */
function emulatesReceiver(proxy) {
  try {
    return ReflectGetPrototypeOf(proxy) === ObjectPrototype || is(proxy, types.RpcTarget);
  } catch {
    return false;
  }
}

/** How a function or a Proxy crosses: as `describe` says it; undefined: V8's own refusal stands. */
function describeCallable(value, mode) {
  if (core.isProxy(value) && isOurProxy(value)) {
    const pending = value[kPromise];
    if (pending !== undefined) throw unsupported(pending);
    const handle = value[kHandle];
    if (handle !== undefined) return describeHandle(value, handle, mode);
  }
  // Outside RPC only stubs may pass.
  if (mode !== MODE_RPC) return undefined;
  if (typeof value !== "function") {
    if (!emulatesReceiver(value)) throw dataCloneError(PROXY_REFUSED);
  }
  return [TAG_FUNCTION, null, exportValue(value)];
}

/**
 * Called by Rust when V8 refused a value: it refuses functions and Proxies before it asks us. Finds those that may pass.
 *
 * Walks what the serializer walks, in its order, and without recursion: the value may be deeper than the stack. Getters
 * run once more than they do for plain data, so one that makes a new function at each call is refused.
 * @returns {any[] | undefined} `[object, description, object, description, ...]`; undefined: there are none, and the
 *   refusal of V8 stands
 */
export function callables(value, mode) {
  const found = bareList();
  const seen = new SafeSet();
  const left = bareList();
  left[0] = value;
  let refusal;
  while (left.length > 0) {
    const v = left[left.length - 1];
    left.length--;
    if (typeof v !== "function" && (typeof v !== "object" || v === null) || seen.has(v)) continue;
    seen.add(v);
    if (typeof v === "function" || core.isProxy(v)) {
      try {
        const described = describeCallable(v, mode);
        if (described !== undefined) {
          found[found.length] = v;
          found[found.length] = described;
        }
      } catch (error) {
        refusal ??= { error };
      }
      continue;
    }
    const from = left.length;
    below(v, left);
    // What was put there first comes next.
    for (let low = from, high = left.length - 1; low < high; low++, high--) {
      const held = left[low];
      left[low] = left[high];
      left[high] = held;
    }
  }
  if (refusal !== undefined) throw refusal.error;
  return found.length === 0 ? undefined : found;
}

/** A list of ours: user code may have put setters for indexes on `Array.prototype`. */
function bareList() {
  return ObjectSetPrototypeOf([], null);
}

/** Puts what the serializer would write of `v` at the end of `list`. */
function below(v, list) {
  const add = (item) => {
    if (typeof item === "object" || typeof item === "function") list[list.length] = item;
  };
  if (core.isMap(v)) {
    MapPrototypeForEach(v, (item, key) => {
      add(key);
      add(item);
    });
  } else if (core.isSet(v)) {
    SetPrototypeForEach(v, add);
  } else if (core.isNativeError(v)) {
    addProperties(v, ReflectOwnKeys(v), add);
    addProperties(v, ["name"], add);
  } else if (v instanceof Owned) {
    add(v.owner);
  } else if (ArrayIsArray(v) || isPlain(v)) {
    addProperties(v, ObjectKeys(v), add);
  }
}

function addProperties(v, keys, add) {
  for (let i = 0; i < keys.length; i++) {
    if (typeof keys[i] !== "string") continue;
    try {
      add(v[keys[i]]);
    } catch {
      // A getter that throws does so again when V8 asks it.
    }
  }
}

/** Does V8 write the properties of `v`? (See `is_host_object`.) */
function isPlain(v) {
  const proto = ReflectGetPrototypeOf(v);
  return proto !== null && !core.isProxy(proto) && ReflectGetPrototypeOf(proto) === null;
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

/**
 * Called by Rust before a thrown value crosses. `whole`: it, with an error's own properties; if that cannot be written, or
 * not be read at the other end, it is asked for again without, and `text` is what V8 prints of it.
 */
export function packThrown(thrown, whole, text) {
  const packed = packOnlyThrown(thrown, whole, text);
  packed.flags = flagsOf(thrown);
  return packed;
}

const RETRYABLE = 2;
const OVERLOADED = 4;

/** What a thrown value says of itself, as the flags of `15_errors.js`. It arrives even where the value does not. */
function flagsOf(thrown) {
  if ((typeof thrown !== "object" && typeof thrown !== "function") || thrown === null) return 0;
  try {
    if (thrown instanceof DOMException) return 0;
    return thrown.overloaded ? OVERLOADED : thrown.retryable ? RETRYABLE : 0;
  } catch {
    return 0;
  }
}

function packOnlyThrown(thrown, whole, text) {
  const { id } = thrower;
  if (!whole) {
    thrower.id = undefined;
    return core.isNativeError(thrown) ? packText(text) : { class: "Error", message: text };
  }
  if (typeof thrown !== "object" || thrown === null) return { class: "Error", message: text };
  return id !== undefined && core.isNativeError(thrown) ? { value: thrown, id: String(id) } : { value: thrown };
}

/** An error of which only the text is known. */
function packText(text) {
  const end = StringPrototypeIndexOf(text, ":");
  const name = end < 0 ? text : StringPrototypeSlice(text, 0, end);
  if (!(name in NATIVE_ERRORS)) return { class: "Error", message: text };
  return { class: name, message: end < 0 ? "" : StringPrototypeSlice(text, end + 2) };
}

function textOf(name) {
  try {
    return typeof name === "symbol" ? "" : `${name}`;
  } catch {
    return "";
  }
}

function isIndex(key) {
  const number = key >>> 0;
  return number !== 4294967295 && String(number) === key;
}

const NO_MESSAGE = "Deserialization failed: error message is not a string";

const { get: domName } = ObjectGetOwnPropertyDescriptor(DOMException.prototype, "name");
const { get: domMessage } = ObjectGetOwnPropertyDescriptor(DOMException.prototype, "message");

function packDomException(error) {
  return { dom: [ReflectApply(domName, error, []), ReflectApply(domMessage, error, [])] };
}

/**
 * An error as data. Its name says which class it has at the other end, as on the platform. What its getters throw is
 * thrown on.
 */
function packError(error) {
  const { name, message } = error;
  const isNative = textOf(name) in NATIVE_ERRORS;
  const isMissing = message === undefined && !ObjectHasOwn(error, "message");
  const packed = { class: isNative ? textOf(name) : "Error", message: isMissing ? "" : message };
  if (!isNative) packed.name = name;
  if (!types.errorsKeepOwn) return packed;
  const keys = ReflectOwnKeys(error);
  let own;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    // The platform leaves out indexes too.
    if (typeof key !== "string" || key === "stack" || key === "message" || key === "name" || isIndex(key)) continue;
    own ??= {};
    ObjectDefineProperty(own, key, { __proto__: null, value: error[key], enumerable: true });
  }
  if (own !== undefined) packed.own = own;
  return packed;
}

export function nativeClassOf(error) {
  for (let proto = Object.getPrototypeOf(error); proto !== null; proto = Object.getPrototypeOf(proto)) {
    const name = proto.constructor?.name;
    if (NATIVE_ERRORS[name]?.prototype === proto) return name;
  }
  return "Error";
}

/** Errors inside what was thrown, of the outcome that was read last: they show where it arrived, as it does itself. */
let framed = bareList();

export function takeFramed() {
  if (framed.length === 0) return undefined;
  const taken = framed;
  framed = bareList();
  return taken;
}

/** `bare`: no stack of where it was unpacked, which says nothing about an error that is a value (and was not thrown). */
export function unpackError(packed, bare) {
  // `Object.prototype` may be anything here.
  const has = (key) => ObjectHasOwn(packed, key);
  if (has("value")) {
    if (has("id")) define(packed.value, "durableObjectId", packed.id, false);
    return packed.value;
  }
  if (has("dom")) return new DOMException(packed.dom[1], packed.dom[0]);
  const { message } = packed;
  if (typeof message !== "string") throw dataCloneError(NO_MESSAGE);
  const Class = NATIVE_ERRORS[packed.class] ?? Error;
  const error = Class === AggregateError ? new AggregateError([], message) : new Class(message);
  if (Class === AggregateError) delete error.errors;
  define(error, "message", message, false);
  if (has("name")) define(error, "name", packed.name, true);
  if (bare && has("framed")) framed[framed.length] = error;
  else if (bare) define(error, "stack", firstLineOf(error), false);
  if (has("own")) {
    const { own } = packed;
    const keys = ObjectKeys(own);
    for (let i = 0; i < keys.length; i++) define(error, keys[i], own[keys[i]], true);
  }
  return error;
}

function define(error, key, value, enumerable) {
  ObjectDefineProperty(error, key, { __proto__: null, value, configurable: true, writable: true, enumerable });
}

/** What V8 puts in front of the frames of a stack. */
function firstLineOf(error) {
  const { name: named, message } = error;
  const name = named === undefined
    ? "Error"
    : typeof named === "object" && named !== null || typeof named === "function"
    ? ObjectPrototypeToString(named)
    : String(named);
  return name === "" ? message : message === "" ? name : `${name}: ${message}`;
}
