// Request as the platform has it.
// API: https://developers.cloudflare.com/workers/runtime-apis/request/

import { core, primordials } from "ext:core/mod.js";
import { override, readOnly, requireNew, reworded, takeOver } from "ext:facetd_rpc/16_overlay.js";
import { HEADER_TEXTS, isHeadersInit } from "ext:facetd_rpc/17_headers.js";
import { requireContext } from "ext:facetd_rpc/00_context.js";
import { giveBodyTo, homeOfBody, requireOwnBody, shareBody } from "ext:facetd_rpc/17_ownership.js";
import { checkStream, CLONE_TEXTS, isReadableStream, knownLengths, overrideReaders } from "ext:facetd_rpc/18_body.js";

const {
  JSONParse,
  JSONStringify,
  ObjectPrototypeIsPrototypeOf,
  ReflectApply,
  ReflectConstruct,
  SafeSet,
  SetPrototypeHas,
  StringPrototypeToUpperCase,
  TypeError,
} = primordials;
const { AbortSignalPrototype } = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const { Request: Base, RequestPrototype, toInnerRequest } = core.loadExtScript("ext:deno_fetch/23_request.js");

const METHODS = new SafeSet(
  ("ACL BAN CHECKOUT COPY DELETE GET HEAD LOCK MERGE MKACTIVITY MKCOL MOVE MSEARCH NOTIFY OPTIONS PATCH POST " +
    "PROPFIND PROPPATCH PURGE PUT QUERY REPORT SEARCH SUBSCRIBE TRACE UNLOCK UNSUBSCRIBE").split(" "),
);
const CACHE_MODES = new SafeSet(["no-store", "no-cache"]);
const REDIRECTS = new SafeSet(["follow", "manual"]);
const BAD_REDIRECT =
  'Invalid redirect value, must be one of "follow" or "manual" ("error" won\'t be implemented since it does not make sense at the edge; use "manual" and check the response status code).';

function wrongField(name, type) {
  return new TypeError(
    `Incorrect type for the '${name}' field on 'RequestInitializerDict': the provided value is not of type '${type}'.`,
  );
}

/** The fields of `init` that mean something here, checked. `where` begins the text about a wrong `init`. */
function readInit(init, where) {
  const given = { __proto__: null };
  if (init === undefined || init === null) return given;
  if (typeof init !== "object" && typeof init !== "function") {
    throw new TypeError(`${where} parameter 2 is not of type 'RequestInitializerDict or Request'.`);
  }
  const { method, headers, body, redirect, signal, cf, cache, integrity } = init;
  if (method !== undefined) {
    given.method = StringPrototypeToUpperCase(`${method}`);
    if (!SetPrototypeHas(METHODS, given.method)) throw new TypeError(`Invalid HTTP method string: ${method}`);
  }
  if (headers !== undefined) {
    if (!isHeadersInit(headers)) throw wrongField("headers", "Headers or Sequence or object");
    given.headers = headers;
  }
  if (body !== undefined && body !== null) {
    if (isReadableStream(body)) checkStream(body);
    given.body = body;
  }
  if (redirect !== undefined) {
    given.redirect = `${redirect}`;
    if (!SetPrototypeHas(REDIRECTS, given.redirect)) throw new TypeError(BAD_REDIRECT);
  }
  if (signal !== undefined) {
    if (signal !== null && !ObjectPrototypeIsPrototypeOf(AbortSignalPrototype, signal)) {
      throw wrongField("signal", "AbortSignal");
    }
    given.signal = signal;
  }
  if (cf !== undefined) {
    if (typeof cf !== "object" || cf === null) throw wrongField("cf", "Object");
    given.cf = JSONStringify(cf);
  }
  if (cache !== undefined) {
    given.cache = `${cache}`;
    if (!SetPrototypeHas(CACHE_MODES, given.cache)) throw new TypeError(`Unsupported cache mode: ${given.cache}`);
  }
  if (integrity !== undefined && `${integrity}` !== "") {
    throw new TypeError(
      "Subrequest integrity checking is not implemented. The integrity option must be either undefined or an empty string.",
    );
  }
  return given;
}

/** The inner request of a Request; undefined for anything else. */
function innerOf(value) {
  return ObjectPrototypeIsPrototypeOf(RequestPrototype, value) ? toInnerRequest(value) : undefined;
}

/**
 * What `new Request(input, init)` makes. `where` begins the text about a wrong argument.
 * @returns {Request}
 */
export function makeRequest(input, init, where, newTarget = Request) {
  const from = innerOf(input);
  const given = readInit(init, where);
  if (given.body === undefined && from?.body?.unusable()) {
    throw new TypeError("Cannot reconstruct a Request with a used body.");
  }
  // Whose the body is that is taken over from `input`.
  const home = given.body === undefined && from?.body ? homeOfBody(input, from.body) : undefined;
  if (home !== undefined) requireOwnBody(input, from.body);
  const method = given.method ?? from?.method ?? "GET";
  if ((method === "GET" || method === "HEAD") && (given.body ?? from?.body ?? null) !== null) {
    throw new TypeError("Request with a GET or HEAD method cannot have a body.");
  }
  const url = from === undefined ? `${input}` : input;
  let request;
  try {
    request = ReflectConstruct(Base, [url, given], newTarget);
  } catch (error) {
    throw reworded(error, [["Invalid URL", `Invalid URL: ${url}`], ...HEADER_TEXTS]);
  }
  const inner = toInnerRequest(request);
  inner.cfText = given.cf ?? (from === undefined ? undefined : cfText(from));
  // What user code gave as a stream can be sent once, even if its length is known.
  if (isReadableStream(given.body)) inner.body.length = knownLengths.get(given.body) ?? null;
  else if (given.body !== undefined) giveBodyTo(request, inner.body, requireContext());
  else if (home !== undefined) giveBodyTo(request, inner.body, home);
  return request;
}

export function Request(input, init = undefined) {
  requireNew(new.target, "Request");
  const where = "Failed to construct 'Request': constructor";
  if (arguments.length === 0) throw new TypeError(`${where} parameter 1 is not of type 'Request or string'.`);
  return makeRequest(input, init, where, new.target);
}
takeOver(Request, Base);

/** The JSON of an inner request's `cf`, with what user code may have changed in it; undefined if it has none. */
export function cfText(inner) {
  return inner.cfObject === undefined ? inner.cfText : JSONStringify(inner.cfObject);
}

const { clone } = Base.prototype;
override(Base.prototype, {
  clone() {
    const body = innerOf(this)?.body;
    requireOwnBody(this, body);
    const home = body ? homeOfBody(this, body) : undefined;
    let copy;
    try {
      copy = ReflectApply(clone, this, []);
    } catch (error) {
      throw reworded(error, CLONE_TEXTS);
    }
    shareBody(home, this, body, copy, toInnerRequest(copy).body);
    toInnerRequest(copy).cfText = cfText(toInnerRequest(this));
    return copy;
  },
  get cache() {
    return innerOf(this)?.cacheMode;
  },
  get cf() {
    const inner = innerOf(this);
    // Most handlers never look: parsed when the first does.
    if (inner?.cfText !== undefined) inner.cfObject ??= JSONParse(inner.cfText);
    return inner?.cfObject;
  },
  get fetcher() {
    return null;
  },
});
for (const name of ["credentials", "mode", "referrer", "referrerPolicy"]) delete Base.prototype[name];
overrideReaders(Base.prototype, innerOf);
readOnly(Base.prototype, "Request", [
  "body",
  "bodyUsed",
  "cache",
  "cf",
  "fetcher",
  "headers",
  "integrity",
  "keepalive",
  "method",
  "redirect",
  "signal",
  "url",
]);
