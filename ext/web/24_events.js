// Events and abort signals as the platform has them, and the global scope as an event target.
// API: https://developers.cloudflare.com/workers/runtime-apis/web-standards/#eventtarget-and-event

import { core, primordials } from "ext:core/mod.js";
import { override } from "ext:facetd_rpc/16_overlay.js";
import { reportUncaught, uncaughtMessage } from "ext:facetd_rpc/40_events.js";

const { ObjectDefineProperty, ObjectSetPrototypeOf, ReflectApply, SymbolToStringTag, TypeError } = primordials;
const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { EventTarget, ErrorEvent, PromiseRejectionEvent, saveGlobalThisReference, setEventTargetData } = core.loadExtScript(
  "ext:deno_web/02_event.js",
);
const { AbortController, AbortSignal } = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

// ---- abort signals

function reasonOf(reason) {
  return reason === undefined ? new DOMException("The operation was aborted", "AbortError") : reason;
}

const { abort } = AbortController.prototype;
override(AbortController.prototype, {
  abort(reason = undefined) {
    return ReflectApply(abort, this, [reasonOf(reason)]);
  },
});
const { abort: aborted } = AbortSignal;
override(AbortSignal, {
  abort(reason = undefined) {
    return ReflectApply(aborted, this, [reasonOf(reason)]);
  },
});

// ---- listeners

function checkListener(args) {
  const callback = args[1];
  if (callback === undefined || callback === null ? args.length >= 2 : typeof callback === "function") return;
  if (typeof callback !== "object" || callback === null) {
    throw new TypeError(
      "Failed to execute 'addEventListener' on 'EventTarget': parameter 2 is not of type 'function or HandlerObject'.",
    );
  }
  if (typeof callback.handleEvent !== "function") {
    throw new TypeError(
      "Incorrect type for the 'handleEvent' field on 'HandlerObject': the provided value is not of type 'function'.",
    );
  }
}

/** Taken before user code can replace it. */
const later = globalThis.queueMicrotask;

/** What the methods are called on when they are called on nothing. Set by `makeScope`. */
let scope;

const { addEventListener, dispatchEvent, removeEventListener } = EventTarget.prototype;
override(EventTarget.prototype, {
  addEventListener(_type, callback, _options = undefined) {
    checkListener(arguments);
    // Deno's takes `undefined` for a listener.
    if (callback === undefined) return;
    ReflectApply(addEventListener, this ?? scope, arguments);
  },
  removeEventListener(_type, _callback, _options = undefined) {
    ReflectApply(removeEventListener, this ?? scope, arguments);
  },
  dispatchEvent(_event) {
    return ReflectApply(dispatchEvent, this ?? scope, arguments);
  },
});

export function reportError(_error) {
  if (arguments.length === 0) {
    throw new TypeError("Failed to execute 'reportError' on 'ServiceWorkerGlobalScope': parameter 1 is not of type 'Value'.");
  }
  const error = arguments[0];
  reportUncaught(error);
  tellScope(new ErrorEvent("error", { error, message: uncaughtMessage(error), cancelable: true }));
}

/** A global listener for errors runs: what it throws is only logged. */
let reporting = false;

/** Tells the global listeners of an error. */
function tellScope(event) {
  if (reporting) return;
  reporting = true;
  try {
    ReflectApply(dispatchEvent, scope, [event]);
  } finally {
    reporting = false;
  }
}

// ---- the global scope

export class WorkerGlobalScope extends EventTarget {
  constructor() {
    throw new TypeError("Illegal constructor");
  }
}
export class ServiceWorkerGlobalScope extends WorkerGlobalScope {}
ObjectDefineProperty(ServiceWorkerGlobalScope.prototype, SymbolToStringTag, {
  __proto__: null,
  value: "ServiceWorkerGlobalScope",
  writable: true,
  enumerable: false,
  configurable: true,
});

/**
 * Makes `global` an instance of ServiceWorkerGlobalScope.
 *
 * What a listener throws is told to a stand-in for the global object. deno_core's own way, which is taken
 * for what nobody handles, would stop the running turn; so it is always handled, and never nested.
 */
export function makeScope(global) {
  scope = global;
  ObjectSetPrototypeOf(global, ServiceWorkerGlobalScope.prototype);
  ObjectDefineProperty(global, webidl.brand, { __proto__: null, value: webidl.brand, configurable: true });
  saveGlobalThisReference({
    __proto__: null,
    dispatchEvent(event) {
      reportUncaught(event.error);
      // Later: deno_core counts reports within reports, and takes its own way for those too.
      if (!reporting) later(() => tellScope(event));
      return false;
    },
  });
  setEventTargetData(global);
}

/** Tells listeners of a rejection that nobody handled. False: one of them says that it is dealt with. */
export function tellOfRejection(global, promise, reason) {
  const event = new PromiseRejectionEvent("unhandledrejection", { promise, reason, cancelable: true });
  return ReflectApply(EventTarget.prototype.dispatchEvent, global, [event]);
}
