// Errors as callers see them.
// API: https://developers.cloudflare.com/durable-objects/best-practices/error-handling/

import { core } from "ext:core/mod.js";
import { takeFramed, unpackError } from "ext:facetd_rpc/10_clone.js";

const { captureStackTrace } = Error;
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

const RESET = 1;
const RETRYABLE = 2;
const OVERLOADED = 4;
const REMOTE = 8;

const CLASSES = { __proto__: null, Error, TypeError, RangeError, SyntaxError, EvalError };

function flagged(error, flags) {
  if (typeof error !== "object" || error === null) return error;
  if (flags & REMOTE) error.remote = true;
  if (flags & RESET) error.durableObjectReset = true;
  if (flags & RETRYABLE) error.retryable = true;
  if (flags & OVERLOADED) error.overloaded = true;
  return error;
}

/** An error of the host's. `limit`: `[code, limit, used]`. */
export function hostError(name, message, flags = 0, limit = undefined) {
  const error = name === "DataCloneError"
    ? new DOMException(message, name)
    : new (CLASSES[name] ?? Error)(message);
  if (limit !== undefined) [error.code, error.limit, error.used] = limit;
  return flagged(error, flags);
}

/**
 * A promise that is rejected with what `make` gives. The error is made when somebody can await the promise, so that V8
 * finds their frames and the stack says where the call was made, at no cost to calls that succeed.
 */
export function errorHere(make) {
  const inside = takeFramed();
  let go;
  const soon = new Promise((resolve) => (go = resolve));
  // After the job by which whoever resolves a promise with this one attaches to it.
  Promise.resolve().then(() => go());
  return soon.then(function fail() {
    const error = make();
    if (error instanceof Error && !(error instanceof DOMException)) captureStackTrace(error, fail);
    if (inside !== undefined) for (let i = 0; i < inside.length; i++) captureStackTrace(inside[i], fail);
    throw error;
  });
}

/** The error of a completion: kind 2, made by the host; kind 3, thrown by user code elsewhere. */
export function completionError(kind, ...rest) {
  if (kind === 2) return hostError(...rest);
  if (kind === 3) return flagged(unpackError(rest[0], false), rest[1] | rest[0].flags);
  return hostError("Error", "internal error");
}
