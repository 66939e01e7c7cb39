// The Response class as user code sees it: the platform's rules about status and body, and `webSocket`.
// API: https://developers.cloudflare.com/workers/runtime-apis/response/
//
// The class itself is deno_fetch's. Only its constructor is replaced: the prototype stays, so that
// responses made by either are one type.

import { override, requireNew, takeOver } from "ext:facetd_rpc/16_overlay.js";
import { giveTo, requireContext } from "ext:facetd_rpc/00_context.js";
import { isReadableStream } from "ext:facetd_rpc/18_body.js";
import { Response as Base } from "ext:facetd_rpc/20_fetch.js";
import { carry, socketOf, WebSocket } from "ext:facetd_websocket/00_websocket.js";

const { apply, construct } = Reflect;
const NULL_BODY_STATUS = [101, 204, 205, 304];

/** @type {typeof globalThis.Response} */
export function Response(body = null, init = undefined) {
  requireNew(new.target, "Response");
  const socket = socketIn(init);
  const status = init?.status ?? 200;
  if (socket !== null && status !== 101) {
    throw new RangeError("Responses with a WebSocket must have status code 101.");
  }
  if (typeof status === "number" && (status < 200 || status > 599) && socket === null) {
    throw new RangeError("Responses may only be constructed with status codes in the range 200 to 599, inclusive.");
  }
  if (NULL_BODY_STATUS.includes(status)) {
    if (body !== null && body !== "") {
      throw new TypeError("Response with null body status (101, 204, 205, or 304) cannot have a body.");
    }
    body = null;
  }
  const response = construct(Base, [body, init], new.target);
  // A body that is not the user's own stream belongs to the running event.
  if (body !== null && body !== undefined && !isReadableStream(body)) giveTo(response, requireContext());
  if (socket !== null) carry(response, socket);
  return response;
}

function socketIn(init) {
  const socket = init instanceof Base ? socketOf(init) : init?.webSocket;
  if (socket === undefined || socket === null) return null;
  if (socket instanceof WebSocket) return socket;
  throw new TypeError(
    "Incorrect type for the 'webSocket' field on 'InitializerDict': the provided value is not of type 'WebSocket'.",
  );
}

override(Response, { error: Base.error, json: Base.json, redirect: Base.redirect });
Object.defineProperty(Response, "length", { value: 0, configurable: true });
takeOver(Response, Base);

const { clone } = Base.prototype;
override(Base.prototype, {
  get webSocket() {
    return socketOf(this);
  },
  clone() {
    if (socketOf(this) !== null) throw new TypeError("Cannot clone a response to a WebSocket handshake.");
    return apply(clone, this, []);
  },
});
