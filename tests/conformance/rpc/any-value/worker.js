// What random values found to be different once (tests/differential/values), one by one: functions among other things,
// Proxies, errors and what else is thrown.
import { DurableObject, RpcTarget } from "cloudflare:workers";
import { answer, caught, failure, show } from "./probe.js";

class Point {
  x = 1;
}
class Target extends RpcTarget {
  get nothing() {}
  get nil() {
    return null;
  }
  hi() {
    return "hi";
  }
}

/** Without what classes of the platform keep on their instances. */
const isTold = (key) => (typeof key === "string" ? key !== "durableObjectId" : key === Symbol.dispose);
const own = (value) =>
  Reflect.ownKeys(value).filter(isTold).map((key) => `${String(key)}${Object.getOwnPropertyDescriptor(value, key).enumerable ? "" : " hidden"}`);

const MADE = {
  array: () => [1],
  map: () => new Map(),
  buffer: () => new ArrayBuffer(1),
  error: () => new Error("as a value"),
  headers: () => new Headers(),
  nullProto: () => Object.assign(Object.create(null), { a: 1 }),
  instance: () => new Point(),
  url: () => new URL("http://example.com/"),
  weak: () => new WeakMap(),
  arrow: () => () => 1,
  file: () => new File(["x"], "x"),
  withStub: () => ({ a: 1, f: () => 1 }),
  target: () => new Target(),
  response: () => new Response("x"),
  toStringer: () => ({ toString: () => "asked", a: () => 1 }),
  typed: () => "TypeError: no",
  named: () => Object.assign(new RangeError("m"), { name: "TypeError" }),
  otherName: () => Object.assign(new RangeError("m"), { name: "Mine", f: () => 1 }),
  ordered: () => Object.defineProperty(Object.assign(new Error("m", { cause: 1 }), { z: 1, 7: "index", a: 2 }), "hidden", { value: 3 }),
  overloaded: () => ({ overloaded: 1 }),
  overloadedLost: () => ({ overloaded: 1, f: () => 1 }),
  itself: () => {
    const error = new Error("around");
    return Object.assign(error, { error });
  },
  badGetter: () => Object.defineProperty(new Error("kept"), "got", {
    enumerable: true,
    get() {
      throw new RangeError("not for you");
    },
  }),
};

export class Obj extends DurableObject {
  give(name) {
    return MADE[name]();
  }
  toss(name) {
    throw MADE[name]();
  }
  target() {
    return new Target();
  }
  shape(value) {
    return show(value);
  }
  keys(value) {
    return own(value);
  }
  identity([a, b]) {
    return [a === b, a.f === undefined ? undefined : a.f === b.f];
  }
  sparse(array) {
    return [array.length, Object.keys(array), typeof array[5]];
  }
  views({ a, b, f }) {
    return [a.buffer === b.buffer, a.byteOffset, b.byteOffset, b.length, typeof f];
  }
  async response([response, f]) {
    return [await response.text(), await f()];
  }
  async both([stream, request, f]) {
    return [await new Response(stream).text(), await request.text(), await f()];
  }
  async stub(value) {
    return [typeof value, value.constructor.name, await value.a];
  }
  error(error) {
    return [error.constructor.name, error.name, error.message, own(error), error.stack.includes("\n"), typeof error.f];
  }
}

const seen = async (promise) => {
  try {
    const value = await promise;
    return { ok: show(value), own: typeof value === "object" && value !== null ? own(value).filter((key) => key.includes("dispose")) : [] };
  } catch (error) {
    const kind = error instanceof DOMException ? "DOMException" : Object.getPrototypeOf(error)?.constructor?.name;
    return { thrown: failure(error), kind, own: error instanceof DOMException ? [] : own(error) };
  }
};

export default {
  fetch(_request, env) {
    const to = env.OBJ.getByName("o");
    const f = () => "called";
    const shared = new ArrayBuffer(16);
    const probes = {
      sameFunction: () => to.identity([f, f]),
      sameObjectWithFunction: () => {
        const object = { f };
        return to.identity([object, object]);
      },
      sparse: () => {
        const array = new Array(1000);
        array[5] = f;
        array.named = f;
        return to.sparse(array);
      },
      viewsOfOneBuffer: () => to.views({ a: new Uint8Array(shared, 8, 4), b: new Float32Array(shared, 4, 2), f }),
      protoKey: () => to.keys({ ["__proto__"]: f, a: 1 }),
      getterOnce: async () => {
        let asked = 0;
        await to.keys({ get got() { return ++asked; } });
        return asked;
      },
      responseBeforeFunction: () => to.response([new Response("body"), f]),
      streamsBeforeFunction: () => to.both([new Response("stream").body, new Request("http://x/", { method: "POST", body: "request" }), f]),
      refusedAfterStream: async () => [await caught(() => to.shape([new Response("x").body, f, Symbol("s")])), await caught(() => to.shape([new Response("x"), new WeakMap()]))],
      plainProxy: () => to.stub(new Proxy({ a: 5 }, {})),
      sameProxy: () => {
        const proxy = new Proxy({}, {});
        return to.identity([proxy, proxy]);
      },
      targetProxy: () => caught(() => to.stub(new Proxy(new Target(), {}))),
      arrayProxy: () => caught(() => to.shape(new Proxy([], {}))),
      nullProtoProxy: () => caught(() => to.shape(new Proxy(Object.create(null), {}))),
      lyingProxy: () => caught(() => to.shape(new Proxy({}, { getPrototypeOf: () => Point.prototype }))),
      proxyPrototype: () => caught(() => to.shape(Object.create(new Proxy({}, {})))),
      file: () => caught(() => to.shape(new File(["x"], "x"))),
      undefinedProperty: async () => {
        const target = await to.target();
        return [await caught(() => target.nothing), await target.nil, await target.hi()];
      },
      errorWithFunction: () => to.error(Object.assign(new TypeError("m"), { f })),
      errorNamed: () => to.error(Object.assign(new RangeError("m"), { name: "TypeError" })),
      errorNamedOtherwise: () => to.error(Object.assign(new RangeError("m"), { name: "Mine" })),
      errorNamedNumber: () => to.error(Object.assign(new RangeError("m"), { name: 5 })),
      errorOrdered: () => to.error(MADE.ordered()),
      errorSymbol: () => caught(() => to.error(Object.assign(new Error("m"), { s: Symbol("s") }))),
      errorMessageNumber: () => caught(() => to.error(Object.assign(new Error(), { message: 5 }))),
      errorItself: () => caught(() => to.error(MADE.itself())),
      errorBadGetter: () => caught(() => to.error(MADE.badGetter())),
      errorFake: () => caught(() => to.error(Object.create(TypeError.prototype))),
      resizable: () => to.keys(new ArrayBuffer(8, { maxByteLength: 16 })),
    };
    for (const name of Object.keys(MADE)) {
      probes[`give ${name}`] = () => seen(to.give(name));
      probes[`toss ${name}`] = () => seen(to.toss(name));
    }
    return answer(probes);
  },
};
