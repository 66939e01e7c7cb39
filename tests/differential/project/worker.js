// Carries out sequences of storage calls, each in an object of its own, and answers with everything they returned or threw.
//
// A step is one of
//   [target, member, arguments, name?]   a call; its result may be used as a target under `name`
//   [target, member]                     a property
//   {later: step}                        a call whose promise is looked at when the sequence is over
//   {transaction: steps, end}            `storage.transaction`; end: "return", "throw" or "reject"
//   {transactionSync: steps, end}        `storage.transactionSync`; end: "return" or "throw"
//   {wait: "microtask" | "timer"}
// Targets: storage, kv, sql, txn (inside a transaction; the innermost), or a name given before. Arguments are JSON,
// with values that JSON lacks as {"$": [kind, ...]}.
import { DurableObject } from "cloudflare:workers";
import { failure, show, wait } from "./probe.js";

class Point {
  constructor(x) {
    this.x = x;
  }
}

/** Kinds of values that JSON lacks. */
const MADE = {
  undefined: () => undefined,
  number: (text) => Number(text),
  bigint: (text) => BigInt(text),
  date: (ms) => new Date(ms ?? NaN),
  regexp: (source, flags) => new RegExp(source, flags),
  map: (entries) => new Map(entries),
  set: (items) => new Set(items),
  bytes: (bytes, Kind = "ArrayBuffer") => {
    const { buffer } = new Uint8Array(bytes);
    return Kind === "ArrayBuffer" ? buffer : new globalThis[Kind](buffer);
  },
  view: (bytes, from, to) => new Uint8Array(bytes).subarray(from, to),
  error: (kind, message, cause) => new globalThis[kind](message, cause === undefined ? undefined : { cause }),
  boxed: (value) => Object(value),
  sparse: (length, at, item) => {
    const array = new Array(length);
    array[at] = item;
    return array;
  },
  cycle: (key) => {
    const object = {};
    object[key] = object;
    return object;
  },
  shared: (item) => [item, item],
  instance: (x) => new Point(x),
  repeat: (text, count) => text.repeat(count),
  headers: (pairs) => new Headers(pairs),
  function: () => () => 1,
  symbol: (name) => Symbol(name),
  promise: () => Promise.resolve(1),
  stream: () => new ReadableStream(),
  nullProto: (entries) => Object.assign(Object.create(null), Object.fromEntries(entries)),
  toStringer: (text) => ({ toString: () => text }),
  thrower: () => ({
    toString: () => {
      throw new RangeError("asked for a string");
    },
  }),
  getter: (key) =>
    Object.defineProperty({}, key, {
      enumerable: true,
      get: () => {
        throw new RangeError("asked for a property");
      },
    }),
};

function make(value) {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(make);
  if (Array.isArray(value.$)) {
    const [kind, ...rest] = value.$;
    return MADE[kind](...rest.map(make));
  }
  const object = {};
  // Not an assignment: `__proto__` is a key like any other.
  for (const key of Object.keys(value)) Object.defineProperty(object, key, { value: make(value[key]), enumerable: true, writable: true, configurable: true });
  return object;
}

const isPromise = (value) => typeof value === "object" && value !== null && typeof value.then === "function";

/** More than `show` tells: cursors and iterators by their kind, holes, what hides behind a box. */
function tell(value) {
  if (typeof value === "object" && value !== null) {
    if (typeof value.columnNames === "object") return { "<cursor>": value.columnNames };
    if (typeof value.next === "function" && !(value instanceof Map)) return "<iterator>";
    if (value instanceof Error && value.cause !== undefined) return { ...show(value), cause: show(value.cause) };
    if (Array.isArray(value) && value.length > 50) return { "<many>": value.length, first: tell(value[0]), last: tell(value.at(-1)) };
  }
  if (typeof value === "string" && value.length > 300) return `<${value.length} characters ${value.slice(0, 20)}...>`;
  if (value instanceof Number || value instanceof String || value instanceof Boolean) return `<boxed ${value.constructor.name} ${value}>`;
  return show(value);
}

class Thrown extends Error {
  name = "Thrown";
}

class Run {
  constructor(storage, planted) {
    this.planted = planted;
    this.answers = [];
    this.late = [];
    this.names = new Map([["storage", storage], ["kv", storage.kv], ["sql", storage.sql]]);
  }

  note(answer) {
    this.answers.push(this.planted === "error" && answer.error ? { error: [answer.error[0], `${answer.error[1]}.`] } : answer);
  }

  /** The call's result, or nothing if it threw (which is noted). */
  call([target, member, args, name]) {
    try {
      const on = this.names.get(target);
      if (on === undefined) return this.note("<no such target>");
      // SQL text is UTF-8 in facetd. Left out here, because a shorter sequence may have what was generated as a binding.
      if (member === "exec" && typeof args[0] === "string" && !args[0].isWellFormed()) return this.note("<not UTF-8>");
      const key = member === "@@iterator" ? Symbol.iterator : member;
      let result = args === undefined ? on[key] : on[key](...args.map(make));
      if (this.planted === "answer" && member === "delete" && typeof result === "boolean") result = !result;
      if (name !== undefined) this.names.set(name, result);
      if (isPromise(result)) return result;
      this.note({ ok: tell(result) });
    } catch (error) {
      this.note({ error: failure(error) });
      if (/^(cursor|list)/.test(target) && /SQLITE_/.test(error.message)) this.forget(/^\D+\d+/.exec(target)[0]);
    }
  }

  /** A cursor that failed: workerd starts its statement anew, or delivers rows of nothing. */
  forget(cursor) {
    for (const name of this.names.keys()) if (/^\D+\d+/.exec(name)?.[0] === cursor) this.names.delete(name);
  }

  stepSync(step) {
    if (Array.isArray(step)) {
      const result = this.call(step);
      if (result) this.keep(result);
    } else if (step.later) {
      this.stepSync(step.later);
    } else if (step.transactionSync) {
      this.transactionSync(step);
    } else {
      this.note("<only outside of transactionSync>");
    }
  }

  keep(promise) {
    this.note("<promise>");
    this.late.push(promise.then((value) => ({ ok: tell(value) }), (error) => ({ error: failure(error) })));
  }

  transactionSync({ transactionSync, end }) {
    try {
      const value = this.names.get("storage").transactionSync(() => {
        for (const step of transactionSync) this.stepSync(step);
        if (end === "throw") throw new Thrown("on purpose");
        return "done";
      });
      this.note({ ok: tell(value) });
    } catch (error) {
      this.note({ error: failure(error) });
    }
  }

  async transaction({ transaction, end }) {
    const outer = this.names.get("txn");
    try {
      const value = await this.names.get("storage").transaction(async (txn) => {
        this.names.set("txn", txn);
        for (const step of transaction) await this.step(step);
        if (end === "throw") throw new Thrown("on purpose");
        return end === "reject" ? Promise.reject(new Thrown("rejected")) : "done";
      });
      this.note({ ok: tell(value) });
    } catch (error) {
      this.note({ error: failure(error) });
    }
    // The finished one stays reachable outside of the outermost: using it then is an error worth comparing.
    if (outer !== undefined) this.names.set("txn", outer);
  }

  async step(step) {
    if (step.wait) return step.wait === "timer" ? wait(1) : Promise.resolve();
    if (step.transaction) return this.transaction(step);
    if (!Array.isArray(step)) return this.stepSync(step);
    const result = this.call(step);
    if (!result) return;
    try {
      this.note({ ok: tell(await result) });
    } catch (error) {
      this.note({ error: failure(error) });
    }
  }

  async all(steps) {
    for (const step of steps) await this.step(step);
    return { answers: this.answers, late: await Promise.all(this.late) };
  }
}

/** Everything that is stored, in the order it lies there. */
function dump(storage, planted) {
  const { sql } = storage;
  const schema = sql.exec("SELECT type, name, tbl_name, sql FROM sqlite_master").raw().toArray();
  const tables = {};
  for (const [type, name] of schema) {
    if (type !== "table" || name.startsWith("_cf_")) continue;
    try {
      tables[name] = show(sql.exec(`SELECT * FROM "${name.replaceAll('"', '""')}"`).raw().toArray());
    } catch (error) {
      tables[name] = failure(error);
    }
  }
  const keys = [];
  for (const [key, value] of storage.kv.list()) keys.push([key, tell(value)]);
  if (planted === "state" && keys.length) keys.pop();
  return { schema, tables, keys, size: sql.databaseSize };
}

export class Obj extends DurableObject {
  async run(steps) {
    return new Run(this.ctx.storage, this.env.PLANTED).all(steps);
  }

  dump() {
    return dump(this.ctx.storage, this.env.PLANTED);
  }
}

async function answerTo(namespace, { name, steps }) {
  const result = await namespace.getByName(name).run(steps).catch((error) => ({ reset: failure(error) }));
  const left = await namespace.getByName(name).dump().catch((error) => ({ failed: failure(error) }));
  return { ...result, left };
}

export default {
  async fetch(request, env) {
    const answers = [];
    for (const sequence of await request.json()) answers.push(await answerTo(env.OBJ, sequence));
    return Response.json(answers);
  },
};
