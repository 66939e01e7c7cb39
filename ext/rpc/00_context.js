// The I/O context: which event or object the running code belongs to.
// API: https://developers.cloudflare.com/workers/runtime-apis/context/
//
// A frame is an immutable object that V8 carries along every promise continuation. Our part of it is
// `frame[kIo] = { context, event, section }`; AsyncLocalStorage keeps its stores beside it.

import { core, primordials } from "ext:core/mod.js";
import { op_body_end, op_rpc_busy, op_rpc_give_up } from "ext:core/ops";

const { getAsyncContext, setAsyncContext } = core;
// Taken before user code can replace it: what it is called with is not for user code to see.
const { apply } = Reflect;
// Their methods stay what they are, whatever user code does to Map and Set.
const { ArrayPrototypePush, SafeMap, SafeSet } = primordials;

export const kIo = Symbol("io");

const DISALLOWED =
  "Disallowed operation called within global scope. Asynchronous I/O (ex: fetch() or connect()), setting a timeout, and generating random values are not allowed within global scope. To fix this error, perform this operation within a handler. https://developers.cloudflare.com/workers/runtime-apis/handlers/";

// The platform does not run such code at all; here it runs, and can compute.
const ENDED =
  "Cannot perform I/O on behalf of a request that has ended. Code that is to run on after the response must be kept alive by ctx.waitUntil().";

/**
 * What dies together: one stateless event with all it started, or one object.
 * `number` is the name Rust knows it by.
 */
export class Context {
  alive = true;
  /** Calls to give up when it ends. @type {Set<number>} */
  pending = new SafeSet();
  /** Events that run here: all of an object's; of another event's context, calls to functions that it passed out. */
  guests = 0;
  /** What to do when it ends. @type {Function[]} */
  atEnd = [];
  /** Active timers: number to call. @type {Map<number, number> | undefined} */
  timers = undefined;
  /** Accepted WebSockets, by number. @type {Set<number> | undefined} */
  sockets = undefined;
  /** Forgets one of them. */
  forgetSocket = undefined;
  /** Bodies on their way out, by the number of their pipe. @type {Set<number> | undefined} */
  pipes = undefined;
  /** Bodies that came in, by resource number; of a stateless event only. @type {number[] | undefined} */
  bodies = undefined;
  /** Numbers of what it has passed out. @type {Set<number> | undefined} */
  exports = undefined;

  constructor(number, isObject) {
    this.number = number;
    this.isObject = isObject;
  }

  end() {
    if (!this.alive) return;
    this.alive = false;
    for (const call of this.pending) {
      waiting.delete(call);
      op_rpc_give_up(call);
    }
    this.pending.clear();
    if (this.pipes !== undefined) {
      for (const rid of this.pipes) op_body_end(this.number, rid, this.isObject ? "the object was reset" : "the request was ended");
      this.pipes.clear();
    }
    if (this.sockets !== undefined) for (const number of this.sockets) this.forgetSocket(number);
    // Of an object's, the collector closes those that nobody has any more.
    if (this.bodies !== undefined) for (let i = 0; i < this.bodies.length; i++) core.tryClose(this.bodies[i]);
    for (let i = 0; i < this.atEnd.length; i++) this.atEnd[i]();
    this.atEnd.length = 0;
  }
}

/** The current frame's I/O part, or undefined at top level. */
export function currentIo() {
  return getAsyncContext()?.[kIo];
}

/** The current frame's I/O part; throws at top level, where there is none, and where it is over. */
export function requireIo() {
  const io = getAsyncContext()?.[kIo];
  if (io === undefined) throw new Error(DISALLOWED);
  if (!io.context.alive) throw new Error(ENDED);
  return io;
}

// ---- what belongs to whom

const REQUEST = { what: "request", whose: "request handler", elsewhere: "request's handler" };
const OBJECT = { what: "Durable Object", whose: "Durable Object", elsewhere: "Durable Object in the same isolate" };

/** What is said of an I/O object that belongs to somebody else. `type`: what the platform calls it. */
function foreign(here, type) {
  const { what, whose, elsewhere } = here?.isObject ? OBJECT : REQUEST;
  return new Error(
    `Cannot perform I/O on behalf of a different ${what}. I/O objects (such as streams, request/response bodies, and others) created in the context of one ${whose} cannot be accessed from a different ${elsewhere}. This is a limitation of Cloudflare Workers which allows us to improve overall performance. (I/O type: ${type})`,
  );
}

/** The context of the running code; undefined at top level. @returns {Context | undefined} */
export function currentContext() {
  return getAsyncContext()?.[kIo]?.context;
}

/** The context of the running code; throws at top level, where nothing can belong to anybody. */
export function requireContext() {
  const io = getAsyncContext()?.[kIo];
  if (io === undefined) throw new Error(DISALLOWED);
  return io.context;
}

/** Does what belongs to `home` belong to somebody else? What belongs to nobody does not. */
export function isForeign(home) {
  return home !== undefined && home !== getAsyncContext()?.[kIo]?.context;
}

/** Throws unless the running code belongs to the request or object `home`. */
export function requireOwn(home, type) {
  const here = getAsyncContext()?.[kIo]?.context;
  if (here !== home && home !== undefined) throw foreign(here, type);
}

class Given {
  constructor(object) {
    return object;
  }
}

/** The context an object belongs to, as a private field of an object that is not ours: user code cannot see it. */
class Owned extends Given {
  #home;
  constructor(object, home) {
    super(object);
    this.#home = home;
  }
  static of(object) {
    return typeof object === "object" && object !== null && #home in object ? object.#home : undefined;
  }
  static move(object, home) {
    if (#home in object) object.#home = home;
    else new Owned(object, home);
  }
}

/** The context that `object` belongs to; undefined: nobody's. @type {(object: any) => Context | undefined} */
export const homeOf = Owned.of;
/** Makes `object` belong to `home`; undefined: to nobody. @type {(object: object, home?: Context) => void} */
export const giveTo = Owned.move;

/**
 * I/O objects that came out of a message which has been read, before anybody knows whose it is: functions that take the
 * context. Always empty again before user code runs.
 */
const landed = [];

/** Tells `claim` whose the message is as soon as that is known. */
export function land(claim) {
  landed[landed.length] = claim;
}

/** What has landed belongs to `home`; undefined: to nobody. */
export function claimLanded(home) {
  if (landed.length === 0) return;
  // No method of arrays: user code may have replaced it.
  for (let i = 0; i < landed.length; i++) landed[i](home);
  landed.length = 0;
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

/** Tables whose sizes are told when a census is asked for, by name. @type {Record<string, Map>} */
export const tables = { __proto__: null, waiting };

/** Called by Rust: `[name, size, name, size, ...]`. */
export function census() {
  const counts = [];
  for (const name in tables) {
    ArrayPrototypePush(counts, name);
    ArrayPrototypePush(counts, tables[name].size);
  }
  return counts;
}

/** Notes that `io` waits for `call`. `done(kind, a, b, ...)` runs when it completes. */
export function whenDone(io, call, done) {
  // What runs on in a context that is over waits for nothing.
  if (!io.context.alive) {
    op_rpc_give_up(call);
    return;
  }
  io.context.pending.add(call);
  waiting.set(call, (...args) => {
    io.context.pending.delete(call);
    claimLanded(io.context);
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

/** A body that came in: nobody reads it when `context` is over. */
export function noteBody(context, rid) {
  if (context === undefined || context.isObject) return;
  (context.bodies ??= []).push(rid);
}

/** Called by Rust: something JS waits for has happened. */
export function complete(call, ...args) {
  const done = waiting.get(call);
  if (done === undefined) {
    claimLanded(undefined);
    return;
  }
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
