// `node:async_hooks`: values that follow the flow of calls through promises, timers and events.
// API: https://nodejs.org/docs/latest-v20.x/api/async_context.html
//      https://developers.cloudflare.com/workers/runtime-apis/nodejs/asynclocalstorage/
//
// Runs inside the start-up snapshot as a classic script; its value is a function of `{ getAsyncContext,
// setAsyncContext }`, which read and write the frame that V8 carries along every promise continuation.
//
// A frame is an immutable object or undefined. We own one slot of it, `frame[kStores]`: an immutable object with one
// symbol key per AsyncLocalStorage. The runtime keeps the I/O context in another slot.
// Always true: we change our slot only, and copy the others from the *current* frame. So a snapshot taken in one
// event and run in another brings its stores along but never the I/O context, the gates or the lifetime of the first.
//
// DIVERGES: workerd throws in `enterWith` and `disable`; ours work as in Node.
// DIVERGES: as in Node, a bound function passes its own `this` on, `length` is that of the original, `emitDestroy`
//   returns the resource and each resource has its own id. In workerd `this` is the global scope and ids are 0.

(function (parts) {
  "use strict";

  const { getAsyncContext, setAsyncContext } = parts;
  const { apply } = Reflect;
  const { defineProperties, freeze } = Object;
  const TypeErrorConstructor = TypeError;

  const kStores = Symbol("AsyncLocalStorage");
  const NO_STORES = freeze({ __proto__: null });

  const storesOf = (frame) => frame?.[kStores] ?? NO_STORES;
  const withStores = (frame, stores) => ({ __proto__: null, ...frame, [kStores]: stores });

  function needFunction(value, place, position, word) {
    if (typeof value === "function") return;
    throw new TypeErrorConstructor(`Failed to execute ${place}: parameter ${position} is not of type '${word}'.`);
  }

  /** Calls `fn` with `stores` in place of the current ones, which come back afterwards. */
  function runWithStores(stores, fn, self, args) {
    const before = getAsyncContext();
    const inside = withStores(before, stores);
    setAsyncContext(inside);
    try {
      return apply(fn, self, args);
    } finally {
      const now = getAsyncContext();
      setAsyncContext(now === inside ? before : withStores(now, storesOf(before)));
    }
  }

  /** `fn`, to be called with the stores that are current now. */
  function bindToStores(fn, self) {
    const stores = storesOf(getAsyncContext());
    const bound = function (...args) {
      return runWithStores(stores, fn, self === undefined ? this : self, args);
    };
    return defineProperties(bound, { length: { value: fn.length, configurable: true } });
  }

  class AsyncLocalStorage {
    /** Our key in the stores. `disable` takes a new one, so no frame, old or current, holds a store of ours. */
    #key = Symbol();
    #name;
    #defaultValue;

    /** @param {{ name?: string, defaultValue?: unknown }} [options] */
    constructor(options = undefined) {
      this.#name = options?.name === undefined ? "" : `${options.name}`;
      this.#defaultValue = options?.defaultValue;
    }

    get name() {
      return this.#name;
    }

    /** The store of the enclosing `run` or `enterWith`; the default value outside of any. */
    getStore() {
      const stores = storesOf(getAsyncContext());
      return this.#key in stores ? stores[this.#key] : this.#defaultValue;
    }

    /** Calls `callback(...args)`; in it and in all it starts, `getStore()` is `store`. Returns what it returns. */
    run(store, callback, ...args) {
      needFunction(callback, "'run' on 'AsyncLocalStorage'", 2, "function");
      return this.#runWith(store, callback, args);
    }

    /** Calls `callback(...args)` without a store. */
    exit(callback, ...args) {
      needFunction(callback, "'exit' on 'AsyncLocalStorage'", 1, "function");
      return this.#runWith(undefined, callback, args);
    }

    #runWith(store, callback, args) {
      const key = this.#key;
      const before = getAsyncContext();
      const inside = withStores(before, { ...storesOf(before), __proto__: null, [key]: store });
      setAsyncContext(inside);
      try {
        return apply(callback, null, args);
      } finally {
        const now = getAsyncContext();
        if (now === inside) {
          setAsyncContext(before);
        } else {
          // `enterWith` of another storage outlives our callback: undo nothing but our own store.
          const { [key]: _ours, ...stores } = storesOf(now);
          const outer = storesOf(before);
          if (key in outer) stores[key] = outer[key];
          setAsyncContext(withStores(now, { __proto__: null, ...stores }));
        }
      }
    }

    /** Makes `store` current for the rest of this synchronous stretch and all it starts. */
    enterWith(store) {
      const frame = getAsyncContext();
      setAsyncContext(withStores(frame, { ...storesOf(frame), __proto__: null, [this.#key]: store }));
    }

    /** Leaves every `run` and `enterWith` of this storage, here and in whatever has been started. */
    disable() {
      this.#key = Symbol();
    }

    /** @returns {Function} `fn` in the stores, of all storages, that are current now */
    static bind(fn) {
      needFunction(fn, "'bind' on 'AsyncLocalStorage'", 1, "Function");
      return bindToStores(fn);
    }

    /** @returns {(fn: Function, ...args) => unknown} calls `fn(...args)` in the stores that are current now */
    static snapshot() {
      const stores = storesOf(getAsyncContext());
      return (fn, ...args) => {
        if (typeof fn !== "function") throw new TypeErrorConstructor("The first argument must be a function");
        return runWithStores(stores, fn, undefined, args);
      };
    }

    get [Symbol.toStringTag]() {
      return "AsyncLocalStorage";
    }
  }

  let lastAsyncId = 0;

  class AsyncResource {
    #stores = storesOf(getAsyncContext());
    #asyncId = ++lastAsyncId;
    #triggerAsyncId;

    /**
     * @param {string} [_type] what hooks would see
     * @param {number | { triggerAsyncId?: number }} [options]
     */
    constructor(_type, options) {
      this.#triggerAsyncId = (typeof options === "number" ? options : options?.triggerAsyncId) ?? 0;
    }

    asyncId() {
      return this.#asyncId;
    }

    triggerAsyncId() {
      return this.#triggerAsyncId;
    }

    /** Calls `fn` in the stores that were current when this resource was made. */
    runInAsyncScope(fn, self, ...args) {
      needFunction(fn, "'runInAsyncScope' on 'AsyncResource'", 1, "function");
      return runWithStores(this.#stores, fn, self, args);
    }

    /** Only hooks could notice. */
    emitDestroy() {
      return this;
    }

    bind(fn, self) {
      needFunction(fn, "'bind' on 'AsyncResource'", 1, "Function");
      const bound = runWithStores(this.#stores, bindToStores, undefined, [fn, self]);
      bound.asyncResource = this;
      return bound;
    }

    static bind(fn, type, self) {
      needFunction(fn, "'bind' on 'AsyncResource'", 1, "Function");
      return new AsyncResource(type || fn.name || "bound-anonymous-fn").bind(fn, self);
    }

    get [Symbol.toStringTag]() {
      return "AsyncResource";
    }
  }

  return {
    AsyncLocalStorage,
    AsyncResource,
    asyncWrapProviders: freeze({ __proto__: null, NONE: 0 }),

    // Hooks are accepted and never called, and there are no ids to tell: as in workerd.
    createHook() {
      return {
        __proto__: {
          enable() {
            return this;
          },
          disable() {
            return this;
          },
        },
      };
    },
    executionAsyncId: () => 0,
    triggerAsyncId: () => 0,
    // A new one each time: a shared object would carry what one event writes to it into the next.
    executionAsyncResource: () => ({}),
  };
});
