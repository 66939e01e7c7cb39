// WebSockets.
// API: https://developers.cloudflare.com/workers/runtime-apis/websockets/
//
// A socket is one of two coupled ends. Here it is in one of three states: fresh (a handle, which a
// Response can take along), accepted (a number, by which Rust delivers what comes), or used up.

import { core, primordials } from "ext:core/mod.js";
import {
  op_rpc_outbound,
  op_socket_accept,
  op_socket_adopt,
  op_socket_attached,
  op_socket_attachment,
  op_socket_buffered,
  op_socket_close,
  op_socket_end,
  op_socket_pair,
  op_socket_send,
} from "ext:core/ops";
import { requireIo, requireOwn, tables } from "ext:facetd_rpc/00_context.js";
import { types } from "ext:facetd_rpc/10_clone.js";
import { fetchThrough } from "ext:facetd_rpc/20_fetch.js";
import { hooks, listening, uncaughtMessage, worker } from "ext:facetd_rpc/40_events.js";

const { CloseEvent, ErrorEvent, Event, EventTarget, MessageEvent, setIsTrusted } = core.loadExtScript(
  "ext:deno_web/02_event.js",
);
const { Blob } = core.loadExtScript("ext:deno_web/09_file.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { apply } = Reflect;
// Their methods stay what they are, whatever user code does to Map and Set.
const { ObjectDefineProperty, SafeMap, SafeSet, SafeWeakMap } = primordials;
const { addEventListener, dispatchEvent } = EventTarget.prototype;

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;

/** What Rust delivers. */
const TEXT = 0;
const BINARY = 1;
const CLOSE = 2;

const NO_CODE = 1005;
const LOST_CODE = 1006;
const REASON_BYTES_MAX = 123;
const ATTACHMENT_BYTES_MAX = 16384;
const LOST = "WebSocket disconnected without sending Close frame.";
const NOT_ACCEPTED =
  "You must call one of accept() or state.acceptWebSocket() on this WebSocket before sending messages.";

/** What the platform calls a socket where it is used by somebody else. */
const NATIVE = "Native";

const TYPES = ["open", "message", "close", "error"];

/** Says to the constructor that the second argument is a handle. User code cannot name it. */
const kEnd = Symbol("end");

/** Accepted sockets by the number Rust knows them by: they live as long as they are open. */
const accepted = new SafeMap();
tables.accepted = accepted;

function forgetSocket(number) {
  accepted.delete(number);
}

// The inside of a socket, for the functions below. Set by the class.
let take;
let contextOf;
let receive;
let lose;

export class WebSocket extends EventTarget {
  /** Where it was made: nobody else may use it. */
  #io = requireIo();
  /** Of a fresh socket. */
  #handle;
  /** Of an accepted one that is not over; else 0. */
  #number = 0;
  #accepted = false;
  #usedUp = false;
  #letGo;
  #readyState = OPEN;
  #sentClose = false;
  #gotClose = false;
  #repliesToClose = worker.flags.has("web_socket_auto_reply_to_close");
  #binaryType = worker.flags.has("websocket_standard_binary_type") ? "blob" : "arraybuffer";
  #url = null;
  #protocol = "";
  /** `close()` came before the connection. */
  #closeEarly;
  /** Serialised. */
  #attachment;

  constructor(url, protocols) {
    super();
    for (let i = 0; i < TYPES.length; i++) apply(addEventListener, this, [TYPES[i], callHandler]);
    if (url === kEnd) {
      this.#handle = protocols;
      op_socket_adopt(protocols, this.#io.context.number);
    } else if (arguments.length === 0) {
      throw new TypeError("Failed to construct 'WebSocket': constructor parameter 1 is not of type 'string'.");
    } else this.#connect(String(url), protocols);
  }

  static {
    take = (socket) => {
      if (socket.#url !== null) {
        throw new TypeError("Can't return WebSocket in a Response if it was created with `new WebSocket()`");
      }
      if (socket.#accepted) throw new TypeError("Can't return WebSocket in a Response after calling accept().");
      if (socket.#usedUp) throw new TypeError("Can't return WebSocket that was already used in a response.");
      socket.#usedUp = true;
      return socket.#handle;
    };
    contextOf = (socket) => socket.#io.context;
    receive = (socket, kind, a, b) => socket.#receive(kind, a, b);
    lose = (socket) => socket.#lost();
  }

  // ---- connecting: `new WebSocket(url)`

  #connect(text, protocols) {
    const url = socketUrl(text);
    const names = protocolNames(protocols);
    const headers = { upgrade: "websocket" };
    if (names.length > 0) headers["sec-websocket-protocol"] = names.join(", ");
    this.#url = text;
    this.#readyState = CONNECTING;
    const letGo = types.hold(this.#io);
    url.protocol = url.protocol === "wss:" ? "https:" : "http:";
    fetchThrough(this.#io, () => op_rpc_outbound(), url.href, { headers, redirect: "manual" })
      .then((response) => this.#connected(response))
      .catch((error) => this.#failed(error))
      .finally(letGo);
  }

  #connected(response) {
    const socket = socketOf(response);
    if (socket === null) throw new Error(`The server answered with status ${response.status} and not with a WebSocket.`);
    this.#handle = take(socket);
    this.#protocol = response.headers.get("sec-websocket-protocol") ?? "";
    this.#readyState = OPEN;
    this.#listen();
    this.#dispatch(new Event("open"));
    if (this.#closeEarly !== undefined) this.#sendClose(...this.#closeEarly);
  }

  #failed(error) {
    this.#readyState = CLOSED;
    this.#usedUp = true;
    this.#dispatch(errorEvent(error));
    const reason = "Failed to establish websocket connection";
    this.#dispatch(new CloseEvent("close", { code: LOST_CODE, reason, wasClean: false }));
  }

  // ---- sending

  accept(options) {
    requireOwn(this.#io.context, NATIVE);
    if (options !== undefined && options !== null && typeof options !== "object" && typeof options !== "function") {
      throw new TypeError("Failed to execute 'accept' on 'WebSocket': parameter 1 is not of type 'AcceptOptions'.");
    }
    if (this.#url !== null) {
      throw new TypeError("Websockets obtained from the 'new WebSocket()' constructor cannot call accept");
    }
    if (this.#usedUp) throw new TypeError("Can't accept() WebSocket that was already used in a response.");
    if (this.#accepted) return;
    const halfOpen = options?.allowHalfOpen;
    if (halfOpen !== undefined) this.#repliesToClose = !halfOpen;
    this.#listen();
  }

  #listen() {
    this.#accepted = true;
    this.#number = op_socket_accept(this.#handle, this.#io.context.number, this.#io.event);
    this.#handle = undefined;
    this.#letGo = types.hold(this.#io);
    accepted.set(this.#number, this);
    const { context } = this.#io;
    context.forgetSocket = forgetSocket;
    (context.sockets ??= new SafeSet()).add(this.#number);
  }

  send(data) {
    if (arguments.length === 0) {
      throw new TypeError(
        "Failed to execute 'send' on 'WebSocket': parameter 1 is not of type 'ArrayBuffer or ArrayBufferView or string'.",
      );
    }
    requireOwn(this.#io.context, NATIVE);
    const message = toWire(data);
    if (this.#isSilent()) return;
    if (this.#sentClose) throw new TypeError("Can't call WebSocket send() after close().");
    op_socket_send(this.#number, message);
  }

  close(code, reason) {
    requireOwn(this.#io.context, NATIVE);
    const known = closeArguments(code, reason);
    if (this.#readyState === CONNECTING) {
      this.#closeEarly ??= known;
      return;
    }
    if (!this.#isSilent() && !this.#sentClose) this.#sendClose(...known);
  }

  /** It was accepted, and there is nobody at the other end; throws if it was not. */
  #isSilent() {
    if (!this.#accepted && !this.#usedUp) throw new TypeError(NOT_ACCEPTED);
    return this.#number === 0 && !this.#sentClose;
  }

  #sendClose(code, reason) {
    this.#sentClose = true;
    op_socket_close(this.#number, code, reason);
    if (this.#gotClose) this.#end(CLOSED);
    else this.#readyState = CLOSING;
  }

  /** Nothing more comes or goes. */
  #end(readyState) {
    this.#readyState = readyState;
    this.#usedUp = true;
    if (!accepted.delete(this.#number)) return;
    this.#io.context.sockets.delete(this.#number);
    op_socket_end(this.#number);
    this.#number = 0;
    this.#letGo();
  }

  // ---- receiving

  #receive(kind, a, b) {
    if (kind === TEXT) this.#message(a);
    else if (kind === BINARY) this.#message(this.#binaryType === "blob" ? new Blob([a]) : a.buffer);
    else if (kind === CLOSE) this.#closed(a, b);
    else this.#lost();
  }

  #message(data) {
    const event = new MessageEvent("message", { data });
    event.origin = null;
    const error = this.#dispatch(event);
    // As on the platform: a listener that throws costs the socket.
    if (error === undefined) return;
    this.#end(CLOSED);
    this.#dispatch(error);
  }

  #closed(code, reason) {
    this.#gotClose = true;
    if (this.#sentClose) this.#end(CLOSED);
    else {
      this.#readyState = CLOSING;
      if (this.#repliesToClose) this.#sendClose(code, reason);
    }
    const error = this.#dispatch(new CloseEvent("close", { code: code || NO_CODE, reason, wasClean: true }));
    if (error !== undefined) this.#dispatch(error);
  }

  #lost() {
    if (this.#number === 0) return;
    // In the handler the state is still that of before; afterwards it is as if only they had closed.
    this.#end(this.#readyState);
    if (!this.#gotClose) this.#dispatch(new CloseEvent("close", { code: LOST_CODE, reason: LOST, wasClean: false }));
    this.#readyState = CLOSING;
  }

  /** Returns an error event if a listener threw; the rest of them is skipped. */
  #dispatch(event) {
    setIsTrusted(event, true);
    const thrown = listening(event, () => {
      apply(dispatchEvent, this, [event]);
    });
    if (thrown === undefined) return undefined;
    const { error } = thrown;
    return errorEvent(error instanceof Error ? error : new Error(uncaughtMessage(error).slice("Uncaught ".length)));
  }

  // ---- looking

  get readyState() {
    requireOwn(this.#io.context, NATIVE);
    return this.#readyState;
  }
  get bufferedAmount() {
    requireOwn(this.#io.context, NATIVE);
    return op_socket_buffered(this.#number);
  }
  get url() {
    return this.#url;
  }
  get protocol() {
    return this.#protocol;
  }
  get extensions() {
    return "";
  }
  get binaryType() {
    return this.#binaryType;
  }
  set binaryType(value) {
    const type = `${value}`;
    if (type === "blob" || type === "arraybuffer") this.#binaryType = type;
  }

  // ---- attachments

  serializeAttachment(value) {
    const bytes = op_socket_attachment(value);
    if (bytes.byteLength > ATTACHMENT_BYTES_MAX) {
      throw new Error(
        `A WebSocket 'attachment' cannot be larger than ${ATTACHMENT_BYTES_MAX} bytes.'attachment' was ${bytes.byteLength} bytes.`,
      );
    }
    this.#attachment = bytes;
  }

  deserializeAttachment() {
    return this.#attachment === undefined ? null : op_socket_attached(this.#attachment);
  }
}

for (const [name, value] of Object.entries({ CONNECTING, OPEN, CLOSING, CLOSED })) {
  for (const holder of [WebSocket, WebSocket.prototype]) {
    for (const key of [`READY_STATE_${name}`, name]) {
      Object.defineProperty(holder, key, { value, enumerable: true, configurable: true });
    }
  }
}

/** Two coupled ends: by convention 0 goes into the Response, 1 stays. */
export class WebSocketPair {
  constructor() {
    requireIo();
    const handles = op_socket_pair();
    for (let i = 0; i < 2; i++) {
      const value = new WebSocket(kEnd, handles[i]);
      ObjectDefineProperty(this, i, { __proto__: null, value, enumerable: true, configurable: true });
    }
  }
  *[Symbol.iterator]() {
    yield this[0];
    yield this[1];
  }
}

for (const Class of [WebSocket, WebSocketPair]) {
  Object.defineProperty(Class, "length", { value: 0, configurable: true });
  Object.defineProperty(Class.prototype, Symbol.toStringTag, { value: Class.name, configurable: true });
  types.platform.add(Class);
}
for (const name of ["accept", "send", "close", "serializeAttachment"]) {
  Object.defineProperty(WebSocket.prototype[name], "length", { value: 0, configurable: true });
}

/** The first listener of every socket: calls what user code has put into `on<type>`. */
function callHandler(event) {
  const handler = this[`on${event.type}`];
  if (typeof handler === "function") apply(handler, globalThis, [event]);
}

function errorEvent(error) {
  return new ErrorEvent("error", { error, message: uncaughtMessage(error) });
}

function toWire(data) {
  if (data instanceof ArrayBuffer || data instanceof SharedArrayBuffer) {
    return new Uint8Array(data.byteLength === 0 ? 0 : data); // a detached buffer cannot be viewed
  }
  return ArrayBuffer.isView(data) ? data : `${data}`;
}

/** `[code, reason]`; code 0: a close without one. */
function closeArguments(code, reason) {
  const number = code === undefined ? 0 : int32(code);
  const reserved = number === 1004 || number === NO_CODE || number === LOST_CODE || number === 1015;
  if (code !== undefined && (number < 1000 || number > 4999 || reserved)) {
    throw new DOMException(`Invalid WebSocket close code: ${number}.`, "InvalidAccessError");
  }
  if (reason === undefined) return [number, ""];
  const text = `${reason}`;
  if (worker.flags.has("websocket_close_reason_byte_limit") && core.encode(text).length > REASON_BYTES_MAX) {
    throw new DOMException(
      "WebSocket close reason must not be longer than 123 bytes when UTF-8 encoded.",
      "SyntaxError",
    );
  }
  if (code === undefined) {
    throw new DOMException(
      "If you specify a WebSocket close reason, you must also specify a code.",
      "InvalidAccessError",
    );
  }
  return [number, text];
}

function int32(value) {
  const number = Math.trunc(+value);
  if (!Number.isFinite(number)) return 0;
  if (number !== (number | 0)) {
    throw new TypeError("Value out of range. Must be between -2147483648 and 2147483647 (inclusive).");
  }
  return number;
}

function syntaxError(what) {
  return new DOMException(`WebSocket Constructor: ${what}`, "SyntaxError");
}

function socketUrl(text) {
  const url = URL.parse(text);
  if (url === null) throw syntaxError("The url is invalid.");
  if (url.protocol !== "ws:" && url.protocol !== "wss:") throw syntaxError("The url scheme must be ws or wss.");
  if (url.href.includes("#")) throw syntaxError("The url fragment must be empty.");
  return url;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

function protocolNames(protocols) {
  if (protocols === undefined || protocols === null) return [];
  if (!Array.isArray(protocols)) {
    const name = `${protocols}`;
    if (!TOKEN.test(name)) throw syntaxError("The protocol header token is invalid.");
    return [name];
  }
  const names = protocols.map(String);
  if (new Set(names).size < names.length) throw syntaxError("The protocols header cannot have repeating values.");
  if (!names.every((name) => TOKEN.test(name))) throw syntaxError("One of the protocol header tokens is invalid.");
  return names;
}

// ---- what other files ask of sockets

/** The socket a Response carries, or null. */
export function socketOf(response) {
  return carried.get(response) ?? null;
}

/** Makes `response` carry `socket`. */
export function carry(response, socket) {
  carried.set(response, socket);
}

const carried = new SafeWeakMap();

types.socketOf = socketOf;
types.takeSocket = (response) => {
  const socket = socketOf(response);
  return socket === null ? null : take(socket);
};
types.giveSocket = (response, handle, signal) => {
  const socket = new WebSocket(kEnd, handle);
  carry(response, socket);
  signal?.addEventListener("abort", () => lose(socket), { once: true });
};

hooks.contextOfSocket = (number) => {
  const socket = accepted.get(number);
  return socket === undefined ? undefined : contextOf(socket);
};
hooks.receive = (number, kind, a, b) => receive(accepted.get(number), kind, a, b);
