// Makes random values (values.js says how they are written) and the ways they are sent (worker.js). The same seed and
// number always give the same steps.
//
// Left out on purpose, because facetd answers otherwise and says so, or because an answer is not determined:
//   SharedArrayBuffer             refused by who sends it here, by who receives it in workerd
//   a property `then`             as a function it is awaited by whoever receives it, and settles nothing
//   getters that change the object they are called on, beside functions
//                                 they run more than once here
//   Proxies of arrays, errors ... the text of a thrown one is V8's, and changes with its version
//   lone surrogates in the message of a DOMException
//                                 they are kept; workerd makes three characters of each
//   NUL in what is thrown         workerd's texts end there
//   own `name` and `message` of errors that are no text, at random
//                                 what they do to each other is hard to keep; `oddError` has them one by one
//   a property `stack` that is no text
//                                 it is not looked at: that would make V8 write the stack
//   which of several refusals     a Proxy that may not pass is noticed before other things are
//   cause chains of hundreds      how deep they may be depends on the stack, which depends on the build
import { randomOf } from "../random.mjs";

const special = (...parts) => ({ $: parts });

const HOPS = ["self", "service", "object", "loaded", "facet", "loadedFacet", "nested"];
const WAYS = [
  [4, "argument"], [4, "result"], [3, "thrown"], [1, "thrownLater"], [2, "inThrown"], [1, "asCause"], [1, "property"], [1, "pipelined"],
  [2, "inErrorArgument"], [2, "thereAndBack"], [2, "toCallback"], [1, "fromCallback"], [1, "thrownByCallback"], [1, "twoArguments"],
];
const STEPS_PER_VALUE = 3;
const DEPTH_MAX = 4;

const KEYS = ["a", "b", "a0", "z", "length", "10", "9", "0", "-1", "1.5", "4294967295", "é", "", " ", "\u{1f600}", "\ud800", "constructor", "toString", "dup", "fetch", "remote", "cause", "code", "errors", "retryable", "overloaded", "durableObjectReset", "signal"];
const TEXTS = ["", "a", "text", "é", "ÿ", "Ā", "ключ", "\u{1f600}", "\ud800", "x\udc00y", "a\nb", "\ufeffbom", "null"];
const VIEWS = ["Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array", "Float16Array", "Float32Array", "Float64Array", "BigInt64Array", "BigUint64Array", "DataView"];
const ERRORS = ["Error", "Error", "EvalError", "RangeError", "ReferenceError", "SyntaxError", "TypeError", "URIError", "AggregateError", "Failure", "Deep"];

const primitive = (r) =>
  r.weighed([
    [3, () => r.below(10)],
    [3, () => r.pick(TEXTS)],
    [1, () => null],
    [1, () => r.chance(0.5)],
    [1, () => special("undefined")],
    [1, () => r.pick([1.5, -1, 2 ** 31, -(2 ** 31), 2 ** 53, 5e-324, 1e308, special("number", "NaN"), special("number", "-0"), special("number", "Infinity"), special("number", "-Infinity")])],
    [1, () => r.pick([special("bigint", "0"), special("bigint", "-1"), special("power", 63, 0), special("power", 64, 1), special("power", 128, 0), special("power", 4096, 3), special("bigint", "-123456789012345678901234567890")])],
    [0.3, () => special("repeat", r.pick(TEXTS.slice(1)), r.pick([100, 1000, 65_536]))],
    [0.004, () => special("repeat", r.pick(["a", "Ā"]), 1_500_000)],
  ])();

/** Several things of `make`'s, as the properties of an object. */
function properties(r, make, most = 4) {
  const made = {};
  for (let left = r.below(most); left > 0; left--) made[r.pick(KEYS)] = make();
  return made;
}

const own = (r, make) => (r.chance(0.2) ? properties(r, make, 3) : {});

/** A buffer, sometimes one that other views have too. */
function buffer(r, made) {
  if (made.buffers.length && r.chance(0.5)) return special("ref", r.pick(made.buffers));
  const length = r.pick([0, 1, 8, 16, 24, 64, 1000]);
  const spec = r.chance(0.15) ? special("buffer", length, r.below(9), length + r.pick([0, 8, 100])) : special("buffer", length, r.below(9));
  if (!r.chance(0.5)) return spec;
  const name = `buffer${made.names++}`;
  made.buffers.push(name);
  return special("as", name, spec);
}

function value(r, made, depth) {
  const inner = () => value(r, made, depth + 1);
  if (depth >= DEPTH_MAX || r.chance(depth === 0 ? 0.06 : 0.3)) {
    return made.objects.length && r.chance(0.35) ? special("ref", r.pick(made.objects)) : primitive(r);
  }
  if (!r.chance(0.25)) return object(r, made, inner, depth);
  const name = `object${made.names++}`;
  // Known before its contents are made, which may mean it.
  made.objects.push(name);
  return special("as", name, object(r, made, inner, depth));
}

const list = (r, make, most = 4) => r.times(r.below(most), make);
const pairs = (r, make) => list(r, () => [make(), make()]);

function object(r, made, inner, at) {
  return r.weighed([
    [10, () => properties(r, inner)],
    [8, () => list(r, inner)],
    [4, () => special("map", pairs(r, inner), own(r, inner))],
    [3, () => special("set", list(r, inner), own(r, inner))],
    [2, () => special("array", r.pick([0, 3, 10, 1000, 100_000]), Object.fromEntries(list(r, () => [r.below(12), inner()])), own(r, inner))],
    [1, () => special("date", r.pick([0, 1_700_000_000_123, -1, 8.64e15, null]))],
    [1, () => special("regexp", r.pick(["a+", "[/]\\n", "(?<x>é)", ""]), r.pick(["", "g", "giu", "y", "dgimsuy", "v"]), r.below(3), own(r, inner))],
    [1, () => special("boxed", r.pick([5, special("number", "-0"), "text", "", "\ud800", false, true, special("bigint", "7"), special("bigint", "-99999999999999999999")]), own(r, inner))],
    [2, () => buffer(r, made)],
    [5, () => special("view", r.pick(VIEWS), buffer(r, made), r.pick([0, 0, 0, 8, 16]), r.pick([0, 1, 2, null, null]))],
    [0.3, () => special("detached", r.pick([0, 8]))],
    [6, () => error(r, inner)],
    [1.5, () => special("oddError", r.pick(["protoName", "getterName", "hidden", "hiddenName", "symbol", "message", "messageGetter", "noMessage", "getter", "noProto", "plainProto", "otherProto", "fake", "frozen", "throws"]), r.chance(0.7) ? primitive(r) : special("function", primitive(r), {}))],
    [1, () => special("domException", r.pick(TEXTS).toWellFormed(), r.pick(["AbortError", "DataCloneError", "TimeoutError", "NotFoundError", "Error", "Custom"]), own(r, inner))],
    [1, () => special("headers", r.pick([[], [["a", "1"], ["a", "2"]], [["set-cookie", "x=1"], ["set-cookie", "y=2"], ["b", ""]]]))],
    [1, () => special("blob", r.pick(["", "content", "é"]), r.pick(["", "text/plain", "Text/HTML"]))],
    [0.2, () => special("file", "content", "file.txt")],
    [1, () => special("request", ...r.pick([["GET", null], ["POST", "body"], ["PUT", special("buffer", 8, 1)], ["DELETE", null], ["POST", ""]]), r.pick([[], [["x-a", "1"]], [["content-type", "a/b"]]]))],
    [1, () => special("response", ...r.pick([[200, "body"], [404, null], [204, null], [201, special("buffer", 8, 1)], [200, special("stream", "streamed")]]), r.pick([[], [["x-a", "1"]], [["set-cookie", "a=1"], ["set-cookie", "b=2"]]]))],
    [0.5, () => special("stream", r.pick(["", "streamed", "x".repeat(300)]))],
    [0.2, () => special("used", "gone")],
    [3, () => special("function", inner(), own(r, inner))],
    [0.5, () => special("async", inner())],
    [0.2, () => special("boundFunction")],
    [0.2, () => special("classItself")],
    [1.5, () => special("target", inner())],
    [0.4, () => special("promise", inner())],
    [2, () => special("nullProto", properties(r, inner))],
    [4, () => special("odd", properties(r, inner), r.pick(["symbol", "hidden", "frozen", "readOnly", "getter", "getterFirst", "setter", "throws", "toJSON", "proto"]), inner())],
    [at === 0 ? 1 : 0, () => special("odd", { a: primitive(r), z: primitive(r) }, r.pick(["adds", "removes"]), primitive(r))],
    [0.5, () => special("symbol", "s")],
    [0.1, () => special("wellKnown")],
    [0.7, () => special("instance", inner())],
    [0.4, () => special("bag", pairs(r, inner))],
    [0.4, () => special("things", list(r, inner))],
    [0.5, () => special("weak", r.pick(["WeakMap", "WeakSet", "WeakRef"]))],
    [0.3, () => special("generator", r.pick(["async", "sync"]))],
    [0.3, () => special("iterator", r.pick(["map", "array"]))],
    [0.7, () => special("proxy", inner(), at === 0 && r.chance(0.5) ? "proto" : "plain")],
    [0.3, () => special("arguments")],
    [0.4, () => special("global", r.pick(["Math", "JSON", "Atomics", "Reflect", "Intl"]))],
    [0.8, () => special("platform", r.pick(["URL", "URLSearchParams", "FormData", "AbortSignal", "AbortController", "Event", "EventTarget", "TextEncoder", "NumberFormat", "FinalizationRegistry"]))],
    [0.3, () => special("deep", r.pick(["object", "array", "map", "set"]), r.pick([3, 50, 300]), inner())],
    [0.1, () => special("deep", "cause", r.pick([3, 30]), inner())],
  ])();
}

function error(r, inner) {
  const kind = r.pick(ERRORS);
  const options = {};
  if (r.chance(0.3)) options.cause = inner();
  if (kind === "AggregateError") options.errors = list(r, inner);
  return special(
    "error",
    kind,
    r.weighed([[6, () => r.pick(TEXTS)], [1, () => null], [0.5, () => special("date", 0)]])(),
    r.chance(0.4) ? properties(r, inner, 3) : {},
    options,
    r.chance(0.15) ? r.pick(["Named", "TypeError", "RangeError", "DOMException", "", "\ud800", special("undefined"), 5]) : null,
    r.chance(0.1) ? r.pick(["a stack", "", special("undefined"), 5]) : null,
  );
}

/** Steps `number` of `seed`: one value, along some hops. */
export function generate(seed, number) {
  const r = randomOf(seed, number);
  const spec = value(r, { names: 0, objects: [], buffers: [] }, 0);
  return r.times(STEPS_PER_VALUE, () => ({ hop: r.pick(HOPS), way: r.weighed(WAYS), value: spec }));
}

/** `spec` in all ways that are a little simpler. */
function* simplerSpec(spec) {
  if (typeof spec !== "object" || spec === null) {
    if (typeof spec === "string" && spec.length > 1) yield "a";
    if (typeof spec === "number" && spec > 1) yield 1;
    return;
  }
  if (Array.isArray(spec)) {
    for (let at = 0; at < spec.length; at++) {
      yield spec.filter((_, other) => other !== at);
      for (const simpler of simplerSpec(spec[at])) yield spec.with(at, simpler);
    }
    return;
  }
  if (Array.isArray(spec.$)) {
    const [kind, ...rest] = spec.$;
    if (kind === "ref") return yield null;
    if (kind === "as") yield rest[1];
    // Whatever is inside, in the place of the whole.
    for (const item of rest) {
      if (typeof item !== "object" || item === null) continue;
      if (!Array.isArray(item)) yield item;
      for (const deeper of Object.values(item)) if (typeof deeper === "object" && deeper !== null) yield deeper;
    }
    for (let at = 0; at < rest.length; at++) {
      for (const simpler of simplerSpec(rest[at])) {
        // The items of collections have their own form; names are names.
        if (typeof rest[at] === "string" || typeof rest[at] === "number") continue;
        yield special(kind, ...rest.with(at, simpler));
      }
    }
    return;
  }
  for (const key of Object.keys(spec)) {
    const { [key]: item, ...others } = spec;
    yield others;
    if (typeof item === "object" && item !== null) yield item;
    for (const simpler of simplerSpec(item)) yield { ...spec, [key]: simpler };
  }
}

/** `steps` in all ways that are one step shorter or simpler. */
export function* simpler(steps) {
  if (steps.length > 1) {
    for (const step of steps) yield [step];
    return;
  }
  const [step] = steps;
  for (const hop of ["self", "object"]) if (step.hop !== hop && step.hop !== "self") yield [{ ...step, hop }];
  for (const way of ["argument", "result"]) if (step.way !== way && step.way !== "argument") yield [{ ...step, way }];
  for (const value of simplerSpec(step.value)) yield [{ ...step, value }];
}
