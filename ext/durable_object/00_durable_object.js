// Durable Objects: ids, namespaces and `ctx`.
// API: https://developers.cloudflare.com/durable-objects/api/

import {
  op_alarm_abandon,
  op_gate_depth,
  op_gate_leave,
  op_gate_limit,
  op_namespace_id,
  op_namespace_object,
  op_object_reset,
} from "ext:core/ops";
import { currentIo, forget, derivedFrame, inFrame, keepBusy, requireIo, whenDone } from "ext:facetd_rpc/00_context.js";
import { DurableObjectId, makeId } from "ext:facetd_rpc/05_ids.js";
import { types } from "ext:facetd_rpc/10_clone.js";
import { hooks, logError, requirePromise, worker } from "ext:facetd_rpc/40_events.js";
import { makeOwnStub, ObjectStub } from "ext:facetd_rpc/30_stub.js";
import { DurableObjectStorage, enterSection } from "ext:facetd_storage/00_storage.js";
import "ext:facetd_storage/10_alarm.js";
import { DurableObjectFacets, kDeleteAll } from "ext:facetd_facets/00_facets.js";

const NESTING_MAX = 64;
const BLOCK_MAX_MS = 30_000;

const kKey = Symbol("key");

// ---- namespaces

const BY_NAME = 0;
const UNIQUE = 1;
const BY_STRING = 2;
const JURISDICTION = "Jurisdiction restrictions are not implemented in workerd.";

function wantString(method, value, args) {
  if (args.length < 1) {
    throw new TypeError(
      `Failed to execute '${method}' on 'DurableObjectNamespace': parameter 1 is not of type 'string'.`,
    );
  }
  return String(value);
}

/** `options`, which may be left out. */
function wantOptions(method, at, type, options) {
  if (options === undefined || options === null) return;
  if (typeof options !== "object" && typeof options !== "function") {
    throw new TypeError(`Failed to execute '${method}' on 'DurableObjectNamespace': parameter ${at} is not of type '${type}'.`);
  }
}

function checkOptions(method, options) {
  wantOptions(method, 2, "GetDurableObjectOptions", options);
  const mode = options?.routingMode;
  if (mode !== undefined && mode !== "primary-only") throw new RangeError(`unknown routingMode: ${mode}`);
}

class DurableObjectNamespace {
  #handle;
  constructor(key, handle) {
    if (key !== kKey) throw new TypeError("Illegal constructor");
    this.#handle = handle;
  }
  newUniqueId(options) {
    wantOptions("newUniqueId", 1, "NewUniqueIdOptions", options);
    if (options?.jurisdiction !== undefined && options.jurisdiction !== null) throw new Error(JURISDICTION);
    return makeId(op_namespace_id(this.#handle, UNIQUE, ""));
  }
  idFromName(name) {
    const text = wantString("idFromName", name, arguments);
    return makeId(op_namespace_id(this.#handle, BY_NAME, text), text);
  }
  idFromString(id) {
    return makeId(op_namespace_id(this.#handle, BY_STRING, wantString("idFromString", id, arguments)));
  }
  get(id, options) {
    if (!(id instanceof DurableObjectId)) {
      throw new TypeError(
        "Failed to execute 'get' on 'DurableObjectNamespace': parameter 1 is not of type 'DurableObjectId'.",
      );
    }
    checkOptions("get", options);
    return objectStub(this.#handle, id);
  }
  getByName(name, options) {
    const text = wantString("getByName", name, arguments);
    checkOptions("getByName", options);
    return objectStub(this.#handle, makeId(op_namespace_id(this.#handle, BY_NAME, text), text));
  }
  jurisdiction(jurisdiction) {
    if (jurisdiction !== undefined && jurisdiction !== null) throw new Error(JURISDICTION);
    return new DurableObjectNamespace(kKey, this.#handle);
  }
}
Object.defineProperty(DurableObjectNamespace.prototype, Symbol.toStringTag, {
  value: "DurableObjectNamespace",
});

function objectStub(namespace, id) {
  const { context } = requireIo();
  const handle = op_namespace_object(namespace, id.toString(), id.name ?? null);
  const stub = makeOwnStub(ObjectStub, handle, context, "OutgoingFactory");
  stub.id = id;
  stub.name = id.name;
  return stub;
}

export function makeNamespace(handle) {
  return new DurableObjectNamespace(kKey, handle);
}

// ---- ctx

class DurableObjectState {
  #io;
  constructor(io, id, props, depth) {
    this.#io = io;
    this.id = typeof id === "string" ? id : makeId(...id);
    this.props = props;
    this.exports = worker.ctxExports;
    this.facets = new DurableObjectFacets(io, depth);
    this.storage = new DurableObjectStorage(io, () => this.facets[kDeleteAll]());
    this.container = undefined;
  }

  waitUntil(promise) {
    requirePromise(promise, "DurableObjectState");
    const held = Promise.resolve(promise);
    held.catch((error) => logError("waitUntil", error));
    keepBusy(this.#io, held);
  }

  blockConcurrencyWhile(callback) {
    if (typeof callback !== "function") {
      throw new TypeError("Failed to execute 'blockConcurrencyWhile' on 'DurableObjectState': parameter 1 is not of type 'function'.");
    }
    const outer = currentIo() ?? this.#io;
    const { context } = this.#io;
    if (op_gate_depth(context.number) >= NESTING_MAX) {
      return this.#reset(new Error("blockConcurrencyWhile() calls are nested too deeply."));
    }
    // Locked from here on; the callback itself runs in a microtask, as on the platform.
    return enterSection({ context, event: outer.event, section: outer.section }).then((section) => {
      const io = { context, event: outer.event, section };
      return this.#block(io, callback);
    });
  }

  #block(io, callback) {
    return new Promise((resolve) => {
      const timer = op_gate_limit(io.context.number, io.event, io.section, BLOCK_MAX_MS);
      whenDone(io, timer, () => {
        this.#reset(
          new Error(
            "A call to blockConcurrencyWhile() in a Durable Object waited for too long. The call was canceled and the Durable Object was reset.",
          ),
          true,
        );
      });
      inFrame(derivedFrame(io), async () => callback()).then(
        (value) => {
          forget(io, timer);
          op_gate_leave(io.context.number, io.section);
          resolve(value);
        },
        (error) => {
          forget(io, timer);
          this.#reset(error);
        },
      );
    });
  }

  /** The promise never settles: nothing of this instance runs on. */
  #reset(error, overloaded = false) {
    op_object_reset(this.#io.context.number, error, overloaded, false);
    return new Promise(() => {});
  }

  abort(reason, options) {
    if (options !== undefined && options !== null && typeof options !== "object") {
      throw new TypeError("Failed to execute 'abort' on 'DurableObjectState': parameter 2 is not of type 'AbortOptions'.");
    }
    const retryAlarm = options?.retryAlarm;
    const error = new Error(
      reason === undefined ? "Application called abort() to reset Durable Object."
        : reason instanceof Error && reason.name === "Error" ? reason.message : String(reason),
    );
    if (retryAlarm !== undefined && !retryAlarm) op_alarm_abandon(this.#io.context.number);
    op_object_reset(this.#io.context.number, error, false, true);
  }
}


Object.defineProperty(DurableObjectState.prototype, Symbol.toStringTag, { value: "DurableObjectState" });

for (const Class of [DurableObjectId, DurableObjectNamespace, DurableObjectState, DurableObjectStorage, DurableObjectFacets]) {
  types.platform.add(Class);
}

hooks.makeState = (io, [id, depth], props) => new DurableObjectState(io, id, props, depth);
