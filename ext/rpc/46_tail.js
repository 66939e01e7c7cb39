// Tail workers: what an event did, for those who were asked to be told; and the `tail(events, env, ctx)` handler.
// API: https://developers.cloudflare.com/workers/runtime-apis/handlers/tail/
//
// The item of an event is kept in Rust (`traces.rs`), as JSON: here it is written while the event runs, and read where it
// arrives. A callback belongs to the event that passed it out, and so does what it logs.

import { primordials } from "ext:core/mod.js";
import { op_trace_begin, op_trace_exception, op_trace_log, op_trace_outcome } from "ext:core/ops";
import { currentIo, tables } from "ext:facetd_rpc/00_context.js";
import { types } from "ext:facetd_rpc/10_clone.js";
import { ExecutionContext, hooks, lookup, setTracer, worker } from "ext:facetd_rpc/40_events.js";

// User code may change all of these, but not what they were.
const {
  ArrayIsArray,
  ArrayPrototypeJoin,
  BigIntPrototypeToString,
  Date,
  JSONParse,
  JSONStringify,
  ObjectGetPrototypeOf,
  ObjectPrototype,
  ReflectApply,
  String,
  StringPrototypeIndexOf,
  StringPrototypeSlice,
  StringPrototypeToLowerCase,
} = primordials;

/** Longer than this, a text is not even looked at: nothing of it would be kept. */
const TEXT_LEN_MAX = 256 << 10;

// ---- the traced worker

function quoted(text) {
  return JSONStringify(text.length > TEXT_LEN_MAX ? StringPrototypeSlice(text, 0, TEXT_LEN_MAX) : text);
}

/** One argument of the console, as JSON. What cannot be shown is an empty object, as on the platform. */
function messageOf(value) {
  try {
    switch (typeof value) {
      case "undefined":
        return "null";
      case "symbol":
        return "{}";
      case "bigint":
        return quoted(BigIntPrototypeToString(value));
      case "function":
        return quoted(String(value));
      case "string":
        return quoted(value);
      case "object":
        if (value !== null && typeof value.toJSON !== "function" && !ArrayIsArray(value)) {
          const proto = ObjectGetPrototypeOf(value);
          if (proto !== null && proto !== ObjectPrototype) return quoted(String(value));
        }
    }
    return JSONStringify(value) ?? "null";
  } catch {
    return "{}";
  }
}

/** `{name, message, stack}` of what was thrown, as the start of a JSON object. It may throw when it is looked at. */
function errorParts(error) {
  let name = "Error";
  let message = "The thrown value could not be read.";
  let stack = "";
  try {
    if (error instanceof Error) {
      name = String(error.name);
      message = String(error.message);
      const text = String(error.stack ?? "");
      const at = StringPrototypeIndexOf(text, "    at ");
      if (at >= 0) stack = StringPrototypeSlice(text, at);
    } else if (typeof error === "object" && error !== null) {
      message = `#<${String(error.constructor?.name ?? "Object")}>`;
    } else {
      message = String(error);
    }
  } catch {
    // It stays as it is.
  }
  const tail = stack === "" ? "" : `,"stack":${quoted(stack)}`;
  return `{"name":${quoted(name)},"message":${quoted(message)}${tail}`;
}

function isError(value) {
  try {
    return value instanceof Error;
  } catch {
    return false;
  }
}

/** The event whose item this goes into: in the context of a stateless event, that event. */
function numberOf(io) {
  return io.context.isObject ? io.event : io.context.number;
}

/** `console.group()` writes its label with `console.log`, and is no line of the log on the platform. */
let inGroup = false;

function record(level, args) {
  const io = currentIo();
  if (io === undefined || inGroup) return;
  let messages = "";
  let errors = "";
  let anyError = false;
  for (let i = 0; i < args.length; i++) {
    const comma = i === 0 ? "" : ",";
    if (messages.length < TEXT_LEN_MAX) messages += comma + messageOf(args[i]);
    if (isError(args[i])) {
      anyError = true;
      errors += `${comma}${errorParts(args[i])}}`;
    } else {
      errors += `${comma}null`;
    }
  }
  const info = anyError ? `,"errorInfo":[${errors}]` : "";
  op_trace_log(numberOf(io), level, `"message":[${messages}]${info}}`);
}

/** A JSON object by hand: `JSON.stringify` would ask a `toJSON` that user code may have given to all objects. */
function headersOf(flat) {
  const headers = { __proto__: null };
  for (let i = 0; i + 1 < flat.length; i += 2) {
    const name = StringPrototypeToLowerCase(flat[i]);
    // On the platform it is no header but the length of the body.
    if (name === "content-length") continue;
    headers[name] = name in headers ? `${headers[name]}, ${flat[i + 1]}` : flat[i + 1];
  }
  let text = "";
  for (const name in headers) text += `${text === "" ? "" : ","}${quoted(name)}:${quoted(headers[name])}`;
  return `{${text}}`;
}

const SOCKET_EVENTS = ["message", "message", "close", "error"];

/** What the event is, as JSON, by the numbers of `run`; `undefined`: it is not traced. */
function infoOf(kind, a, b, c, cf) {
  switch (kind) {
    case 0: {
      const more = typeof cf === "string" ? `,"cf":${quoted(cf)}` : "";
      return `{"request":{"method":${quoted(a)},"url":${quoted(b)},"headers":${headersOf(c)}${more}}}`;
    }
    case 1:
      return `{"rpcMethod":${quoted(ArrayPrototypeJoin(a, "."))}}`;
    case 4:
      return `{"socket":${quoted(SOCKET_EVENTS[b])}}`;
    case 7:
      return `{"scheduledTime":${a},"cron":${quoted(b)}}`;
  }
  return undefined;
}

function begin(event, info) {
  const { context } = event.io;
  const object = context.isObject ? tables.instances.get(context.number) : undefined;
  const name = object === undefined ? event.name : object.className;
  let about = `{"event":${info},"model":"${context.isObject ? "durableObject" : "stateless"}"`;
  if (typeof name === "string" && name !== "default") about += `,"entrypoint":${quoted(name)}`;
  try {
    if (object !== undefined) about += `,"object":${quoted(String(object.state.id))}`;
  } catch {
    // User code has replaced the method that says it.
  }
  op_trace_begin(event.number, event.kind === 1, `${about}}`);
}

const tracer = {
  begin(event, kind, a, b, c, cf) {
    if (!event.owns && !event.io.context.isObject) return;
    const info = infoOf(kind, a, b, c, cf);
    if (info !== undefined) begin(event, info);
  },
  alarm(event, time) {
    begin(event, `{"alarm":${time}}`);
  },
  exception(io, error) {
    if (io !== undefined) op_trace_exception(numberOf(io), `${errorParts(error)},"timestamp":${Date.now()}}`);
  },
  canceled(event) {
    op_trace_outcome(event.number, true);
  },
  failed(event) {
    op_trace_outcome(event.number, false);
  },
};

/** The console methods that tails hear of, and their numbers for `op_trace_log`. */
const METHODS = [["debug", 0], ["info", 1], ["log", 2], ["warn", 3], ["error", 4]];

hooks.startTracing = () => {
  setTracer(tracer);
  const { console } = globalThis;
  for (const [name, level] of METHODS) {
    const write = console[name];
    const { [name]: traced } = {
      [name](...args) {
        record(level, args);
        return ReflectApply(write, console, args);
      },
    };
    console[name] = traced;
  }
  for (const name of ["group", "groupCollapsed"]) {
    const write = console[name];
    const { [name]: quiet } = {
      [name](...args) {
        inGroup = true;
        try {
          ReflectApply(write, console, args);
        } finally {
          inGroup = false;
        }
      },
    };
    console[name] = quiet;
  }
};

// ---- the tail

function named(Class, name) {
  Object.defineProperty(Class, "name", { value: name });
  Object.defineProperty(Class.prototype, Symbol.toStringTag, { value: name });
  types.platform.add(Class);
  return Class;
}

function fill(object, fields) {
  for (const key of Object.keys(fields)) {
    Object.defineProperty(object, key, { value: fields[key], enumerable: true, configurable: true });
  }
}

/** A class whose properties are its own, in the platform's order. */
function plain(name) {
  return named(class {
    constructor(fields) {
      fill(this, fields);
    }
  }, name);
}

const TraceItem = plain("TraceItem");
const TraceLog = plain("TraceLog");
const TraceException = plain("TraceException");
const FetchEventInfo = plain("FetchEventInfo");
const TraceResponse = plain("Response");
const JsRpcEventInfo = plain("JsRpcEventInfo");
const ScheduledEventInfo = plain("ScheduledEventInfo");
const AlarmEventInfo = plain("AlarmEventInfo");
const HibernatableWebSocketEventInfo = plain("HibernatableWebSocketEventInfo");
const HibernatableWebSocketEventInfoMessage = plain("HibernatableWebSocketEventInfoMessage");

const REDACTED = "REDACTED";

function isSecretHeader(name) {
  return name === "cookie" || name === "set-cookie" || /auth|key|secret|token|jwt/.test(name);
}

/** Long runs of hexadecimal digits, and what looks like base 64. */
function redactWord(word) {
  const digits = word.replace(/[+_-]/g, "");
  if (digits.length >= 32 && /^[0-9a-fA-F]+$/.test(digits)) return REDACTED;
  const count = (pattern) => (word.match(pattern) ?? []).length;
  const looksRandom = word.length >= 21 && count(/[A-Z]/g) >= 2 && count(/[a-z]/g) >= 2 && count(/[0-9]/g) >= 2;
  return looksRandom ? REDACTED : word;
}

const TraceRequest = named(class Request {
  #raw;
  constructor(raw, showAll) {
    const { url, method, headers, cf } = raw;
    this.#raw = raw;
    const shown = ([name, value]) => [name, !showAll && isSecretHeader(name) ? REDACTED : value];
    fill(this, {
      url: showAll ? url : url.replace(/[A-Za-z0-9+_-]{21,}/g, redactWord),
      method,
      headers: Object.fromEntries(Object.entries(headers).map(shown)),
      cf: cf === undefined ? undefined : JSONParse(cf),
    });
  }
  getUnredacted() {
    return new TraceRequest(this.#raw, true);
  }
}, "Request");

function eventOf({ request, rpcMethod, cron, scheduledTime, alarm, socket }, status) {
  if (request !== undefined) {
    return new FetchEventInfo({
      request: new TraceRequest(request, false),
      response: status === 0 ? undefined : new TraceResponse({ status }),
    });
  }
  if (rpcMethod !== undefined) return new JsRpcEventInfo({ rpcMethod });
  if (alarm !== undefined) return new AlarmEventInfo({ scheduledTime: new Date(alarm) });
  if (socket !== undefined) {
    const getWebSocketEvent = new HibernatableWebSocketEventInfoMessage({ webSocketEventType: socket });
    return new HibernatableWebSocketEventInfo({ getWebSocketEvent });
  }
  return new ScheduledEventInfo({ scheduledTime, cron });
}

function itemOf({ about, script, at, wall, cpu, outcome, truncated, status, logs, exceptions }) {
  return new TraceItem({
    wallTime: wall,
    cpuTime: cpu,
    truncated,
    executionModel: about.model,
    outcome,
    durableObjectId: about.object,
    preview: undefined,
    tailAttributes: undefined,
    scriptTags: undefined,
    dispatchNamespace: undefined,
    scriptVersion: undefined,
    entrypoint: about.entrypoint,
    scriptName: script,
    diagnosticsChannelEvents: [],
    exceptions: exceptions.map(({ stack, name, message, timestamp }) => new TraceException({ stack, name, message, timestamp })),
    logs: logs.map(({ errorInfo, message, level, timestamp }) => new TraceLog({ errorInfo, message, level, timestamp })),
    eventTimestamp: at,
    event: eventOf(about.event, status),
  });
}

const NO_HANDLER = "Handler does not export a tail() function.";

/** Nobody waits for the answer; what is thrown is in the log. */
hooks.tail = (event, targetKind, object, name, props, text) => {
  if (targetKind === 2) throw new Error(NO_HANDLER); // a function or `RpcTarget`
  const events = [itemOf(JSONParse(text))];
  let instance = object?.instance;
  let more = [undefined, undefined];
  if (instance === undefined) {
    const entry = lookup(name);
    const ctx = new ExecutionContext(event, props ?? {});
    instance = typeof entry === "function" ? new entry(ctx, worker.env) : entry;
    if (typeof entry !== "function") more = [worker.env, ctx];
  }
  if (typeof instance.tail !== "function") throw new Error(NO_HANDLER);
  const run = async () => instance.tail(events, ...more);
  run().then(() => event.resolve(undefined), (error) => event.fail(error));
};
