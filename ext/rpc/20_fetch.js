// Requests, responses and bodies on their way out of and into an isolate.
// API: https://developers.cloudflare.com/workers/runtime-apis/fetch/

import { core, primordials } from "ext:core/mod.js";
import { op_blob_bytes, op_body_end, op_body_pipe, op_body_write, op_rpc_fetch } from "ext:core/ops";
import { types, unsupported } from "ext:facetd_rpc/10_clone.js";
import { currentContext, currentIo, forget, giveTo, homeOf, land, noteBody, requireIo, requireOwn, whenDone } from "ext:facetd_rpc/00_context.js";
import { completionError, errorHere } from "ext:facetd_rpc/15_errors.js";
import { Headers } from "ext:facetd_rpc/17_headers.js";
import { giveBodyTo, requireOwnBody, SOURCE } from "ext:facetd_rpc/17_ownership.js";
import { knownLengths, USED_TWICE } from "ext:facetd_rpc/18_body.js";
import { cfText, makeRequest, Request } from "ext:facetd_rpc/19_request.js";
import { Response } from "ext:facetd_rpc/19_response.js";

const { headersEntries } = core.loadExtScript("ext:deno_fetch/20_headers.js");
const { InnerBody } = core.loadExtScript("ext:deno_fetch/22_body.js");
const { fromInnerRequest, newInnerRequest, toInnerRequest } = core.loadExtScript("ext:deno_fetch/23_request.js");
const { fromInnerResponse, newInnerResponse, nullBodyStatus, redirectStatus, toInnerResponse, responseBodyUsed } =
  core.loadExtScript("ext:deno_fetch/23_response.js");
const streams = core.loadExtScript("ext:deno_web/06_streams.js");
const { ReadableStream, readableStreamForRid, getReadableStreamResourceBacking, isReadableStreamDisturbed } = streams;
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { atob } = core.loadExtScript("ext:deno_web/05_base64.js");
const { Blob, File, getParts } = core.loadExtScript("ext:deno_web/09_file.js");

// Its methods stay what they are, whatever user code does to Set.
const { SafeSet } = primordials;

const REDIRECTS_MAX = 20;

export function flatHeaders(list) {
  const flat = [];
  for (let i = 0; i < list.length; i++) flat.push(list[i][0], list[i][1]);
  return flat;
}

export function pairs(flat) {
  const list = [];
  for (let i = 0; i + 1 < flat.length; i += 2) list.push([flat[i], flat[i + 1]]);
  return list;
}

/**
 * The stream of a readable body as a resource number: its own if nobody touched it, else that of a
 * pipe which `pumped` fills.
 * @returns {[number, Promise<void>?]}
 */
function streamToWire(io, stream, length) {
  if (stream.locked || isReadableStreamDisturbed(stream)) throw new TypeError(USED_TWICE);
  const backing = getReadableStreamResourceBacking(stream);
  if (backing?.rid !== undefined) {
    // Locks the stream for ever: its resource belongs to somebody else now.
    stream.getReader();
    return [backing.rid];
  }
  const rid = op_body_pipe(length ?? knownLengths.get(stream) ?? -1);
  return [rid, pump(io, stream, rid)];
}

async function pump(io, stream, rid) {
  const reader = stream.getReader();
  const context = io.context.number;
  const pipes = (io.context.pipes ??= new SafeSet());
  pipes.add(rid);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      let chunk = value;
      if (chunk instanceof ArrayBuffer) chunk = new Uint8Array(chunk);
      if (!ArrayBuffer.isView(chunk)) throw new TypeError("This ReadableStream did not return bytes.");
      if (!(chunk instanceof Uint8Array)) {
        chunk = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      }
      if (chunk.byteLength === 0) continue;
      const gone = await new Promise((resolve) => {
        whenDone(io, op_body_write(context, io.event, rid, chunk), (_kind, gone) => resolve(gone));
      });
      if (gone) {
        await reader.cancel(new Error("The client disconnected."));
        break;
      }
    }
    op_body_end(context, rid, null);
  } catch (error) {
    op_body_end(context, rid, String(error?.message ?? error));
    throw error;
  } finally {
    pipes.delete(rid);
  }
}

/**
 * The inner body of a Request or Response as Rust takes it: null, a string, bytes or a resource number.
 * @returns {[any, Promise<void>?]}
 */
export function bodyToWire(io, body, object) {
  if (body === null || body === undefined) return [null];
  requireOwnBody(object, body);
  const raw = body.streamOrStatic;
  if (raw instanceof ReadableStream) return streamToWire(io, raw, body.length);
  if (raw.consumed) throw new TypeError(USED_TWICE);
  raw.consumed = true;
  return [raw.body];
}

/** What Rust gives for a body: null, bytes, or a resource number. */
export function bodyFromWire(wire) {
  if (wire === null || wire === undefined) return null;
  if (typeof wire === "number") return new InnerBody(readableStreamForRid(wire));
  const body = new InnerBody({ body: wire, consumed: false });
  body.source = wire;
  body.length = wire.byteLength;
  return body;
}

/** @param {string?} cf JSON */
export function requestFromWire(method, url, headers, body, cf) {
  const inner = newInnerRequest(method, url, () => pairs(headers), bodyFromWire(body), false);
  inner.redirectMode = "manual";
  inner.cfText = cf ?? undefined;
  const request = fromInnerRequest(inner, "immutable");
  giveBodyTo(request, inner.body, currentContext());
  return request;
}

export function responseFromWire(status, statusText, headers, body, url, redirected) {
  const inner = newInnerResponse(status, status === 101 ? "Switching Protocols" : statusText);
  inner.headerList = pairs(headers);
  inner.body = nullBodyStatus(status) ? null : bodyFromWire(body);
  if (url !== undefined) inner.urlList = redirected ? [url, url] : [url];
  if (typeof body === "number") noteBody(currentContext(), body);
  const response = fromInnerResponse(inner, "immutable");
  giveBodyTo(response, inner.body, currentContext());
  return response;
}

/** @returns {[number, string, string[], any, Promise<void>?]} status, text, headers, body, pump */
export function responseToWire(io, response) {
  if (responseBodyUsed(response)) throw new TypeError(USED_TWICE);
  const inner = toInnerResponse(response);
  const [body, pumped] = bodyToWire(io, inner.body, response);
  return [inner.status, inner.statusMessage, flatHeaders(inner.headerList), body, pumped];
}

/** The request that `fetch(input, init)` of a `kind` sends. */
function requestOf(input, init, kind) {
  const where = `Failed to execute 'fetch' on '${kind}':`;
  if (input === undefined) throw new TypeError(`${where} parameter 1 is not of type 'Request or string'.`);
  if (init === undefined && input instanceof Request) {
    if (toInnerRequest(input).body?.unusable()) {
      throw new TypeError("Cannot reconstruct a Request with a used body.");
    }
    return input;
  }
  return makeRequest(input, init, where);
}

/** Bytes in a body that is about to be sent; undefined if only its end will tell. */
function lengthOf(body, wire) {
  if (wire === null) return undefined;
  if (typeof wire !== "number") return wire.byteLength;
  return body.length ?? knownLengths.get(body.streamOrStatic) ?? undefined;
}

function repeatable(body) {
  if (body === null || body === undefined) return [null];
  const raw = body.streamOrStatic;
  return raw instanceof ReadableStream ? undefined : [raw.body];
}

/**
 * `fetch()` through a stub. Redirects are followed through the same stub.
 * @param {object} handleOf gives the handle to send through
 * @param {string} kind the class whose `fetch` it is, for error texts
 */
export async function fetchThrough(io, handleOf, input, init, kind = "Fetcher") {
  const request = requestOf(input, init, kind);
  const inner = toInnerRequest(request);
  const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined);
  if (signal?.aborted) throw signal.reason;
  if (!/^https?:/.test(inner.url())) {
    if (inner.url().startsWith("data:")) return dataUrl(inner.url());
    throw new TypeError(`Fetch API cannot load: ${inner.url()}`);
  }
  const follow = inner.redirectMode !== "manual";
  const upgrade = asksForSocket(request);
  let method = upgrade ? "GET" : inner.method;
  let url = inner.url().split("#")[0];
  let headers = inner.headerList;
  const again = repeatable(inner.body);
  if (upgrade) headers = headers.map(([name, value]) => [name, /^upgrade$/i.test(name) ? "websocket" : value]);
  let [body, pumped] = upgrade ? [null] : bodyToWire(io, inner.body, request);
  pumped?.catch(() => {});
  if (typeof body === "string") body = core.encode(body);
  const length = lengthOf(inner.body, body);
  if (length !== undefined && !headers.some(([name]) => name.toLowerCase() === "content-length")) {
    headers = [...headers, ["content-length", String(length)]];
  }
  const cf = cfText(inner) ?? null;
  const urls = [];
  for (let hop = 0; ; hop++) {
    const [status, text, list, wire, socket] = await sendOnce(
      io, handleOf(), method, url, flatHeaders(headers), body, cf, signal,
    );
    urls.push(url);
    const location = follow && redirectStatus(status) ? locationOf(list) : undefined;
    if (location === undefined) {
      const response = responseFromWire(status, text, list, wire, url, hop > 0);
      if (socket !== null) types.giveSocket(response, socket, signal);
      return response;
    }
    if (hop >= REDIRECTS_MAX) throw new TypeError(`Too many redirects.\n${urls.join("\n")}`);
    discard(wire);
    const next = new URL(location, url);
    if (status === 303 ? method !== "GET" && method !== "HEAD" : status < 303 && method === "POST") {
      method = "GET";
      body = null;
      headers = headers.filter(([name]) => !/^content-(length|encoding)$/i.test(name));
    } else if (body !== null) {
      if (again === undefined) {
        throw new TypeError(
          "A request with a one-time-use body (it was initialized from a stream, not a buffer) encountered a redirect requiring the body to be retransmitted. To avoid this error in the future, construct this request from a buffer-like body initializer.",
        );
      }
      [body] = again;
    }
    if (next.origin !== new URL(url).origin) {
      headers = headers.filter(([name]) => name.toLowerCase() !== "authorization");
    }
    url = next.href;
  }
}

/** Does `request` want a WebSocket for an answer? */
export function asksForSocket(request) {
  if (request === undefined) return false;
  const list = toInnerRequest(request).headerList;
  for (let i = 0; i < list.length; i++) {
    const [name, value] = list[i];
    if (name.length === 7 && name.toLowerCase() === "upgrade") return value.toLowerCase() === "websocket";
  }
  return false;
}

function locationOf(flat) {
  for (let i = 0; i < flat.length; i += 2) if (flat[i].toLowerCase() === "location") return flat[i + 1];
  return undefined;
}

function discard(wire) {
  if (typeof wire === "number") core.tryClose(wire);
}

function sendOnce(io, handle, method, url, headers, body, cf, signal) {
  return new Promise((resolve, reject) => {
    const call = op_rpc_fetch(
      handle, io.context.number, io.event, io.section, method, url, headers, body, cf,
    );
    const abort = () => {
      forget(io, call);
      reject(signal.reason);
    };
    signal?.addEventListener("abort", abort, { once: true });
    whenDone(io, call, (kind, ...rest) => {
      signal?.removeEventListener("abort", abort);
      if (kind === 1) return resolve(rest);
      types.disposeAll(types.takeArrived(io));
      resolve(errorHere(() => completionError(kind, ...rest)));
    });
  });
}

function dataUrl(url) {
  const match = /^data:([^,]*?)(;base64)?,(.*)$/s.exec(url);
  if (match === null) throw new TypeError(`Invalid URL: ${url}`);
  const type = match[1] || "text/plain;charset=US-ASCII";
  const text = decodeURIComponent(match[3]);
  const body = match[2] === undefined
    ? core.encode(text)
    : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Response(body, { headers: { "content-type": type } });
}

/** A body that is still being written keeps its event alive. */
function keepWhile(io, pumped) {
  if (pumped === undefined) return;
  const letGo = types.hold(io);
  pumped.then(letGo, letGo);
}

types.Headers = Headers;
types.Request = Request;
types.Response = Response;
types.ReadableStream = ReadableStream;
types.WritableStream = streams.WritableStream;
types.Blob = Blob;
types.File = File;
types.headerPairs = (headers) => headersEntries(headers).map(([k, v]) => [k, v]);
types.blobParts = (blob) => ({ type: blob.type, parts: [op_blob_bytes(getParts(blob))] });
types.streamHandle = (stream) => {
  const io = requireIo();
  requireOwn(homeOf(stream), SOURCE);
  if (stream.locked) throw new TypeError("The ReadableStream has been locked to a reader.");
  const [rid, pumped] = streamToWire(io, stream);
  keepWhile(io, pumped);
  return rid;
};
types.reviveStream = (rid) => {
  const stream = typeof rid === "number" ? readableStreamForRid(rid) : new ReadableStream();
  land((home) => {
    giveTo(stream, home);
    if (typeof rid === "number") noteBody(home, rid);
  });
  return stream;
};

/** `[fields, body resource]`; undefined: it has a body and may not. */
types.describeBody = (object, withBody) => {
  const isRequest = object instanceof Request;
  if (!isRequest && types.socketOf(object) !== null) throw unsupported("WebSocket");
  const inner = isRequest ? toInnerRequest(object) : toInnerResponse(object);
  if (inner.body !== null && inner.body !== undefined && !withBody) return undefined;
  const fields = isRequest
    ? { method: inner.method, url: inner.url(), redirect: inner.redirectMode }
    : { status: inner.status, statusText: inner.statusMessage, url: inner.url() };
  fields.headers = flatHeaders(inner.headerList);
  if (inner.body === null || inner.body === undefined) return [fields];
  const io = currentIo() ?? requireIo();
  const raw = inner.body.streamOrStatic;
  requireOwnBody(object, inner.body);
  if (raw instanceof ReadableStream ? raw.locked || isReadableStreamDisturbed(raw) : raw.consumed) {
    throw new TypeError("The ReadableStream has been locked to a reader.");
  }
  const [body, pumped] = bodyToWire(io, inner.body, object);
  keepWhile(io, pumped);
  if (typeof body === "number") return [fields, body];
  fields.body = body;
  return [fields];
};
types.reviveRequest = (fields, rid) => {
  const body = bodyFromWire(rid ?? bytes(fields.body));
  const inner = newInnerRequest(fields.method, fields.url, () => pairs(fields.headers), body, false);
  inner.redirectMode = fields.redirect;
  return landed(fromInnerRequest(inner, "request"), inner.body, rid);
};
types.reviveResponse = (fields, rid) => {
  const inner = newInnerResponse(fields.status, fields.statusText);
  inner.headerList = pairs(fields.headers);
  inner.body = bodyFromWire(rid ?? bytes(fields.body));
  if (fields.url !== null) inner.urlList = [fields.url];
  return landed(fromInnerResponse(inner, "response"), inner.body, rid);
};

/** A Request or Response out of a message belongs to whoever reads that. */
function landed(object, body, rid) {
  if (body === null) return object;
  land((home) => {
    giveBodyTo(object, body, home);
    if (typeof rid === "number") noteBody(home, rid);
  });
  return object;
}

function bytes(body) {
  return typeof body === "string" ? core.encode(body) : body;
}

export { Headers, Request, Response };
