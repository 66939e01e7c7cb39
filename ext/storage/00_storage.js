// Durable Object storage: async KV, sync KV, SQL and transactions over one SQLite database.
// API: https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/

import { core } from "ext:core/mod.js";
import {
  op_alarm_delete,
  op_alarm_get,
  op_bookmark_at,
  op_bookmark_now,
  op_bookmark_restore,
  op_alarm_set,
  op_gate_durable,
  op_gate_enter,
  op_gate_leave,
  op_kv_cursor,
  op_kv_cursor_next,
  op_kv_delete,
  op_kv_get,
  op_kv_get_all,
  op_kv_list,
  op_kv_check_value,
  op_kv_put,
  op_kv_put_all,
  op_sql_all,
  op_sql_columns,
  op_sql_exec,
  op_sql_next,
  op_sql_read,
  op_sql_size,
  op_sql_stop,
  op_sql_written,
  op_storage_delete_all,
  op_txn_begin,
  op_txn_commit,
  op_txn_rollback,
  op_txn_savepoint,
  op_txn_savepoint_end,
} from "ext:core/ops";
import { currentIo, derivedFrame, inFrame, requireOwn, whenDone } from "ext:facetd_rpc/00_context.js";
import { types } from "ext:facetd_rpc/10_clone.js";
import { completionError } from "ext:facetd_rpc/15_errors.js";
import { hasAlarmHandler, worker } from "ext:facetd_rpc/40_events.js";

/** The number of the object's context, if the running code is that object's; throws if it is not. */
const kNumber = Symbol("number");
const kContext = Symbol("context");
const kType = Symbol("type");
const kDelete = Symbol("delete");
const kCheck = Symbol("check");
const kOver = Symbol("over");

function missing(method, type, parameter, kind) {
  return new TypeError(
    `Failed to execute '${method}' on '${type}': parameter ${parameter} is not of type '${kind}'.`,
  );
}

// ---- options

/** The options object as given; nothing is an object without any. */
function objectOf(options, method, type, parameter, kind) {
  if (options === undefined || options === null) return {};
  if (typeof options !== "object" && typeof options !== "function") throw missing(method, type, parameter, kind);
  return options;
}

/**
 * Looks at the options of a read. All operations take effect at once, so no event could come in between whether
 * `allowConcurrency` is set or not, and there is no cache to leave out: only what asking for them does can be seen.
 */
function readOptions(options, ...where) {
  const { allowConcurrency: _a, noCache: _b } = objectOf(options, ...where, "GetOptions");
}

/** Looks at the options of a write: is it `allowUnconfirmed`? */
function writeOptions(options, ...where) {
  const { allowConcurrency: _a, allowUnconfirmed, noCache: _b } = objectOf(options, ...where, "PutOptions");
  return Boolean(allowUnconfirmed);
}

/** A string, by the conversion that refuses symbols. */
const text = (value) => `${value}`;

const LIMIT_MAX = 2 ** 31 - 1;

/** A 32-bit number, by the platform's conversion. */
function int32(given) {
  const number = Math.trunc(+given);
  if (!Number.isFinite(number)) return 0;
  if (number > LIMIT_MAX || number < -LIMIT_MAX - 1) {
    throw new TypeError(`Value out of range. Must be between ${-LIMIT_MAX - 1} and ${LIMIT_MAX} (inclusive).`);
  }
  return number;
}

/** list() options as the store takes them: start, exclusive, end, prefix, reverse, limit. */
function listRange(options, type, hasReadOptions) {
  const given = objectOf(options, "list", type, 1, "ListOptions");
  if (hasReadOptions) readOptions(given, "list", type, 1);
  const optional = (value) => (value === undefined ? null : text(value));
  // In the platform's order, which getters and objects that are no strings can tell.
  const start = optional(given.start);
  const startAfter = optional(given.startAfter);
  const end = optional(given.end);
  const prefix = optional(given.prefix);
  const reverse = Boolean(given.reverse);
  const { limit: givenLimit } = given;
  const limit = givenLimit === undefined ? undefined : int32(givenLimit);
  if (start !== null && startAfter !== null) {
    throw new TypeError("list() cannot be called with both start and startAfter values.");
  }
  if (limit !== undefined && limit <= 0) throw new TypeError("List limit must be positive.");
  return [start ?? startAfter, startAfter !== null, end, prefix, reverse, limit ?? -1];
}

// ---- key-value

const PUT_FORMS =
  "put() may only be called with a single key-value pair and optional options as put(key, value, options) or with multiple key-value pairs and optional options as put(entries, options)";

function checkAlarmOptions(method, parameter, options, kind) {
  const taken = options === undefined || options === null || typeof options === "object" || typeof options === "function";
  if (!taken) {
    throw missing(method, "DurableObjectStorage", parameter, kind);
  }
}

const { getTime } = Date.prototype;
const { apply } = Reflect;

/** A Date or a number. What number a date may be, Rust checks. */
function dateToMilliseconds(time) {
  if (typeof time === "number") return time;
  try {
    return apply(getTime, time, []);
  } catch {
    throw missing("setAlarm", "DurableObjectStorage", 1, "date");
  }
}

/** What reaches the storage of one object, and is of no use to any other. */
class Storage {
  constructor(context) {
    Object.defineProperty(this, kContext, { value: context });
  }
  get [kNumber]() {
    const context = this[kContext];
    requireOwn(context, "ActorCacheInterface");
    return context.number;
  }
}

/** The methods that `ctx.storage` and a transaction share. */
class AsyncKv extends Storage {

  async get(key, options) {
    if (arguments.length < 1) throw missing("get", this[kType], 1, "string or Array");
    const keys = Array.isArray(key) ? Array.from(key, text) : text(key);
    readOptions(options, "get", this[kType], 2);
    this[kCheck]("get");
    if (typeof keys === "string") return op_kv_get(this[kNumber], keys);
    return new Map(op_kv_get_all(this[kNumber], keys));
  }

  async put(key, value, options) {
    if (arguments.length < 1) throw missing("put", this[kType], 1, "string or object");
    const number = this[kNumber];
    const isObject = (typeof key === "object" && key !== null) || typeof key === "function";
    if (!isObject || Array.isArray(key)) {
      const name = text(key);
      const unconfirmed = writeOptions(options, "put", this[kType], 3);
      if (value === undefined) throw new TypeError("put() called with undefined value.");
      this[kCheck]("put", [value]);
      op_kv_put(number, name, value, unconfirmed);
      return;
    }
    const entries = Object.keys(key).map((name) => [name, key[name]]);
    writeOptions(options, "put", this[kType], 3);
    if (value !== undefined && value !== null && typeof value !== "object" && typeof value !== "function") {
      throw new TypeError(PUT_FORMS);
    }
    const unconfirmed = writeOptions(value, "put", this[kType], 2);
    const names = [];
    const values = [];
    for (const [name, item] of entries) {
      if (item === undefined) continue;
      names.push(name);
      values.push(item);
    }
    this[kCheck]("put", values);
    op_kv_put_all(this[kNumber], names, values, unconfirmed);
  }

  /** Throws if `method` may not be called now; what is wrong with `values` comes first. */
  [kCheck](_method, _values) {}

  /** What is wrong with the arguments is thrown, not rejected, as on the platform. */
  delete(key, options) {
    if (arguments.length < 1) throw missing("delete", this[kType], 1, "string or Array");
    const keys = Array.isArray(key) ? new Set(Array.from(key, text)) : text(key);
    const unconfirmed = writeOptions(options, "delete", this[kType], 2);
    this[kCheck]("delete");
    return this[kDelete](keys, unconfirmed);
  }

  async [kDelete](keys, unconfirmed) {
    const number = this[kNumber];
    if (typeof keys === "string") return op_kv_delete(number, keys, unconfirmed);
    let count = 0;
    for (const k of keys) if (op_kv_delete(number, k, unconfirmed)) count++;
    return count;
  }

  async list(options) {
    const range = listRange(options, this[kType], true);
    this[kCheck]("list");
    return new Map(op_kv_list(this[kNumber], ...range));
  }

  async getAlarm(options) {
    checkAlarmOptions("getAlarm", 1, options, "GetAlarmOptions");
    return op_alarm_get(this[kNumber]);
  }

  async setAlarm(time, options) {
    const milliseconds = dateToMilliseconds(time);
    checkAlarmOptions("setAlarm", 2, options, "SetAlarmOptions");
    if (!hasAlarmHandler(this[kNumber])) {
      throw new TypeError("Your Durable Object class must have an alarm() handler in order to call setAlarm()");
    }
    op_alarm_set(this[kNumber], milliseconds);
  }

  async deleteAlarm(options) {
    checkAlarmOptions("deleteAlarm", 1, options, "SetAlarmOptions");
    op_alarm_delete(this[kNumber]);
  }
}

class DurableObjectTransaction extends AsyncKv {
  #state = "open";
  constructor(context, end) {
    super(context);
    this.end = end;
    for (const method of ["getAlarm", "setAlarm", "deleteAlarm"]) {
      const base = AsyncKv.prototype[method];
      Object.defineProperty(this, method, {
        value: async (...args) => {
          this[kCheck](method);
          return base.apply(this, args);
        },
      });
    }
    Object.defineProperty(this, "end", { enumerable: false, writable: true });
  }
  [kCheck](method, values = []) {
    if (this.#state === "open") return;
    for (const value of values) op_kv_check_value(value);
    if (this.#state === "rolledBack") throw new Error(`Cannot ${method}() on rolled back transaction`);
    if (this.#state === "committed") {
      throw new Error(
        `Cannot call ${method}() on transaction that has already committed: did you move \`txn\` outside of the closure?`,
      );
    }
  }
  rollback() {
    if (this.#state === "rolledBack") return;
    this[kCheck]("rollback");
    this.#state = "rolledBack";
    this.end();
  }
  deleteAll() {
    throw new Error("Cannot call deleteAll() within a transaction");
  }
  /** It is over: nothing more can be done with it. */
  [kOver](state) {
    if (this.#state === "open") this.#state = state;
  }
}

/** Enters a critical section in the name of `io`; resolves to its number. */
export function enterSection(io) {
  const entered = op_gate_enter(io.context.number, io.event, io.section);
  if (entered > 0) return Promise.resolve(entered);
  return new Promise((resolve) => whenDone(io, -entered, (_kind, section) => resolve(section)));
}

class SyncKvStorage extends Storage {
  get(key) {
    if (arguments.length < 1) throw missing("get", "SyncKvStorage", 1, "string");
    return op_kv_get(this[kNumber], text(key));
  }
  put(key, value) {
    if (arguments.length < 1) throw missing("put", "SyncKvStorage", 1, "string");
    const name = text(key);
    if (arguments.length < 2) throw missing("put", "SyncKvStorage", 2, "Value");
    op_kv_put(this[kNumber], name, value, false);
  }
  delete(key) {
    if (arguments.length < 1) throw missing("delete", "SyncKvStorage", 1, "string");
    return op_kv_delete(this[kNumber], text(key), false);
  }
  list(options) {
    const cursor = op_kv_cursor(this[kNumber], ...listRange(options, "SyncKvStorage", false));
    return Object.assign(Object.create(KvIterator), { [kCursor]: cursor });
  }
}

const kCursor = Symbol("cursor");
const IteratorPrototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));
const KvIterator = Object.create(IteratorPrototype, {
  next: {
    value() {
      const entry = op_kv_cursor_next(this[kCursor]);
      return entry === undefined ? { done: true, value: undefined } : { done: false, value: entry };
    },
  },
});

// ---- SQL

class SqlStorageStatement {}

/** What the platform calls a cursor where it is used by somebody else. */
const CURSOR = "State";

class SqlStorageCursor {
  #cursor;
  #columns;
  #home;
  constructor(cursor, home) {
    if (home === undefined) throw new TypeError("Illegal constructor");
    this.#cursor = cursor;
    this.#home = home;
  }
  next() {
    requireOwn(this.#home, CURSOR);
    const row = op_sql_next(this.#cursor, false);
    return row === undefined ? { done: true, value: undefined } : { done: false, value: row };
  }
  toArray() {
    requireOwn(this.#home, CURSOR);
    return op_sql_all(this.#cursor, false);
  }
  one() {
    requireOwn(this.#home, CURSOR);
    const row = op_sql_next(this.#cursor, false);
    if (row === undefined) {
      throw new Error("Expected exactly one result from SQL query, but got no results.");
    }
    if (op_sql_stop(this.#cursor)) {
      throw new Error("Expected exactly one result from SQL query, but got multiple results.");
    }
    return row;
  }
  raw() {
    requireOwn(this.#home, CURSOR);
    const cursor = this.#cursor;
    return Object.create(RawIterator, { [kCursor]: { value: cursor } });
  }
  [Symbol.iterator]() {
    requireOwn(this.#home, CURSOR);
    return Object.create(RowIterator, { [kCursor]: { value: this.#cursor } });
  }
  get columnNames() {
    return (this.#columns ??= op_sql_columns(this.#cursor));
  }
  get rowsRead() {
    return op_sql_read(this.#cursor);
  }
  get rowsWritten() {
    return op_sql_written(this.#cursor);
  }
}

function rowIterator(raw) {
  return Object.create(IteratorPrototype, {
    next: {
      value() {
        const row = op_sql_next(this[kCursor], raw);
        return row === undefined ? { done: true, value: undefined } : { done: false, value: row };
      },
    },
    toArray: {
      value() {
        return op_sql_all(this[kCursor], raw);
      },
    },
  });
}
const RowIterator = rowIterator(false);
const RawIterator = rowIterator(true);

class SqlStorage extends Storage {
  exec(query, ...bindings) {
    if (arguments.length < 1) throw missing("exec", "SqlStorage", 1, "String");
    const sql = text(query);
    for (let i = 0; i < bindings.length; i++) bindings[i] = binding(bindings[i]);
    return new SqlStorageCursor(op_sql_exec(this[kNumber], sql, bindings), this[kContext]);
  }
  get databaseSize() {
    return op_sql_size(this[kNumber]);
  }
}
Object.defineProperties(SqlStorage.prototype, {
  Cursor: { value: SqlStorageCursor },
  Statement: { value: SqlStorageStatement },
});

function binding(value) {
  switch (typeof value) {
    case "number":
    case "string":
      return value;
    case "undefined":
      return null;
    case "bigint":
      throw new TypeError("Cannot convert a BigInt value to a number");
    case "symbol":
      throw new TypeError("Cannot convert a Symbol value to a string");
    case "object":
      if (value === null || value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return value;
  }
  return text(value);
}

// ---- point-in-time recovery

/**
 * A bookmark is a time in microseconds, written so that later ones compare as greater. With `undo` it means the state that
 * a restoration after that time replaced.
 */
function bookmarkText(time, undo) {
  const hex = time.toString(16).padStart(16, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000000${undo ? 1 : 0}-${"0".repeat(32)}`;
}

function readBookmark(text) {
  const parts = /^([0-9a-f]{8})-([0-9a-f]{8})-0000000([01])-[0-9a-f]{32}$/.exec(text);
  // Times are exact as numbers for the next two centuries.
  const time = parts === null ? NaN : parseInt(parts[1] + parts[2], 16);
  if (!Number.isSafeInteger(time)) throw new TypeError("Invalid bookmark.");
  return [time, parts[3] === "1"];
}

// ---- the whole

export class DurableObjectStorage extends AsyncKv {
  #io;
  #sql;
  #kv;
  #deleteFacets;
  #transactions = 0;

  constructor(io, deleteFacets) {
    super(io.context);
    this.#io = io;
    this.#deleteFacets = deleteFacets;
  }

  get sql() {
    return (this.#sql ??= new SqlStorage(this[kContext]));
  }

  get kv() {
    return (this.#kv ??= new SyncKvStorage(this[kContext]));
  }

  transactionSync(run) {
    if (typeof run !== "function") throw missing("transactionSync", "DurableObjectStorage", 1, "function");
    const number = this[kNumber];
    const savepoint = op_txn_savepoint(number);
    let value;
    try {
      value = run();
    } catch (error) {
      op_txn_savepoint_end(number, savepoint, false);
      throw error;
    }
    op_txn_savepoint_end(number, savepoint, true);
    return value;
  }

  async transaction(run) {
    if (typeof run !== "function") throw missing("transaction", "DurableObjectStorage", 1, "function");
    const number = this[kNumber];
    const outer = currentIo() ?? this.#io;
    const section = await enterSection(outer);
    const io = { context: outer.context, event: outer.event, section };
    let open = false;
    let transaction;
    this.#transactions++;
    try {
      op_txn_begin(number);
      open = true;
      transaction = new DurableObjectTransaction(this[kContext], () => {
        op_txn_rollback(number);
        open = false;
      });
      const value = await inFrame(derivedFrame(io), async () => run(transaction));
      transaction[kOver]("committed");
      if (open) {
        open = false;
        op_txn_commit(number);
      }
      return value;
    } catch (error) {
      // First, so that its own rollback() cannot undo what is written later.
      transaction?.[kOver]("rolledBack");
      if (open) op_txn_rollback(number);
      throw error;
    } finally {
      this.#transactions--;
      op_gate_leave(number, section);
    }
  }

  async deleteAll(options) {
    writeOptions(options, "deleteAll", this[kType], 1);
    // The store knows those that are open; one that was rolled back runs on until its callback ends.
    if (this.#transactions > 0) throw new Error("Cannot call deleteAll() within a transaction");
    op_storage_delete_all(this[kNumber], !worker.flags.has("delete_all_deletes_alarm"));
    this.#deleteFacets();
  }

  sync() {
    const io = currentIo() ?? this.#io;
    return new Promise((resolve, reject) => {
      const call = op_gate_durable(this[kNumber], io.event, io.section);
      whenDone(io, call, (kind, ...rest) => {
        if (kind === 5) resolve(undefined);
        else reject(completionError(kind, ...rest));
      });
    });
  }

  async getCurrentBookmark() {
    return bookmarkText(op_bookmark_now(this[kNumber]), false);
  }

  async getBookmarkForTime(timestamp) {
    if (arguments.length < 1) throw missing("getBookmarkForTime", "DurableObjectStorage", 1, "date");
    const ms = timestamp instanceof Date ? timestamp.getTime() : Number(timestamp);
    if (Number.isNaN(ms)) throw new TypeError("The value cannot be converted because it is not a valid Date.");
    // All commits of that millisecond are in it.
    return bookmarkText(op_bookmark_at(this[kNumber], Math.trunc(ms) * 1000 + 999), false);
  }

  async onNextSessionRestoreBookmark(bookmark) {
    if (arguments.length < 1) throw missing("onNextSessionRestoreBookmark", "DurableObjectStorage", 1, "string");
    const [time, undo] = readBookmark(String(bookmark));
    return bookmarkText(op_bookmark_restore(this[kNumber], time, undo), true);
  }
}
Object.defineProperty(DurableObjectStorage.prototype, kType, { value: "DurableObjectStorage" });
Object.defineProperty(DurableObjectTransaction.prototype, kType, { value: "DurableObjectTransaction" });
for (const Class of [SqlStorageCursor, SqlStorageStatement, SqlStorage, SyncKvStorage]) types.platform.add(Class);
Object.defineProperty(SqlStorageCursor, "name", { value: "Cursor" });
Object.defineProperty(SqlStorageStatement, "name", { value: "Statement" });
for (const Class of [SqlStorageCursor, DurableObjectStorage, DurableObjectTransaction, SyncKvStorage, SqlStorage]) {
  Object.defineProperty(Class.prototype, Symbol.toStringTag, { value: Class.name, configurable: true });
}
