// Facets: child objects with a class, an isolate and a database of their own.
// API: https://developers.cloudflare.com/dynamic-workers/usage/durable-object-facets/

import { core, primordials } from "ext:core/mod.js";
import {
  op_facet_abort,
  op_facet_clone,
  op_facet_delete,
  op_facet_delete_all,
  op_facet_due,
  op_facet_fail,
  op_facet_lookup,
  op_facet_start,
} from "ext:core/ops";
import { currentIo, frameOf, inFrame, keepBusy, requireOwn, tables } from "ext:facetd_rpc/00_context.js";
import { handleOf, kIsClass, kNotPassable, ours } from "ext:facetd_rpc/10_clone.js";
import { makeStub, ServiceStub } from "ext:facetd_rpc/30_stub.js";
import { DurableObjectId } from "ext:facetd_rpc/05_ids.js";
import { hooks } from "ext:facetd_rpc/40_events.js";

const { apply } = Reflect;
// Their methods stay what they are, whatever user code does to Map.
const { SafeMap } = primordials;

const NAME_BYTES_MAX = 256;
const DEPTH_MAX = 4;
/** What the platform calls `ctx.facets` where it is used by somebody else. */
const MANAGER = "FacetManager";

/** The method `deleteAll()` of storage calls. */
export const kDeleteAll = Symbol("deleteAll");

function checkName(name, mayBeEmpty = false) {
  const text = String(name);
  // UTF-16 length is a lower bound of the UTF-8 length, so short names need no encoding.
  if (text.length > NAME_BYTES_MAX || core.encode(text).length > NAME_BYTES_MAX) {
    throw new TypeError("Facet name is too long (max 256 characters).");
  }
  if (text === "" && !mayBeEmpty) throw new TypeError("Facet name cannot be empty");
  return text;
}

function wrongType(method, parameter, kind) {
  return new TypeError(
    `Failed to execute '${method}' on 'DurableObjectFacets': parameter ${parameter} is not of type '${kind}'.`,
  );
}

const BAD_CLASS =
  "Incorrect type for the 'class' field on 'StartupOptions': the provided value is not of type 'DurableObjectClass or LoopbackDurableObjectNamespace or LoopbackColoLocalActorNamespace'.";

/** `{class, id}` as the start callback returned it, checked. */
function startOptions(options) {
  const cls = typeof options === "object" && options !== null ? options.class : undefined;
  const handle = ours(cls, kIsClass) === true ? handleOf(cls) : undefined;
  if (handle === undefined) throw new TypeError(BAD_CLASS);
  const { id } = options;
  if (id === undefined) return [handle, 0, "", null];
  if (id instanceof DurableObjectId) return [handle, 1, id.toString(), id.name ?? null];
  return [handle, 2, String(id), null];
}

// What a parent says whose facet has an alarm due. Numbers `op_facet_due` knows.
const STARTED = 0;
const UNCLAIMED = 1;
const UNWANTED = 2;

/** By the context of the parent: `ctx.facets` itself is user code's to replace. */
const known = new SafeMap();
tables.parents = known;

/** Starts a facet for its alarm. Set by the class, whose private parts it uses. */
let startForAlarm;

export class DurableObjectFacets {
  #io;
  #depth;
  /** The last callback of each name: how to start the facet when its alarm is due. */
  #callbacks = new SafeMap();
  constructor(io, depth) {
    this.#io = io;
    this.#depth = depth;
    known.set(io.context.number, this);
    io.context.atEnd.push(() => known.delete(io.context.number));
  }

  static {
    startForAlarm = (facets, instance, name) => facets.#startForAlarm(instance, name);
  }

  get(name, startCallback) {
    if (arguments.length < 1) throw wrongType("get", 1, "string");
    const text = checkName(name);
    if (typeof startCallback !== "function") throw wrongType("get", 2, "function");
    if (this.#depth + 1 >= DEPTH_MAX) {
      throw new Error(
        "Facet nesting depth limit exceeded. The maximum depth including the root Durable Object is 4.",
      );
    }
    this.#callbacks.set(text, startCallback);
    requireOwn(this.#io.context, MANAGER);
    // Nothing starts before the stub is used; from then on it belongs to one incarnation.
    let handle;
    const stub = makeStub(ServiceStub, () => {
      requireOwn(this.#io.context, "OutgoingFactory");
      return (handle ??= this.#attach(text, startCallback));
    });
    Object.defineProperty(stub, kNotPassable, {
      value: "Stubs pointing to Durable Object facets are not serializable.",
    });
    return stub;
  }

  #attach(name, startCallback) {
    const [handle, start] = op_facet_lookup(this.#io.context.number, name, false);
    if (start !== undefined) {
      const io = currentIo() ?? this.#io;
      const started = inFrame(frameOf({ ...io, context: this.#io.context }), async () => startCallback()).then(
        (options) => op_facet_start(start, ...startOptions(options)),
      ).catch((error) => op_facet_fail(start, error));
      keepBusy(this.#io, started);
    }
    return handle;
  }

  /** `[how, handle?]`. Without a callback of this life the class itself is asked. */
  async #startForAlarm(instance, name) {
    let callback = this.#callbacks.get(name);
    if (callback === undefined) {
      const method = Object.getPrototypeOf(instance)?.facetAlarm;
      if (typeof method !== "function") return [UNCLAIMED];
      callback = () => apply(method, instance, [name]);
    }
    // Before anything is looked up: whoever uses the facet meanwhile starts it in their own way.
    const options = await callback();
    if (options === undefined || options === null) return [UNWANTED];
    const checked = startOptions(options);
    const [handle, start] = op_facet_lookup(this.#io.context.number, name, true);
    if (start !== undefined) op_facet_start(start, ...checked);
    return [STARTED, handle];
  }

  abort(name, reason) {
    const text = checkName(name, true);
    if (arguments.length < 2) throw wrongType("abort", 2, "Value");
    const copy = reason instanceof Error || (typeof reason === "object" && reason !== null)
      ? reason
      : new Error(String(reason));
    requireOwn(this.#io.context, MANAGER);
    op_facet_abort(this.#io.context.number, text, copy);
  }

  delete(name) {
    if (arguments.length < 1) throw wrongType("delete", 1, "string");
    const text = checkName(name);
    requireOwn(this.#io.context, MANAGER);
    this.#callbacks.delete(text);
    op_facet_delete(this.#io.context.number, text);
  }

  clone(src, dst) {
    if (arguments.length < 2) throw wrongType("clone", 2, "string");
    requireOwn(this.#io.context, MANAGER);
    op_facet_clone(this.#io.context.number, checkName(src), checkName(dst));
  }

  [kDeleteAll]() {
    this.#callbacks.clear();
    op_facet_delete_all(this.#io.context.number);
  }
}
Object.defineProperty(DurableObjectFacets.prototype, Symbol.toStringTag, { value: "DurableObjectFacets" });

hooks.facetDue = (event, { instance }, name) => {
  const facets = known.get(event.io.context.number);
  startForAlarm(facets, instance, name).then(([how, handle]) => {
    op_facet_due(event.number, how, handle);
    event.answered = true;
    event.over();
  }).catch((error) => event.fail(error));
};
