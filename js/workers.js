// The modules that every worker can import without bringing them.
// API: https://developers.cloudflare.com/workers/runtime-apis/

import { core } from "ext:core/mod.js";
import { op_isolate_abort } from "ext:core/ops";
import { DurableObject, waitUntil, worker, WorkerEntrypoint, WorkflowEntrypoint } from "ext:facetd_rpc/40_events.js";
import { RpcPromise, RpcProperty, RpcStub, RpcTarget, ServiceStub } from "ext:facetd_rpc/30_stub.js";
import { tracing } from "ext:facetd_rpc/35_tracing.js";

const { getAsyncContext, setAsyncContext } = core;

const kEnv = Symbol("env");
const kExports = Symbol("exports");

function withValues(method, values, run) {
  if (typeof run !== "function") {
    throw new TypeError(
      `Failed to execute '${method}' on 'EnvModule': parameter ${Reflect.ownKeys(values).length + 1} is not of type 'function'.`,
    );
  }
  const before = getAsyncContext();
  setAsyncContext({ __proto__: null, ...before, ...values });
  try {
    return run();
  } finally {
    setAsyncContext(before);
  }
}

/** An object that stands for the current `env` (or `exports`), whichever `withEnv` says it is. */
function current(key, base) {
  const target = () => {
    const given = getAsyncContext()?.[key];
    return (typeof given === "object" && given !== null) || typeof given === "function" ? given : base();
  };
  return new Proxy({}, {
    get: (_t, name) => Reflect.get(target(), name),
    set: (_t, name, value) => Reflect.set(target(), name, value),
    has: (_t, name) => Reflect.has(target(), name),
    deleteProperty: (_t, name) => Reflect.deleteProperty(target(), name),
    ownKeys: () => Reflect.ownKeys(target()),
    getOwnPropertyDescriptor(_t, name) {
      const found = Reflect.getOwnPropertyDescriptor(target(), name);
      if (found !== undefined) found.configurable = true;
      return found;
    },
  });
}

function abortIsolate(reason) {
  op_isolate_abort(reason === undefined ? new Error("The isolate was aborted.") : reason);
}

const workers = {
  DurableObject,
  WorkerEntrypoint,
  WorkflowEntrypoint,
  RpcTarget,
  RpcStub,
  RpcPromise,
  RpcProperty,
  ServiceStub,
  env: current(kEnv, () => worker.env),
  exports: current(kExports, () => worker.ctxExports ?? {}),
  waitUntil,
  withEnv: (env, run) => withValues("withEnv", { [kEnv]: env }, run),
  withExports: (exports, run) => withValues("withExports", { [kExports]: exports }, run),
  withEnvAndExports: (env, exports, run) => withValues("withEnvAndExports", { [kEnv]: env, [kExports]: exports }, run),
  abortIsolate,
  cache: {},
  tracing,
  restore: Symbol("cloudflare:workers:restore"),
};

// TODO(sockets): importable, because libraries import it before they know whether they need it.
const sockets = {
  connect(_address, _options) {
    throw new Error("TCP sockets are not supported yet.");
  },
};

/** Runs `make` on the first call. */
function once(make) {
  let made;
  return () => (made ??= make());
}

const inspect = once(() => core.loadExtScript("ext:facetd_js/node/inspect.js"));
const assert = once(() => {
  const parts = inspect();
  const equality = core.loadExtScript("ext:facetd_js/node/deep_equal.js")(parts);
  return core.loadExtScript("ext:facetd_js/node/assert.js")({ ...parts, ...equality });
});
const asyncHooks = once(() =>
  core.loadExtScript("ext:facetd_js/node/async_hooks.js")({ getAsyncContext, setAsyncContext })
);

/** Names to functions that give `[default export, named exports]`. */
export const builtins = {
  __proto__: null,
  "cloudflare:sockets": () => [undefined, sockets],
  "cloudflare:workers": () => [undefined, workers],
  "node:assert": () => [assert(), assert()],
  "node:assert/strict": () => [assert().strict, assert().strict],
  "node:async_hooks": () => [asyncHooks(), asyncHooks()],
};
