// The I/O context: which event or object the running code belongs to.
// API: https://developers.cloudflare.com/workers/runtime-apis/context/
//
// A frame is an immutable object that V8 carries along every promise continuation. Our part of it is
// `frame[kIo] = { context, event, section }`; AsyncLocalStorage keeps its stores beside it.

import { core, primordials } from "ext:core/mod.js";
import { op_rpc_busy, op_rpc_give_up } from "ext:core/ops";

const { getAsyncContext, setAsyncContext } = core;
// Taken before user code can replace it: what it is called with is not for user code to see.
const { apply } = Reflect;
// Their methods stay what they are, whatever user code does to Map and Set.
const { SafeMap, SafeSet } = primordials;

export const kIo = Symbol("io");

const DISALLOWED =
  "Disallowed operation called within global scope. Asynchronous I/O (ex: fetch() or connect()), setting a timeout, and generating random values are not allowed within global scope. To fix this error, perform this operation within a handler. https://developers.cloudflare.com/workers/runtime-apis/handlers/";

/**
 * What dies together: one stateless event with all it started, or one object.
 * `number` is the name Rust knows it by.
 */
export class Context {
  alive = true;
  /** Calls to give up when it ends. @type {Set<number>} */
  pending = new SafeSet();
  /** What to do when it ends. @type {Function[]} */
  atEnd = [];
  /** Numbers of what it has passed out. @type {Set<number> | undefined} */
  exports = undefined;
  /** Events that call what it has passed out. @type {Set<object> | undefined} */
  guests = undefined;

  constructor(number, isObject) {
    this.number = number;
    this.isObject = isObject;
  }

  end() {
    this.alive = false;
    for (const call of this.pending) {
      waiting.delete(call);
      op_rpc_give_up(call);
    }
    this.pending.clear();
    for (let i = 0; i < this.atEnd.length; i++) this.atEnd[i]();
  }
}

/** The current frame's I/O part, or undefined at top level. */
export function currentIo() {
  return getAsyncContext()?.[kIo];
}

/** The current frame's I/O part; throws at top level, where there is none. */
export function requireIo() {
  const io = getAsyncContext()?.[kIo];
  if (io === undefined) throw new Error(DISALLOWED);
  return io;
}

const DIFFERENT = (what, whose, elsewhere) =>
  `Cannot perform I/O on behalf of a different ${what}. I/O objects (such as streams, request/response bodies, and others) created in the context of one ${whose} cannot be accessed from a different ${elsewhere}. This is a limitation of Cloudflare Workers which allows us to improve overall performance. (I/O type: Native)`;

/** Throws unless the running code belongs to the same request or object as `io`. */
export function requireOwn(io) {
  const here = currentIo()?.context;
  if (here === io.context) return;
  throw new Error(
    here?.isObject && io.context.isObject
      ? DIFFERENT("Durable Object", "Durable Object", "Durable Object in the same isolate")
      : DIFFERENT("request", "request handler", "request's handler"),
  );
}

/** A frame for a new event: nothing of whoever delivers it. */
export function frameOf(io) {
  return { __proto__: null, [kIo]: io };
}

/** The current frame with another I/O part: AsyncLocalStorage goes on. */
export function derivedFrame(io) {
  return { __proto__: null, ...getAsyncContext(), [kIo]: io };
}

/** Runs `run` in `frame`. */
export function inFrame(frame, run, self, ...args) {
  const before = getAsyncContext();
  setAsyncContext(frame);
  try {
    return apply(run, self, args);
  } finally {
    setAsyncContext(before);
  }
}

/** Calls that have not completed: number to what to do, or to what has a `settle`. @type {Map<number, Function | object>} */
const waiting = new SafeMap();

/** Notes that `io` waits for `call`. `done(kind, a, b, ...)` runs when it completes. */
export function whenDone(io, call, done) {
  io.context.pending.add(call);
  waiting.set(call, (...args) => {
    io.context.pending.delete(call);
    if (io.context.alive) done(...args);
  });
}

/** As `whenDone`, without a closure: `waiter.settle(kind, a, b, ...)` runs, whether its context is alive or not. */
export function awaitCall(call, waiter) {
  waiting.set(call, waiter);
}

export function forget(io, call) {
  io.context.pending.delete(call);
  waiting.delete(call);
  op_rpc_give_up(call);
}

/** Called by Rust: something JS waits for has happened. */
export function complete(call, ...args) {
  const done = waiting.get(call);
  if (done === undefined) return;
  waiting.delete(call);
  if (typeof done === "function") done(...args);
  else done.settle(...args);
}

/** Keeps the object in memory until `promise` settles; logs a rejection. */
export function keepBusy(io, promise) {
  op_rpc_busy(io.context.number, 1);
  const settled = () => {
    if (io.context.alive) op_rpc_busy(io.context.number, -1);
  };
  promise.then(settled, settled);
}
