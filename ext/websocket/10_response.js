// The Response class as user code sees it: the platform's rules about status and body, and `webSocket`.
// API: https://developers.cloudflare.com/workers/runtime-apis/response/
//
// The class itself is deno_fetch's. Only its constructor is replaced: the prototype stays, so that
// responses made by either are one type.

import { Response as Base } from "ext:facetd_rpc/20_fetch.js";
import { carry, socketOf, WebSocket } from "ext:facetd_websocket/00_websocket.js";

const { construct } = Reflect;
const NULL_BODY_STATUS = [101, 204, 205, 304];

/** @type {typeof globalThis.Response} */
export function Response(body = null, init = undefined) {
  if (new.target === undefined) {
    throw new TypeError(
      "Failed to construct 'Response': Please use the 'new' operator, this object constructor cannot be called as a function.",
    );
  }
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

for (const name of ["error", "json", "redirect"]) {
  const value = Base[name];
  Object.defineProperty(Response, name, { value, writable: true, configurable: true, enumerable: true });
}
Object.defineProperty(Response, "length", { value: 0, configurable: true });
Object.defineProperty(Response, "prototype", { value: Base.prototype, writable: false });
Object.defineProperty(Base.prototype, "constructor", { value: Response, writable: true, configurable: true });
Object.defineProperty(Base.prototype, "webSocket", {
  get() {
    return socketOf(this);
  },
  configurable: true,
  enumerable: true,
});

const { clone } = Base.prototype;
Object.defineProperty(Base.prototype, "clone", {
  value: {
    clone() {
      if (socketOf(this) !== null) throw new TypeError("Cannot clone a response to a WebSocket handshake.");
      return Reflect.apply(clone, this, []);
    },
  }.clone,
  writable: true,
  configurable: true,
  enumerable: true,
});
