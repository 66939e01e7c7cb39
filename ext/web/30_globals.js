// The global scope of a worker.
// API: https://developers.cloudflare.com/workers/runtime-apis/web-standards/

import { core } from "ext:core/mod.js";
import { op_rpc_outbound } from "ext:core/ops";
import { requireIo } from "ext:facetd_rpc/00_context.js";
import { types } from "ext:facetd_rpc/10_clone.js";
import { hooks } from "ext:facetd_rpc/40_events.js";
import { fetchThrough, Headers, Request } from "ext:facetd_rpc/20_fetch.js";
import { WebSocket, WebSocketPair } from "ext:facetd_websocket/00_websocket.js";
import { Response } from "ext:facetd_websocket/10_response.js";
import { Crypto, CryptoKey, SubtleCrypto } from "ext:facetd_web/20_crypto.js";
import { atob, btoa, structuredClone, TextDecoder, TextDecoderStream, URL } from "ext:facetd_web/22_encoding_and_url.js";
import { installClock } from "ext:facetd_web/05_clock.js";
import { reportError, ServiceWorkerGlobalScope, WorkerGlobalScope } from "ext:facetd_web/24_events.js";
import { CompressionStream, DecompressionStream, FixedLengthStream, IdentityTransformStream } from "ext:facetd_web/26_streams.js";
import * as timers from "ext:facetd_web/00_timers.js";

const { URLSearchParams } = core.loadExtScript("ext:deno_web/00_url.js");
const { URLPattern } = core.loadExtScript("ext:deno_web/01_urlpattern.js");
const events = core.loadExtScript("ext:deno_web/02_event.js");
const { AbortController, AbortSignal } = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const streams = core.loadExtScript("ext:deno_web/06_streams.js");
const encoding = core.loadExtScript("ext:deno_web/08_text_encoding.js");
const { Blob, File } = core.loadExtScript("ext:deno_web/09_file.js");
const perf = core.loadExtScript("ext:deno_web/15_performance.js");
const { DOMException, QuotaExceededError } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { FormData } = core.loadExtScript("ext:deno_fetch/21_formdata.js");

async function fetch(input, init) {
  const io = requireIo();
  return fetchThrough(io, () => op_rpc_outbound(), input, init, "ServiceWorkerGlobalScope");
}

/** What `make` passes to show that it is not user code that constructs. */
const kOurs = Symbol("ours");

function requireOurs(key) {
  if (key !== kOurs) throw new TypeError("Illegal constructor");
}

class Navigator {
  constructor(key) {
    requireOurs(key);
  }
  get userAgent() {
    return "Cloudflare-Workers";
  }
  get language() {
    return "en";
  }
  get hardwareConcurrency() {
    return 1;
  }
  get platform() {
    return "linux";
  }
  sendBeacon() {
    return false;
  }
}

installClock();

/** What Cache API calls answer where no cache is configured: nothing is ever found. */
class Cache {
  constructor(key) {
    requireOurs(key);
  }
  async match() {
    return undefined;
  }
  async put() {}
  async delete() {
    return false;
  }
}
class CacheStorage {
  constructor(key) {
    requireOurs(key);
    this.default = new Cache(kOurs);
  }
  async open() {
    return new Cache(kOurs);
  }
}

/** Names without use: the platform has them for service workers, and none of them can be constructed. */
const NAMES_ONLY = ["Body", "ExtendableEvent", "FetchEvent", "ScheduledEvent", "TailEvent", "TraceEvent"];

/** Everything a worker finds in its global scope. */
export const globals = {
  fetch,
  Request,
  Response,
  Headers,
  WebSocket,
  WebSocketPair,
  FormData,
  Blob,
  File,
  ReadableStream: streams.ReadableStream,
  ReadableStreamDefaultReader: streams.ReadableStreamDefaultReader,
  ReadableStreamBYOBReader: streams.ReadableStreamBYOBReader,
  ReadableStreamBYOBRequest: streams.ReadableStreamBYOBRequest,
  ReadableStreamDefaultController: streams.ReadableStreamDefaultController,
  ReadableByteStreamController: streams.ReadableByteStreamController,
  WritableStream: streams.WritableStream,
  WritableStreamDefaultWriter: streams.WritableStreamDefaultWriter,
  WritableStreamDefaultController: streams.WritableStreamDefaultController,
  TransformStream: streams.TransformStream,
  TransformStreamDefaultController: streams.TransformStreamDefaultController,
  ByteLengthQueuingStrategy: streams.ByteLengthQueuingStrategy,
  CountQueuingStrategy: streams.CountQueuingStrategy,
  IdentityTransformStream,
  FixedLengthStream,
  CompressionStream,
  DecompressionStream,
  TextEncoderStream: encoding.TextEncoderStream,
  TextDecoderStream,
  TextEncoder: encoding.TextEncoder,
  TextDecoder,
  atob,
  btoa,
  URL,
  URLSearchParams,
  URLPattern,
  Crypto,
  CryptoKey,
  SubtleCrypto,
  setTimeout: timers.setTimeout,
  clearTimeout: timers.clearTimeout,
  setInterval: timers.setInterval,
  clearInterval: timers.clearInterval,
  setImmediate: timers.setImmediate,
  clearImmediate: timers.clearImmediate,
  scheduler: timers.scheduler,
  structuredClone,
  reportError,
  Event: events.Event,
  EventTarget: events.EventTarget,
  CustomEvent: events.CustomEvent,
  ErrorEvent: events.ErrorEvent,
  CloseEvent: events.CloseEvent,
  MessageEvent: events.MessageEvent,
  PromiseRejectionEvent: events.PromiseRejectionEvent,
  AbortController,
  AbortSignal,
  DOMException,
  QuotaExceededError,
  performance: perf.performance,
  Performance: perf.Performance,
  PerformanceEntry: perf.PerformanceEntry,
  PerformanceMark: perf.PerformanceMark,
  PerformanceMeasure: perf.PerformanceMeasure,
  PerformanceObserver: perf.PerformanceObserver,
  PerformanceObserverEntryList: perf.PerformanceObserverEntryList,
  ServiceWorkerGlobalScope,
  WorkerGlobalScope,
  Navigator,
  navigator: new Navigator(kOurs),
  Cache,
  CacheStorage,
  caches: new CacheStorage(kOurs),
  Cloudflare: { compatibilityFlags: {} },
};
types.AbortSignal = AbortSignal;
for (const value of Object.values(globals)) {
  if (typeof value === "function" && value.prototype !== undefined) types.platform.add(value);
}

/** What depends on compatibility flags. Called when the worker is known, before its code runs. */
hooks.applyFlags = (flags) => {
  const inForce = { __proto__: null };
  for (const flag of flags) inForce[flag] = true;
  globalThis.Cloudflare.compatibilityFlags = Object.freeze(inForce);
  if (!flags.has("global_navigator")) delete globalThis.navigator;
  if (!flags.has("nodejs_compat")) {
    for (const name of ["global", "setImmediate", "clearImmediate"]) delete globalThis[name];
    timers.plainNumbers();
  }
};

for (const name of NAMES_ONLY) {
  globals[name] = { [name]: class {
    constructor() {
      requireOurs();
    }
  } }[name];
}
