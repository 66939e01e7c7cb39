// Headers as the platform has them.
// API: https://developers.cloudflare.com/workers/runtime-apis/headers/

import { core, primordials } from "ext:core/mod.js";
import { override, requireNew, reworded, takeOver } from "ext:facetd_rpc/16_overlay.js";

const { ReflectApply, ReflectConstruct, StringPrototypeToLowerCase, TypeError } = primordials;
const { Headers: Base, guardFromHeaders } = core.loadExtScript("ext:deno_fetch/20_headers.js");

const IMMUTABLE = "Can't modify immutable headers.";
export const HEADER_TEXTS = [
  ["Invalid header name:", "Invalid header name."],
  ["Invalid header value:", "Invalid header value."],
  ["Cannot change header", IMMUTABLE],
  [
    "Invalid header: length must be 2",
    "To initialize a Headers object from a sequence, each inner sequence must have exactly two elements.",
  ],
];

export function Headers(init = undefined) {
  requireNew(new.target, "Headers");
  if (init !== undefined && !isHeadersInit(init)) {
    throw new TypeError(
      "Failed to construct 'Headers': constructor parameter 1 is not of type 'Headers or Sequence or object'.",
    );
  }
  try {
    return ReflectConstruct(Base, [init], new.target);
  } catch (error) {
    throw reworded(error, HEADER_TEXTS);
  }
}
takeOver(Headers, Base);

export function isHeadersInit(init) {
  return typeof init === "object" && init !== null || typeof init === "function";
}

const { append, delete: remove, get, has, set } = Base.prototype;

function call(method, headers, args) {
  try {
    return ReflectApply(method, headers, args);
  } catch (error) {
    throw reworded(error, HEADER_TEXTS);
  }
}

/** As `call`, for a method that changes something: that it may not is said before anything else. */
function change(method, headers, args) {
  if (guardFromHeaders(headers) === "immutable") throw new TypeError(IMMUTABLE);
  return call(method, headers, args);
}

override(Base.prototype, {
  append(_name, _value) {
    return change(append, this, arguments);
  },
  delete(_name) {
    return change(remove, this, arguments);
  },
  get(_name) {
    return call(get, this, arguments);
  },
  getAll(name) {
    if (arguments.length === 0) {
      throw new TypeError("Failed to execute 'getAll' on 'Headers': parameter 1 is not of type 'string'.");
    }
    if (StringPrototypeToLowerCase(`${name}`) !== "set-cookie") {
      throw new TypeError('getAll() can only be used with the header name "Set-Cookie".');
    }
    return this.getSetCookie();
  },
  has(_name) {
    return call(has, this, arguments);
  },
  set(_name, _value) {
    return change(set, this, arguments);
  },
});
