// Timers that live and die with the context that set them.
// API: https://developers.cloudflare.com/workers/runtime-apis/web-standards/#timers

import { core, primordials } from "ext:core/mod.js";
import { op_timer_start } from "ext:core/ops";
import { forget, inFrame, requireIo, whenDone } from "ext:facetd_rpc/00_context.js";
import { logError } from "ext:facetd_rpc/40_events.js";

const { getAsyncContext } = core;
// Their methods stay what they are, whatever user code does to Map and Set.
const { SafeMap } = primordials;
const { ObjectPrototypeIsPrototypeOf } = primordials;
const { AbortSignalPrototype } = core.loadExtScript("ext:deno_web/03_abort_signal.js");

function isSignal(value) {
  return ObjectPrototypeIsPrototypeOf(AbortSignalPrototype, value);
}

/** Active timers: number to `{ io, call }`. */
const timers = new SafeMap();

class Timeout {
  #number;
  constructor(number) {
    this.#number = number;
  }
  ref() {
    return this;
  }
  unref() {
    return this;
  }
  hasRef() {
    return true;
  }
  refresh() {
    return this;
  }
  close() {
    clear(this.#number);
    return this;
  }
  [Symbol.toPrimitive]() {
    return this.#number;
  }
  [Symbol.dispose]() {
    clear(this.#number);
  }
}

function start(callback, delay, args, repeat) {
  if (typeof callback !== "function") {
    throw new TypeError("Failed to execute 'setTimeout': parameter 1 is not of type 'function'.");
  }
  const io = requireIo();
  const frame = getAsyncContext();
  const ms = Math.max(0, Number(delay) || 0);
  let number;
  const arm = () => {
    const call = op_timer_start(io.context.number, io.event, io.section, ms);
    number ??= call;
    timers.set(number, { io, call });
    whenDone(io, call, () => {
      if (repeat) arm();
      else timers.delete(number);
      try {
        inFrame(frame, callback, undefined, ...args);
      } catch (error) {
        logError("Uncaught", error);
      }
    });
  };
  arm();
  return number;
}

function clear(id) {
  const number = Number(id);
  const timer = timers.get(number);
  if (timer === undefined) return;
  timers.delete(number);
  forget(timer.io, timer.call);
}

let wrap = (number) => new Timeout(number);

/** Without Node compatibility a timer is a number. */
export function plainNumbers() {
  wrap = (number) => number;
}

export function setTimeout(callback, delay, ...args) {
  return wrap(start(callback, delay, args, false));
}
export function setInterval(callback, delay, ...args) {
  return wrap(start(callback, delay, args, true));
}
export function setImmediate(callback, ...args) {
  return new Timeout(start(callback, 0, args, false));
}
export function clearTimeout(id) {
  clear(id);
}
export function clearInterval(id) {
  clear(id);
}
export function clearImmediate(id) {
  clear(id);
}

class Scheduler {
  wait(delay, options) {
    return new Promise((resolve, reject) => {
      const signal = options?.signal;
      if (signal !== undefined && !isSignal(signal)) {
        throw new TypeError(
          "Incorrect type for the 'signal' field on 'WaitOptions': the provided value is not of type 'AbortSignal'.",
        );
      }
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const number = start(() => {
        signal?.removeEventListener("abort", stop);
        resolve();
      }, delay, [], false);
      const stop = () => {
        clear(number);
        reject(signal.reason);
      };
      signal?.addEventListener("abort", stop, { once: true });
    });
  }
}
export const scheduler = new Scheduler();
