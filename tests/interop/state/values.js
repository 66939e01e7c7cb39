// One value of every kind that storage keeps, each made anew on each call.

/** @returns {[string, unknown][]} */
export function syncValues() {
  return [...primitives(), ...builtIns(), ...structures()];
}

/** @returns {[string, unknown][]} kept with `storage.put`, whose keys and values share the table with `storage.kv` */
export function asyncValues() {
  return [...primitives(), ...builtIns(), ...structures(), ...webValues()];
}

function primitives() {
  return [
    ["null", null],
    ["true", true],
    ["false", false],
    ["zero", 0],
    ["minus zero", -0],
    ["small integer", -7],
    ["31 bits", 2 ** 30],
    ["32 bits", 2 ** 31],
    ["53 bits", Number.MAX_SAFE_INTEGER],
    ["fraction", 0.1],
    ["huge", 1.7976931348623157e308],
    ["tiny", 5e-324],
    ["NaN", NaN],
    ["Infinity", Infinity],
    ["minus Infinity", -Infinity],
    ["bigint", 123456789012345678901234567890n],
    ["negative bigint", -1n],
    ["zero bigint", 0n],
    ["empty string", ""],
    ["latin string", "Grüße\0é"],
    ["wide string", "日本 😀"],
    ["lone surrogate", "a\ud800b"],
    ["long string", "0123456789".repeat(2000)],
  ];
}

function builtIns() {
  const bytes = Uint8Array.from({ length: 32 }, (_, at) => at * 8);
  return [
    ["date", new Date(1234567890123)],
    ["invalid date", new Date(NaN)],
    ["regexp", /a(b)\/c+/giu],
    ["boxed number", new Number(5)],
    ["boxed string", new String("s")],
    ["boxed boolean", new Boolean(false)],
    ["boxed bigint", Object(7n)],
    ["array buffer", bytes.buffer.slice(0, 5)],
    ["empty array buffer", new ArrayBuffer(0)],
    ["Int8Array", new Int8Array([-1, 2])],
    ["Uint8Array", new Uint8Array([1, 255])],
    ["Uint8ClampedArray", new Uint8ClampedArray([300, -5])],
    ["Int16Array", new Int16Array([-2, 3])],
    ["Uint16Array", new Uint16Array([65535])],
    ["Int32Array", new Int32Array([-3])],
    ["Uint32Array", new Uint32Array([4294967295])],
    ["Float32Array", new Float32Array([0.5, -1])],
    ["Float64Array", new Float64Array([Math.PI])],
    ["BigInt64Array", new BigInt64Array([-5n])],
    ["BigUint64Array", new BigUint64Array([5n])],
    ["DataView", new DataView(bytes.buffer.slice(0), 3, 4)],
    ["view into a buffer", bytes.subarray(4, 8)],
    ["two views of one buffer", [new Uint8Array(bytes.buffer, 0, 2), new Uint16Array(bytes.buffer, 2, 2)]],
    ...[Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError].map((Kind) => [Kind.name, errorOf(Kind)]),
    ["error with a cause", errorOf(Error, { cause: errorOf(TypeError) })],
    ["error with a property", Object.assign(errorOf(RangeError), { code: 7 })],
  ];
}

/** The stack is stored too, so it must not say where it was made. */
function errorOf(Kind, options) {
  const error = new Kind(`a ${Kind.name}`, options);
  error.stack = `${Kind.name}: a ${Kind.name}\n    at state`;
  return error;
}

function structures() {
  const cycle = { name: "cycle" };
  cycle.self = cycle;
  const shared = { n: 1 };
  class Point {
    constructor(x) {
      this.x = x;
    }
    double() {
      return this.x * 2;
    }
  }
  return [
    ["object", { a: 1, "key é": "two", 7: "index", nested: { deep: [true, null, { x: undefined }] } }],
    ["empty object", {}],
    ["array", [1, "two", [3, []], null]],
    ["array with holes", [1, , 3]], // eslint-disable-line no-sparse-arrays
    ["sparse array", Object.assign([], { 5000: "far" })],
    ["array with undefined", [undefined]],
    ["array with properties", Object.assign([1, 2], { extra: "x" })],
    ["map", new Map([["a", 1], [{ key: true }, new Map([[NaN, "nan"]])], [3, undefined]])],
    ["set", new Set([1, "1", null, new Set([2n])])],
    ["cycle", cycle],
    ["shared", [shared, { again: shared }, new Map([[shared, shared]])]],
    ["class instance", new Point(4)],
    ["getter", { get computed() { return 42; } }],
  ];
}

function webValues() {
  return [
    ["headers", new Headers([["X-One", "1"], ["set-cookie", "a=1"], ["set-cookie", "b=2"], ["accept", "a"], ["accept", "b"]])],
    ["blob", new Blob(["Grüße ", new Uint8Array([33])], { type: "text/plain" })],
    ["empty blob", new Blob([])],
    ["request", new Request("https://example.com/p?q=1", { method: "DELETE", headers: { "x-a": "b" }, redirect: "manual" })],
    ["plain request", new Request("http://example.com/")],
    ["web values inside", { headers: new Headers({ a: "b" }), list: [new Blob(["x"], { type: "a/b" })] }],
  ];
}
