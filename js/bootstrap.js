// Builds the global scope of a worker, hands our entry functions to Rust and hides everything else.
// Runs once, while the start-up snapshot is made.

import { core } from "ext:core/mod.js";
import { op_rpc_callbacks } from "ext:core/ops";
import { census, complete } from "ext:facetd_rpc/00_context.js";
import { callables, dataCloneError, describe, packThrown, release, revive } from "ext:facetd_rpc/10_clone.js";
import { reviveStored } from "ext:facetd_rpc/12_stored.js";
import { boot, cancel, construct, deliver, destroy, logError, reportUncaught, tooLong } from "ext:facetd_rpc/40_events.js";
import "ext:facetd_rpc/45_scheduled.js";
import "ext:facetd_rpc/46_tail.js";
import "ext:facetd_durable_object/00_durable_object.js";
import "ext:facetd_loader/00_loader.js";
import { makeConsole } from "ext:facetd_web/10_console.js";
import { makeCrypto } from "ext:facetd_web/20_crypto.js";
import { makeScope, tellOfRejection } from "ext:facetd_web/24_events.js";
import { globals } from "ext:facetd_web/30_globals.js";
import { builtins } from "ext:facetd_js/workers.js";

const { DOMException, QuotaExceededError } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

// Errors that Rust throws by class name.
for (const name of [
  "AbortError",
  "DataCloneError",
  "DataError",
  "InvalidAccessError",
  "InvalidCharacterError",
  "InvalidStateError",
  "NetworkError",
  "NotSupportedError",
  "OperationError",
  "SyntaxError",
  "TimeoutError",
  "TypeMismatchError",
]) {
  core.registerErrorBuilder(`DOMException${name}`, (message) => new DOMException(message, name));
}
core.registerErrorBuilder("DOMExceptionQuotaExceededError", (message) => new QuotaExceededError(message));

const global = globalThis;
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(global, name, { value, writable: true, configurable: true, enumerable: false });
}
for (const name of ["self", "global"]) {
  Object.defineProperty(global, name, { value: global, writable: true, configurable: true, enumerable: false });
}
Object.defineProperty(global, "origin", { value: "null", writable: false, configurable: true, enumerable: true });
makeScope(global);

/**
 * Called by Rust in every isolate that was made from the snapshot, before any user code.
 * What user code could use to reach our internals goes away here.
 */
function start() {
  op_rpc_callbacks({
    deliver,
    complete,
    construct,
    destroy,
    boot,
    describe,
    revive,
    cloneError: dataCloneError,
    packThrown,
    callables,
    reviveStored,
    cancel,
    release,
    tooLong,
    census,
  });
  core.setUnhandledPromiseRejectionHandler((promise, reason) => {
    if (tellOfRejection(global, promise, reason)) logError("Uncaught (in promise)", reason);
    return true;
  });
  core.setReportExceptionCallback(reportUncaught);
  for (const [name, value] of [["console", makeConsole()], ["crypto", makeCrypto()]]) {
    Object.defineProperty(global, name, { value, writable: true, configurable: true, enumerable: false });
  }
  for (const name of ["Deno", "__bootstrap", "bootstrap"]) {
    delete global[name];
  }
  return builtins;
}

// Reached once by Rust, then removed with everything else.
Object.defineProperty(global, "__facetd_start", { value: start, configurable: true });
