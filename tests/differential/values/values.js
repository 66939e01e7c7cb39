// Makes values from their specifications (generate.mjs), and tells everything about a value that code can see.
//
// A specification is JSON, with what JSON lacks as {"$": [kind, ...]}. {"$": ["as", name, spec]} gives a value a name,
// {"$": ["ref", name]} is that value again, wherever it is met: also inside of itself.
import { RpcTarget } from "cloudflare:workers";

class Point {
  constructor(x) {
    this.x = x;
  }
}
class Failure extends Error {
  name = "Failure";
}
class Deep extends RangeError {}
class Bag extends Map {}
class Things extends Array {}

/** What a value of `value` looks like at the other end of a call. */
class Target extends RpcTarget {
  #value;
  constructor(value) {
    super();
    this.#value = value;
  }
  tell() {
    return "a target";
  }
  get value() {
    return this.#value;
  }
}

const bytesOf = (length, seed = 0) => Uint8Array.from({ length }, (_, at) => (at * 7 + seed) & 255);

class Maker {
  names = new Map();
  pending = [];

  /** `value` exists: names that wait for it mean it from now on, before its contents are made. */
  begun(value) {
    for (const name of this.pending) this.names.set(name, value);
    this.pending = [];
    return value;
  }

  /** What has to be there before the value that is being named. */
  before(spec) {
    const waiting = this.pending;
    this.pending = [];
    const made = this.make(spec);
    this.pending = waiting;
    return made;
  }

  make(spec) {
    if (typeof spec !== "object" || spec === null) return this.begun(spec);
    if (Array.isArray(spec)) {
      const array = this.begun([]);
      for (const item of spec) array.push(this.make(item));
      return array;
    }
    if (Array.isArray(spec.$)) {
      const [kind, ...rest] = spec.$;
      if (kind === "ref") return this.names.get(rest[0]);
      if (kind === "as") {
        this.pending.push(rest[0]);
        return this.begun(this.make(rest[1]));
      }
      return this.begun(this[`make_${kind}`](...rest));
    }
    return this.fill(this.begun({}), spec);
  }

  fill(object, properties) {
    for (const key of Object.keys(properties ?? {})) {
      Object.defineProperty(object, key, { value: this.make(properties[key]), enumerable: true, writable: true, configurable: true });
    }
    return object;
  }

  make_undefined() {}
  make_number(text) {
    return Number(text);
  }
  make_bigint(text) {
    return BigInt(text);
  }
  make_power(bits, less) {
    return 2n ** BigInt(bits) - BigInt(less);
  }
  make_repeat(text, count) {
    return text.repeat(count);
  }
  make_date(ms) {
    return new Date(ms ?? NaN);
  }
  make_regexp(source, flags, lastIndex, own) {
    const regexp = this.begun(new RegExp(source, flags));
    regexp.lastIndex = lastIndex;
    return this.fill(regexp, own);
  }
  make_boxed(value, own) {
    return this.fill(this.begun(Object(this.before(value))), own);
  }
  make_map(entries, own) {
    const map = this.begun(new Map());
    for (const [key, value] of entries) map.set(this.make(key), this.make(value));
    return this.fill(map, own);
  }
  make_set(items, own) {
    const set = this.begun(new Set());
    for (const item of items) set.add(this.make(item));
    return this.fill(set, own);
  }
  make_array(length, items, own) {
    const array = this.begun([]);
    for (const at of Object.keys(items)) array[at] = this.make(items[at]);
    array.length = Math.max(length, array.length);
    return this.fill(array, own);
  }
  make_nullProto(properties) {
    return this.fill(this.begun(Object.create(null)), properties);
  }
  make_odd(properties, oddity, value) {
    const object = this.begun({});
    if (oddity === "getterFirst") Object.defineProperty(object, "got", { get: () => 7, enumerable: true });
    this.fill(object, properties);
    const item = this.make(value);
    if (oddity === "symbol") object[Symbol("key")] = item;
    else if (oddity === "hidden") Object.defineProperty(object, "hidden", { value: item });
    else if (oddity === "frozen") Object.freeze(object);
    else if (oddity === "readOnly") Object.defineProperty(object, "fixed", { value: item, enumerable: true });
    else if (oddity === "getter") Object.defineProperty(object, "got", { get: () => item, enumerable: true });
    else if (oddity === "setter") Object.defineProperty(object, "put", { set() {}, enumerable: true });
    else if (oddity === "throws") {
      Object.defineProperty(object, "got", {
        get() {
          throw new RangeError("not for you");
        },
        enumerable: true,
      });
    } else if (oddity === "adds") Object.defineProperty(object, "got", { get: () => (object.added = 1), enumerable: true, configurable: true });
    else if (oddity === "removes") {
      Object.defineProperty(object, "a0", { get: () => delete object.zz, enumerable: true, configurable: true });
      object.zz = item;
    } else if (oddity === "toJSON") object.toJSON = item;
    else if (oddity === "proto") Object.defineProperty(object, "__proto__", { value: item, enumerable: true });
    else if (oddity === "then") object.later = { then: item };
    return object;
  }
  make_buffer(length, seed, max) {
    const buffer = new ArrayBuffer(length, max === undefined ? undefined : { maxByteLength: max });
    new Uint8Array(buffer).set(bytesOf(length, seed));
    return buffer;
  }
  make_detached(length) {
    const buffer = new ArrayBuffer(length);
    structuredClone(buffer, { transfer: [buffer] });
    return buffer;
  }
  make_view(Kind, buffer, offset, length) {
    const under = this.before(buffer);
    if (globalThis[Kind] === undefined || !(under instanceof ArrayBuffer)) return under;
    try {
      return new globalThis[Kind](under, offset, length ?? undefined);
    } catch {
      return under;
    }
  }
  make_shared(length) {
    return typeof SharedArrayBuffer === "function" ? new SharedArrayBuffer(length) : undefined;
  }
  make_error(kind, message, own, options, name, stack) {
    const Class = { Failure, Deep }[kind] ?? globalThis[kind];
    const given = options && "cause" in options ? { cause: this.before(options.cause) } : undefined;
    const text = message === null ? undefined : this.before(message);
    const error = this.begun(kind === "AggregateError" ? new AggregateError(this.before(options?.errors ?? []), text, given) : new Class(text, given));
    if (name !== undefined && name !== null) error.name = this.before(name);
    if (stack !== undefined && stack !== null) error.stack = this.before(stack);
    return this.fill(error, own);
  }
  /** Errors whose properties are not where they usually are. */
  make_oddError(oddity, value) {
    const item = this.before(value);
    const Class = { protoName: class extends TypeError {}, getterName: class extends TypeError {} }[oddity] ?? Error;
    if (oddity === "protoName") Class.prototype.name = item;
    if (oddity === "getterName") Object.defineProperty(Class.prototype, "name", { get: () => item });
    const error = this.begun(new Class("odd"));
    if (oddity === "hidden") Object.defineProperty(error, "hidden", { value: item });
    else if (oddity === "hiddenName") Object.defineProperty(error, "name", { value: item });
    else if (oddity === "symbol") error[Symbol("key")] = item;
    else if (oddity === "message") error.message = item;
    else if (oddity === "messageGetter") Object.defineProperty(error, "message", { get: () => item });
    else if (oddity === "noMessage") delete error.message;
    else if (oddity === "getter") Object.defineProperty(error, "got", { get: () => item, enumerable: true });
    else if (oddity === "noProto") Object.setPrototypeOf(error, null);
    else if (oddity === "plainProto") Object.setPrototypeOf(error, Object.prototype);
    else if (oddity === "otherProto") Object.setPrototypeOf(error, RangeError.prototype);
    else if (oddity === "fake") return Object.create(TypeError.prototype);
    else if (oddity === "frozen") Object.freeze(error);
    else if (oddity === "throws") {
      Object.defineProperty(error, "got", {
        get() {
          throw new RangeError("not for you");
        },
        enumerable: true,
      });
    }
    return error;
  }
  make_domException(message, name, own) {
    return this.fill(this.begun(new DOMException(message, name)), own);
  }
  make_headers(pairs) {
    return new Headers(pairs);
  }
  make_blob(text, type) {
    return new Blob([text], { type });
  }
  make_file(text, name) {
    return new File([text], name);
  }
  make_request(method, body, headers) {
    return new Request("http://example.com/path?q=1", { method, headers, body: body === null ? undefined : this.before(body) });
  }
  make_response(status, body, headers) {
    return new Response(this.before(body), { status, headers });
  }
  make_stream(text) {
    return new Blob([text]).stream();
  }
  make_used(text) {
    const response = new Response(text);
    response.text();
    return response;
  }
  make_function(value, own) {
    const item = this.before(value);
    return this.fill(() => item, own);
  }
  make_async(value) {
    const item = this.before(value);
    return async () => item;
  }
  make_boundFunction() {
    return function () {
      return 3;
    }.bind(null);
  }
  make_classItself() {
    return Point;
  }
  make_target(value) {
    return new Target(this.before(value));
  }
  make_promise(value) {
    return Promise.resolve(this.before(value));
  }
  make_symbol(name) {
    return Symbol(name);
  }
  make_wellKnown() {
    return Symbol.iterator;
  }
  make_instance(x) {
    return new Point(this.before(x));
  }
  make_bag(entries) {
    const bag = this.begun(new Bag());
    for (const [key, value] of entries) bag.set(this.make(key), this.make(value));
    return bag;
  }
  make_things(items) {
    const things = this.begun(new Things());
    for (const item of items) things.push(this.make(item));
    return things;
  }
  make_weak(kind) {
    return kind === "WeakRef" ? new WeakRef({}) : new globalThis[kind]();
  }
  make_generator(kind) {
    return kind === "async"
      ? (async function* () {
        yield 1;
      })()
      : (function* () {
        yield 1;
      })();
  }
  make_iterator(kind) {
    return kind === "map" ? new Map([[1, 2]]).entries() : [1].values();
  }
  make_proxy(target, handler) {
    const under = this.before(target);
    if ((typeof under !== "object" && typeof under !== "function") || under === null) return under;
    // The texts of other thrown ones differ with V8's version, or are taken apart again.
    if (typeof under === "object" && !(under instanceof Target) && Object.getPrototypeOf(under) !== Object.prototype) return under;
    return new Proxy(under, handler === "proto" ? { getPrototypeOf: () => Point.prototype } : {});
  }
  make_arguments() {
    return (function () {
      return arguments;
    })(1, 2);
  }
  make_global(name) {
    return { Math, JSON, Atomics, Reflect, globalThis, Intl, console }[name];
  }
  make_platform(kind) {
    switch (kind) {
      case "URL":
        return new URL("http://example.com/");
      case "URLSearchParams":
        return new URLSearchParams("a=1");
      case "FormData":
        return new FormData();
      case "AbortSignal":
        return new AbortController().signal;
      case "AbortController":
        return new AbortController();
      case "Event":
        return new Event("x");
      case "EventTarget":
        return new EventTarget();
      case "TextEncoder":
        return new TextEncoder();
      case "WebSocketPair":
        return new WebSocketPair();
      case "WebSocket":
        return new WebSocketPair()[0];
      case "NumberFormat":
        return new Intl.NumberFormat("en");
      case "FinalizationRegistry":
        return new FinalizationRegistry(() => {});
      case "TransformStream":
        return new TransformStream();
    }
  }
  make_deep(kind, levels, inner) {
    let value = this.before(inner);
    for (let level = 0; level < levels; level++) {
      if (kind === "map") value = new Map([[level, value]]);
      else if (kind === "set") value = new Set([value]);
      else if (kind === "cause") value = new Error(`level ${level}`, { cause: value });
      else value = kind === "array" ? [value] : { in: value };
    }
    return value;
  }
}

export function make(spec) {
  return new Maker().make(spec);
}

// ---- telling

function checksum(bytes) {
  let sum = 0x811c9dc5;
  for (const byte of bytes) sum = Math.imul(sum ^ byte, 0x01000193) >>> 0;
  return sum.toString(16);
}

const PROTOTYPES = new Map(
  [
    Object, Array, Map, Set, Date, RegExp, Boolean, Number, String, BigInt, ArrayBuffer, DataView, Promise, Function,
    Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError, AggregateError, DOMException,
    Headers, Request, Response, Blob, File, ReadableStream, WritableStream,
    Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array, BigInt64Array, BigUint64Array,
  ].map((Class) => [Class.prototype, Class.name]),
);

function kindOf(value) {
  const prototype = Object.getPrototypeOf(value);
  if (prototype === null) return "null";
  return PROTOTYPES.get(prototype) ?? `?${value.constructor?.name}`;
}

const textOf = (text) => (text.length > 80 ? `"${text.length} ${checksum(Array.from({ length: text.length }, (_, at) => text.charCodeAt(at) % 251))}"` : JSON.stringify(text));

/** Properties whose values differ from run to run, or by design, and how they are told instead. */
const DOM_EXCEPTION_OWN = new Set(["code", "name", "message", "stack"]);
const STACK_LINES = /\n\s+at [\s\S]*$/;

const CALLS_MAX = 2;

class Teller {
  seen = new Map();

  constructor(thrown = false, calls = 0) {
    this.thrown = thrown;
    /** How many calls led here: what a function gives may hold the function again. */
    this.calls = calls;
  }

  async tell(value) {
    switch (typeof value) {
      case "string":
        return textOf(value);
      case "number":
        return Object.is(value, -0) ? "-0" : String(value);
      case "bigint":
        return value > 2n ** 200n || value < -(2n ** 200n) ? `bigint ${checksum(value.toString(16).split("").map((c) => c.charCodeAt(0)))}` : `${value}n`;
      case "symbol":
        return String(value);
      case "undefined":
      case "boolean":
        return String(value);
    }
    if (value === null) return "null";
    const known = this.seen.get(value);
    if (known !== undefined) return `#${known}`;
    this.seen.set(value, this.seen.size);
    const id = this.seen.size - 1;
    if (typeof value === "function") return `#${id}=${await this.callable(value)}`;
    const kind = kindOf(value);
    if (/^\?(ServiceStub|Fetcher|DurableObject)/.test(kind)) return `#${id}=stub ${kind}`;
    const inside = await this.inside(value, kind);
    return `#${id}=${kind}${inside}${await this.properties(value, kind)}`;
  }

  /** Stubs say what they are when they are called. */
  async callable(value) {
    const kind = `callable ${value.constructor?.name} ${Object.prototype.toString.call(value)} keys ${Object.keys(value)}`;
    if (value.constructor?.name !== "RpcStub" || this.calls >= CALLS_MAX) return kind;
    const answers = [];
    for (const ask of [() => value(), () => value.tell(), () => value.value]) {
      try {
        answers.push(await new Teller(false, this.calls + 1).tell(await ask()));
      } catch (error) {
        answers.push(`threw ${error?.name}: ${error?.message}`);
      }
    }
    return `${kind} [${answers.join(" | ")}]`;
  }

  async inside(value, kind) {
    switch (kind) {
      case "Date":
        return `(${value.getTime()})`;
      case "RegExp":
        return `(${value} at ${value.lastIndex})`;
      case "Boolean":
      case "Number":
      case "String":
      case "BigInt":
        return `(${await this.tell(value.valueOf())})`;
      case "Map": {
        const entries = [];
        for (const [key, item] of value) entries.push(`${await this.tell(key)} => ${await this.tell(item)}`);
        return `{${entries.join(", ")}}`;
      }
      case "Set": {
        const items = [];
        for (const item of value) items.push(await this.tell(item));
        return `{${items.join(", ")}}`;
      }
      case "ArrayBuffer":
        return `(${value.byteLength}${value.resizable ? ` to ${value.maxByteLength}` : ""}: ${checksum(new Uint8Array(value))})`;
      case "Headers":
        return `(${JSON.stringify([...value])})`;
      case "Blob":
      case "File":
        return `(${value.type}, ${value.name}: ${textOf(await value.text())})`;
      case "Request":
        return `(${value.method} ${value.url} ${JSON.stringify([...value.headers])} ${await this.body(value)})`;
      case "Response":
        return `(${value.status} ${value.statusText} ${JSON.stringify([...value.headers])} ${value.url} ${await this.body(value)})`;
      case "ReadableStream":
        return `(locked ${value.locked}: ${await this.body(new Response(value))})`;
      case "DOMException":
        return `(${value.name} ${value.code} ${textOf(value.message)})`;
    }
    if (ArrayBuffer.isView(value)) return `(${value.byteOffset}+${value.byteLength} of ${await this.tell(value.buffer)})`;
    return "";
  }

  async body(message) {
    if (message.body === null) return "no body";
    try {
      return textOf(await message.text());
    } catch (error) {
      return `${error.name}: ${error.message}`;
    }
  }

  async properties(value, kind) {
    const parts = [];
    if (Array.isArray(value)) parts.push(`length ${value.length}`);
    if (!Object.isExtensible(value)) parts.push("not extensible");
    const isView = ArrayBuffer.isView(value) && !(value instanceof DataView);
    for (const key of Reflect.ownKeys(value)) {
      if (key === "durableObjectId" || (Array.isArray(value) && key === "length")) continue;
      if ((isView || kind === "String") && typeof key === "string" && /^(\d+|length)$/.test(key)) continue;
      if (kind === "DOMException" && DOM_EXCEPTION_OWN.has(key)) continue;
      // What classes of the platform keep on their instances is not compared.
      if (["Headers", "Request", "Response", "Blob", "File", "ReadableStream", "WritableStream", "DOMException"].includes(kind) && typeof key === "symbol" && key !== Symbol.dispose) continue;
      const { value: item, enumerable, writable, configurable, get } = Object.getOwnPropertyDescriptor(value, key);
      const flags = `${enumerable ? "" : "e"}${writable || get ? "" : "w"}${configurable ? "" : "c"}`;
      if (key === "stack" && value instanceof Error) {
        // Texts of stacks went through UTF-8 somewhere.
        const text = String(value.stack).toWellFormed();
        // Where something thrown was caught is told, or not, as the engine likes.
        const frames = this.thrown && this.seen.get(value) === 0 ? "" : /\n\s+at /.test(text) ? " with frames" : " bare";
        // How a name that is no text is shown there is the engine's business.
        const first = typeof value.name === "string" ? ` ${textOf(text.replace(STACK_LINES, ""))}` : "";
        parts.push(`stack-${flags}${frames}${first}`);
        continue;
      }
      if (key === Symbol.dispose) {
        parts.push(`dispose-${flags}`);
        continue;
      }
      const name = typeof key === "symbol" ? String(key) : /^[a-z]\w*$/i.test(key) ? key : JSON.stringify(key);
      parts.push(`${name}${flags && `-${flags}`}: ${get ? "getter" : await this.tell(item)}`);
    }
    return parts.length ? ` {${parts.join(", ")}}` : "";
  }
}

/** Everything about `value`, as one line of text. */
export async function tell(value) {
  return new Teller().tell(value);
}

/** What came of `run`, told. */
export async function outcome(run) {
  let value;
  try {
    value = await run();
  } catch (error) {
    return `threw ${await new Teller(true).tell(error)}`.replace(/reference = \w+/, "reference = ?");
  }
  return tell(value);
}
