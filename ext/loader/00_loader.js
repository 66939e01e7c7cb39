// The Worker Loader: workers made from source text at run time.
// API: https://developers.cloudflare.com/workers/runtime-apis/bindings/worker-loader/

import { core } from "ext:core/mod.js";
import {
  op_loader_blocked,
  op_loader_class,
  op_loader_entrypoint,
  op_loader_fail,
  op_loader_get,
  op_loader_let_go,
  op_loader_provide,
  op_rpc_dispose,
  op_rpc_outbound,
} from "ext:core/ops";
import { currentContext, keepBusy, requireIo, requireOwn } from "ext:facetd_rpc/00_context.js";
import { handleOf, kHandle, kIsClass, ours } from "ext:facetd_rpc/10_clone.js";
import { hooks } from "ext:facetd_rpc/40_events.js";
import { DurableObjectClass, Fetcher, makeOwnStub, makeStub, ServiceStub } from "ext:facetd_rpc/30_stub.js";
import { makeNamespace } from "ext:facetd_durable_object/00_durable_object.js";

const CODE_BYTES_MAX = 64 << 20;
const kKey = Symbol("key");

const KINDS = { __proto__: null, js: 0, cjs: 1, text: 2, data: 3, json: 4, wasm: 5 };

function wrongField(field, type, wanted) {
  return new TypeError(
    `Incorrect type for the '${field}' field on '${type}': the provided value is not of type '${wanted}'.`,
  );
}

// ---- modules

const BUNDLE_HINT =
  ". If you're trying to load TypeScript, bundle it first with '@cloudflare/worker-bundler' and pass the generated JavaScript modules.";

function sourceModule(name, text) {
  if (name.endsWith(".js")) return [KINDS.js, text];
  if (name.endsWith(".py")) throw new Error("Python Workers are not supported.");
  const hint = /\.(ts|tsx|jsx)$/.test(name) ? BUNDLE_HINT : "";
  throw new TypeError(
    `Module name must end with '.js' or '.py' (or the content must be an object indicating the type explicitly). Got: ${name}${hint}`,
  );
}

/** One entry of the modules map as `[kind, content]`. */
function checkModule(name, value) {
  if (value instanceof WebAssembly.Module) return [KINDS.wasm, value];
  if (typeof value !== "object" || value === null) {
    if (value !== null) return sourceModule(name, String(value));
  }
  const keys = value === null
    ? []
    : ["js", "cjs", "text", "data", "json", "py", "wasm"].filter((key) => value[key] !== undefined);
  if (keys.length !== 1) {
    throw new TypeError(
      `Each module must contain exactly one of 'js', 'cjs', 'text', 'data', 'json', 'py', or 'wasm'. Module '${name}' contained ${keys.length} properties.`,
    );
  }
  const [key] = keys;
  const content = value[key];
  switch (key) {
    case "py":
      throw new TypeError(
        `Module "${name}" is a Python module, but the main module isn't a Python module.`,
      );
    case "json":
      return [KINDS.json, JSON.stringify(content)];
    case "data":
    case "wasm":
      if (content instanceof WebAssembly.Module && key === "wasm") return [KINDS.wasm, content];
      if (content instanceof ArrayBuffer) return [KINDS[key], new Uint8Array(content)];
      if (ArrayBuffer.isView(content)) {
        return [KINDS[key], new Uint8Array(content.buffer, content.byteOffset, content.byteLength)];
      }
      throw wrongField(key, "Module", key === "wasm" ? "Array or WasmModuleObject" : "Array");
    default:
      return [KINDS[key], String(content)];
  }
}

function byteLength(content) {
  if (typeof content === "string") return core.encode(content).length;
  return content.byteLength ?? 0;
}

/** `["./lib/a.js"]` is the same name as `["lib/a.js"]`. */
function normalName(name) {
  return name.startsWith("./") ? name.slice(2) : name;
}

// ---- limits

function limit(value) {
  if (value === undefined || value === null) return -1;
  const number = Number(value);
  if (!Number.isFinite(number)) {
    throw new TypeError("The value cannot be converted because it is not an integer.");
  }
  if (number < 0) {
    throw new TypeError("The value cannot be converted because it is negative and this API expects a positive number.");
  }
  return Math.trunc(number);
}

/** cpuMs, subRequests, memoryMb, wallMs, storageMb; -1 where there is none. */
function limitsOf(limits, type) {
  if (limits === undefined || limits === null) return [-1, -1, -1, -1, -1];
  if (typeof limits !== "object") throw wrongField("limits", type, "ResourceLimits");
  return ["cpuMs", "subRequests", "memoryMb", "wallMs", "storageMb"].map((key) => limit(limits[key]));
}

// ---- code

/** A `WorkerCode` as the arguments of `op_loader_provide`, after the slot. */
function checkCode(code) {
  if (typeof code !== "object" || code === null) {
    throw new TypeError("getCode() must return a WorkerCode object.");
  }
  const { compatibilityDate, compatibilityFlags, allowExperimental, mainModule, modules, env, globalOutbound } = code;
  if (typeof modules !== "object" || modules === null) throw wrongField("modules", "WorkerCode", "object");
  if (env !== undefined && (typeof env !== "object" || env === null)) throw wrongField("env", "WorkerCode", "Object");
  if (compatibilityFlags !== undefined && !Array.isArray(compatibilityFlags)) {
    throw wrongField("compatibilityFlags", "WorkerCode", "Array");
  }
  const tails = tailHandles(code.tails);
  const flags = compatibilityFlags === undefined ? [] : Array.from(compatibilityFlags, String);
  const limits = limitsOf(code.limits, "WorkerCode");
  const outbound = outboundHandle(globalOutbound);
  if (allowExperimental === true) {
    throw new Error("'allowExperimental' is only allowed when the calling worker has the 'experimental' compat flag set.");
  }
  if (code.streamingTails !== undefined) {
    throw new Error("Streaming tail workers are experimental. You must pass the option 'allowExperimental: true' to the worker loader to use them");
  }
  const names = Object.keys(modules);
  if (names.length === 0) throw new TypeError("Dynamic Worker code must contain at least one module.");
  const flat = [];
  let total = 0;
  for (const name of names) {
    const [kind, content] = checkModule(name, modules[name]);
    total += byteLength(content);
    flat.push(normalName(name), kind, content);
  }
  if (total > CODE_BYTES_MAX) {
    throw new Error(
      `Dynamic Worker code size (${total} bytes) exceeds the maximum allowed size of ${CODE_BYTES_MAX} bytes.`,
    );
  }
  const date = compatibilityDate === undefined ? null : String(compatibilityDate);
  return [date, flags, normalName(String(mainModule)), flat, env, outbound, limits, tails];
}

function tailHandles(tails) {
  if (tails === undefined) return [];
  if (!Array.isArray(tails)) throw wrongField("tails", "WorkerCode", "Array");
  return tails.map((tail, i) => {
    const handle = handleOf(tail);
    if (handle === undefined || ours(tail, kIsClass) === true) {
      throw new TypeError(`Incorrect type for array element ${i}: the provided value is not of type 'Fetcher'.`);
    }
    return handle;
  });
}

function outboundHandle(outbound) {
  if (outbound === undefined) return op_rpc_outbound();
  if (outbound === null) return op_loader_blocked();
  const handle = handleOf(outbound);
  if (handle === undefined || ours(outbound, kIsClass) === true) {
    throw wrongField("globalOutbound", "WorkerCode", "Fetcher");
  }
  return handle;
}

// ---- the API

/** Handles of the entry points taken from a worker stub. */
const kTargets = Symbol("targets");
/** What the platform calls a WorkerStub where it is used by somebody else. */
const CHANNEL = "WorkerStubChannel";

class WorkerStub {
  #handle;
  #home = currentContext();
  constructor(key, handle) {
    if (key !== kKey) throw new TypeError("Illegal constructor");
    this.#handle = handle;
    Object.defineProperty(this, kTargets, { value: [] });
  }
  getEntrypoint(name, options) {
    requireOwn(this.#home, CHANNEL);
    checkOptions("getEntrypoint", options);
    const limits = limitsOf(options?.limits, "EntrypointOptions");
    const target = op_loader_entrypoint(this.#handle, entryName(name), propsOf(options), limits);
    this[kTargets].push(target);
    return makeOwnStub(ServiceStub, target, this.#home, "SubrequestChannel");
  }
  getDurableObjectClass(name, options) {
    requireOwn(this.#home, CHANNEL);
    checkOptions("getDurableObjectClass", options);
    const limits = limitsOf(options?.limits, "EntrypointOptions");
    return new DurableObjectClass(
      op_loader_class(this.#handle, entryName(name), propsOf(options), limits),
      kHandle,
    );
  }
}

function checkOptions(method, options) {
  if (options !== undefined && options !== null && typeof options !== "object") {
    throw new TypeError(
      `Failed to execute '${method}' on 'WorkerStub': parameter 2 is not of type 'EntrypointOptions'.`,
    );
  }
}

function entryName(name) {
  return name === undefined || name === null || name === "default" ? null : String(name);
}

function propsOf(options) {
  const props = options?.props;
  if (props === undefined) return null;
  if (typeof props !== "object" || props === null) throw wrongField("props", "EntrypointOptions", "Object");
  return props;
}

/** A stub of a worker nobody can ask for again: it ends with the request that made it. */
function anonymous(handle) {
  const stub = new WorkerStub(kKey, handle);
  const { context } = requireIo();
  if (!context.isObject) {
    context.atEnd.push(() => {
      op_loader_let_go(handle);
      const targets = stub[kTargets];
      for (let i = 0; i < targets.length; i++) op_rpc_dispose(targets[i], context.number);
    });
  }
  return stub;
}

class WorkerLoader {
  #handle;
  constructor(key, handle) {
    if (key !== kKey) throw new TypeError("Illegal constructor");
    this.#handle = handle;
  }
  get(id, getCode) {
    if (arguments.length < 1) {
      throw new TypeError("Failed to execute 'get' on 'WorkerLoader': parameter 1 is not of type 'string'.");
    }
    if (typeof getCode !== "function") {
      throw new TypeError("Failed to execute 'get' on 'WorkerLoader': parameter 2 is not of type 'function'.");
    }
    const name = id === undefined || id === null ? null : String(id);
    const [worker, slot] = op_loader_get(this.#handle, name);
    if (slot !== undefined) {
      const io = requireIo();
      const loaded = Promise.resolve().then(() => getCode()).then((code) => {
        op_loader_provide(slot, ...checkCode(code));
      }).catch((error) => op_loader_fail(slot, error));
      keepBusy(io, loaded);
    }
    return name === null ? anonymous(worker) : new WorkerStub(kKey, worker);
  }
  load(code) {
    if (typeof code !== "object" || code === null) {
      throw new TypeError("Failed to execute 'load' on 'WorkerLoader': parameter 1 is not of type 'WorkerCode'.");
    }
    requireIo();
    const args = checkCode(code);
    const [worker, slot] = op_loader_get(this.#handle, null);
    op_loader_provide(slot, ...args);
    return anonymous(worker);
  }
}
for (const Class of [WorkerLoader, WorkerStub]) {
  Object.defineProperty(Class.prototype, Symbol.toStringTag, { value: Class.name });
}

/** Makes what `env` has under a name. `kind`: see `Binding` in the isolate crate. */
hooks.makeBinding = (kind, value) => {
  switch (kind) {
    case 0:
      return JSON.parse(value);
    case 1:
      return makeNamespace(value);
    case 2:
      return makeStub(Fetcher, value);
    case 3:
      return new DurableObjectClass(value, kHandle);
    case 4:
      return new WorkerLoader(kKey, value);
  }
  return undefined;
};
