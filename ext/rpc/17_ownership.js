// Streams and bodies belong to the request or object that made them.
// API: https://developers.cloudflare.com/workers/runtime-apis/streams/
//
// What the platform makes of native code belongs to its context: bodies of text or bytes, those that came over the
// network or a call, identity and compression streams. A stream with a source of the user's own belongs to nobody.
// Anybody may hold a reader or writer of a foreign stream; using it is what fails, and the stream is none the worse.

import { core, primordials } from "ext:core/mod.js";
import { giveTo, homeOf, isForeign, requireOwn } from "ext:facetd_rpc/00_context.js";
import { override } from "ext:facetd_rpc/16_overlay.js";

const {
  ArrayPrototypeFind,
  ObjectGetOwnPropertySymbols,
  ObjectPrototypeIsPrototypeOf,
  PromiseReject,
  ReflectApply,
  SymbolAsyncIterator,
  SymbolPrototypeGetDescription,
} = primordials;
const {
  ReadableStream,
  ReadableStreamBYOBReader,
  ReadableStreamDefaultReader,
  ReadableStreamPrototype,
  WritableStream,
  WritableStreamDefaultWriter,
} = core.loadExtScript("ext:deno_web/06_streams.js");

/** The platform's names for what a check is about. */
export const SOURCE = "ReadableStreamSource>";
export const WRITABLE = "Writable";
const CANCELER = "Canceler";

const noop = () => {};

/** The key under which deno's readers and writers keep their stream. */
const kStream = ArrayPrototypeFind(
  ObjectGetOwnPropertySymbols(new ReadableStream().getReader()),
  (symbol) => SymbolPrototypeGetDescription(symbol) === "[[stream]]",
);

/** A rejection that says whose the stream is not. */
function refused(home, type) {
  try {
    requireOwn(home, type);
  } catch (error) {
    return PromiseReject(error);
  }
}

/** Makes both halves of what was one stream belong to whom it belonged. */
function shareHome(home, halves) {
  if (home !== undefined) for (let i = 0; i < halves.length; i++) giveTo(halves[i], home);
  return halves;
}

const { cancel, pipeThrough, pipeTo, tee, values } = ReadableStream.prototype;
function iterate(options = undefined) {
  requireOwn(homeOf(this), SOURCE);
  return ReflectApply(values, this, [options]);
}
override(ReadableStream.prototype, {
  cancel(reason = undefined) {
    const home = homeOf(this);
    return isForeign(home) ? refused(home, SOURCE) : ReflectApply(cancel, this, [reason]);
  },
  pipeThrough(transform, options = undefined) {
    const home = homeOf(this);
    if (!isForeign(home)) return ReflectApply(pipeThrough, this, arguments);
    // Whoever reads what comes out is told.
    const { readable, writable } = transform;
    refused(home, SOURCE).catch((error) => writable.abort(error)).catch(noop);
    return readable;
  },
  pipeTo(destination, options = undefined) {
    const home = homeOf(this);
    if (isForeign(home)) return refused(home, SOURCE);
    const target = homeOf(destination);
    return isForeign(target) ? refused(target, WRITABLE) : ReflectApply(pipeTo, this, arguments);
  },
  tee() {
    const home = homeOf(this);
    requireOwn(home, SOURCE);
    return shareHome(home, ReflectApply(tee, this, []));
  },
  values: iterate,
  [SymbolAsyncIterator]: iterate,
});

for (const Reader of [ReadableStreamDefaultReader, ReadableStreamBYOBReader]) {
  const { cancel, read, releaseLock } = Reader.prototype;
  override(Reader.prototype, {
    cancel(reason = undefined) {
      const home = homeOf(this?.[kStream]);
      return isForeign(home) ? refused(home, CANCELER) : ReflectApply(cancel, this, [reason]);
    },
    read() {
      const home = homeOf(this?.[kStream]);
      return isForeign(home) ? refused(home, SOURCE) : ReflectApply(read, this, arguments);
    },
    releaseLock() {
      requireOwn(homeOf(this?.[kStream]), CANCELER);
      return ReflectApply(releaseLock, this, []);
    },
  });
}

for (const Class of [WritableStream, WritableStreamDefaultWriter]) {
  const home = Class === WritableStream ? homeOf : (writer) => homeOf(writer?.[kStream]);
  const members = { __proto__: null };
  for (const name of Class === WritableStream ? ["abort", "close"] : ["abort", "close", "write"]) {
    const method = Class.prototype[name];
    members[name] = {
      [name]() {
        const of = home(this);
        return isForeign(of) ? refused(of, WRITABLE) : ReflectApply(method, this, arguments);
      },
    }[name];
  }
  override(Class.prototype, members);
}

// ---- bodies

function isReadableStream(value) {
  return ObjectPrototypeIsPrototypeOf(ReadableStreamPrototype, value);
}

/** Whose the body of `object` is: its stream knows; text or bytes are whose the Request or Response is. */
export function homeOfBody(object, body) {
  const held = body.streamOrStatic;
  return homeOf(isReadableStream(held) ? held : object);
}

/** Makes the body of `object`, a native one, belong to `home`. */
export function giveBodyTo(object, body, home) {
  if (body === null || body === undefined || home === undefined) return;
  const held = body.streamOrStatic;
  giveTo(isReadableStream(held) ? held : object, home);
}

/** Throws unless the body of `object` may be used here. */
export function requireOwnBody(object, body) {
  if (body !== null && body !== undefined) requireOwn(homeOfBody(object, body), SOURCE);
}

/**
 * Makes the body of `copy`, which was cloned from `object`, and what has become of the body itself belong to `home`.
 * A stream of the user's own, of which there is no home, stays nobody's.
 */
export function shareBody(home, object, body, copy, copied) {
  giveBodyTo(object, body, home);
  giveBodyTo(copy, copied, home);
}
