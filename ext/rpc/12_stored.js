// Errors, Headers, Blobs and bodiless Requests and Responses as they are stored: in workerd's layout.
// API: https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/

import { core } from "ext:core/mod.js";
import { NATIVE_ERRORS, nativeClassOf, types } from "ext:facetd_rpc/10_clone.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

const HEADERS = 4;
const REQUEST = 5;
const RESPONSE = 6;
const DOM_EXCEPTION = 8;
const ERROR = 10;
const BLOB = 15;

// How a part is written.
const NUMBER = 0;
const BYTES = 1;
const VALUE = 2;

/** workerd's numbers of error classes. */
const CLASSES = [];
CLASSES[1] = "Error";
CLASSES[2] = "TypeError";
CLASSES[3] = "RangeError";
CLASSES[4] = "ReferenceError";
CLASSES[5] = "SyntaxError";
CLASSES[10] = "EvalError";
CLASSES[11] = "URIError";
CLASSES[12] = "AggregateError";

/** workerd's numbers of common header names, from 1. Others are written out. */
const NAMES = (" accept-charset accept-encoding accept-language accept-ranges accept " +
  "access-control-allow-origin age allow authorization cache-control content-disposition content-encoding " +
  "content-language content-length content-location content-range content-type cookie date etag expect expires " +
  "from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link location " +
  "max-forwards proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie " +
  "strict-transport-security transfer-encoding user-agent vary via www-authenticate").split(" ");

/** What a Headers of no request or response carries in front of its entries. */
const GUARD_NONE = 3;

const latin1 = (text) => Uint8Array.from(text, (char) => char.charCodeAt(0));
const fromLatin1 = (bytes) => String.fromCharCode(...bytes);

const utf8 = (text) => core.encode(String(text));

/** `[tag, kind, part, ...]`, or undefined for what is not one of these. */
types.describeStored = (object) => {
  if (object instanceof DOMException) {
    const { name, message, stack } = object;
    return [DOM_EXCEPTION, BYTES, utf8(name), BYTES, utf8(message), BYTES, utf8(stack)];
  }
  if (object instanceof Error) return storedError(object);
  if (object instanceof types.Headers) {
    const pairs = types.headerPairs(object);
    const parts = [HEADERS, NUMBER, GUARD_NONE, NUMBER, pairs.length];
    for (const [name, value] of pairs) {
      const id = NAMES.indexOf(name);
      parts.push(NUMBER, Math.max(id, 0));
      if (id < 1) parts.push(BYTES, latin1(name));
      parts.push(BYTES, latin1(value));
    }
    return parts;
  }
  if (object instanceof types.Blob) {
    const { type, parts } = types.blobParts(object);
    return [BLOB, BYTES, latin1(type), BYTES, parts[0]];
  }
  if (object instanceof types.Request && object.body === null) {
    const init = {
      method: object.method === "GET" ? undefined : object.method,
      headers: new types.Headers(object.headers),
      body: null,
      redirect: object.redirect === "follow" ? undefined : object.redirect,
      fetcher: undefined,
      cf: undefined,
      cache: undefined,
      integrity: undefined,
      signal: undefined,
      encodeResponseBody: undefined,
    };
    return [REQUEST, BYTES, core.encode(object.url), VALUE, init];
  }
  if (object instanceof types.Response && object.body === null && types.socketOf(object) === null) {
    const init = {
      status: object.status === 200 ? undefined : object.status,
      statusText: object.statusText === "" ? undefined : object.statusText,
      headers: new types.Headers(object.headers),
      cf: undefined,
      webSocket: undefined,
      encodeBody: undefined,
    };
    return [RESPONSE, VALUE, null, VALUE, init];
  }
  return undefined;
};

function storedError(error) {
  const rest = { stack: String(error.stack) };
  for (const key of ["cause", "errors"]) if (Object.hasOwn(error, key)) rest[key] = error[key];
  for (const key of Object.keys(error)) rest[key] = error[key];
  const number = CLASSES.indexOf(nativeClassOf(error));
  const message = typeof error.message === "string" ? error.message : "";
  return [ERROR, NUMBER, Math.max(number, 1), VALUE, message, VALUE, rest];
}

/** Called by Rust: makes the object of the parts that were read. */
export function reviveStored(tag, parts) {
  switch (tag) {
    case ERROR: {
      const [number, message, rest] = parts;
      const Class = NATIVE_ERRORS[CLASSES[number]] ?? Error;
      const error = Class === AggregateError ? new AggregateError([], message) : new Class(message);
      for (const key of Object.keys(rest)) {
        const enumerable = key !== "stack";
        Object.defineProperty(error, key, { value: rest[key], configurable: true, writable: true, enumerable });
      }
      return error;
    }
    case HEADERS: {
      const headers = new types.Headers();
      for (let i = 0; i < parts.length;) {
        const id = parts[i++];
        const name = id === 0 ? fromLatin1(parts[i++]) : NAMES[id];
        if (name === undefined) throw new TypeError("The stored headers were made by a newer program.");
        headers.append(name, fromLatin1(parts[i++]));
      }
      return headers;
    }
    case BLOB:
      return new types.Blob([parts[1]], { type: fromLatin1(parts[0]) });
    case DOM_EXCEPTION: {
      const [name, message, stack] = parts.map((part) => core.decode(part));
      const error = new DOMException(message, name);
      Object.defineProperty(error, "stack", { value: stack, configurable: true, writable: true });
      return error;
    }
    case RESPONSE: {
      const [body, { status, statusText, headers }] = parts;
      return new types.Response(body, { status, statusText, headers });
    }
    case REQUEST: {
      const [url, init] = parts;
      return new types.Request(core.decode(url), {
        method: init.method,
        headers: init.headers,
        redirect: init.redirect,
      });
    }
  }
  throw new TypeError("The stored value was made by a newer program.");
}
