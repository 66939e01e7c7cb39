// What requests and responses have in common: the body and the ways to read it.
// API: https://developers.cloudflare.com/workers/runtime-apis/response/#methods

import { core, primordials } from "ext:core/mod.js";
import { giveTo, homeOf, isForeign } from "ext:facetd_rpc/00_context.js";
import { override, reworded } from "ext:facetd_rpc/16_overlay.js";
import { requireOwnBody } from "ext:facetd_rpc/17_ownership.js";

const {
  JSONParse,
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptor,
  ObjectPrototypeIsPrototypeOf,
  ReflectApply,
  SafeWeakMap,
  StringPrototypeSlice,
  TypedArrayPrototypeGetByteLength,
  TypedArrayPrototypeSlice,
  TypeError,
} = primordials;
const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const {
  createReadableByteStream,
  isReadableStreamDisturbed,
  isReadableStreamLocked,
  ReadableStreamPrototype,
} = core.loadExtScript("ext:deno_web/06_streams.js");
const { InnerBody } = core.loadExtScript("ext:deno_fetch/22_body.js");

export const USED_TWICE =
  "Body has already been used. It can only be used once. Use tee() first if you need to read it twice.";

const BODY_TEXTS = [
  ["Body already consumed", USED_TWICE],
  ["Cannot convert value to Uint8Array while consuming the stream", "This ReadableStream did not return bytes."],
  ["Missing content type", "Parsing a Body as FormData requires a Content-Type header."],
  [
    "Body can not be decoded as form data",
    "Unrecognized Content-Type header value. FormData can only parse the following MIME types: multipart/form-data, application/x-www-form-urlencoded",
  ],
  [
    "Cannot construct MultipartParser: multipart/form-data must provide a boundary",
    "No boundary string in Content-Type header. The multipart/form-data MIME type requires a boundary parameter, e.g. 'Content-Type: multipart/form-data; boundary=\"abcd\"'. See RFC 7578, section 4.",
  ],
];
export const CLONE_TEXTS = [["Body is unusable", "This ReadableStream is currently locked to a reader,"]];

export function isReadableStream(value) {
  return ObjectPrototypeIsPrototypeOf(ReadableStreamPrototype, value);
}

// ---- bodies as streams

/** Byte lengths of streams that know theirs. @type {WeakMap<ReadableStream, number>} */
export const knownLengths = new SafeWeakMap();

/** What the unread stream of a text or of bytes will give. @type {WeakMap<ReadableStream, Uint8Array>} */
const bytesOfStreams = new SafeWeakMap();

const nothing = () => {};
const nothingLater = async () => {};

/** A stream of `bytes`, which stay as they are: two bodies may share them. */
function streamOf(bytes) {
  let given = TypedArrayPrototypeGetByteLength(bytes) === 0;
  const stream = createReadableByteStream(
    nothing,
    (controller) => {
      if (!given) {
        given = true;
        controller.enqueue(TypedArrayPrototypeSlice(bytes));
        return;
      }
      controller.close();
      // A reader that brought its own buffer still waits for it.
      controller.byobRequest?.respond(0);
    },
    nothingLater,
  );
  knownLengths.set(stream, TypedArrayPrototypeGetByteLength(bytes));
  bytesOfStreams.set(stream, bytes);
  return stream;
}

// The body of a text or of bytes is a byte stream on the platform; deno's has no BYOB reader.
const { get: baseStream } = ObjectGetOwnPropertyDescriptor(InnerBody.prototype, "stream");
ObjectDefineProperty(InnerBody.prototype, "stream", {
  __proto__: null,
  get() {
    const held = this.streamOrStatic;
    if (!isReadableStream(held) && !held.consumed) {
      this.streamOrStatic = streamOf(typeof held.body === "string" ? core.encode(held.body) : held.body);
    }
    return ReflectApply(baseStream, this, []);
  },
  configurable: true,
});

// `new Response(other.body, other)` is how headers are changed: the unread body of `other` is taken as the
// bytes it is, not pumped through a stream. deno_fetch's Response keeps this converter when it is loaded,
// so this file comes first.
const toBody = webidl.converters["BodyInit_DOMString?"];
webidl.converters["BodyInit_DOMString?"] = (value, ...rest) => {
  if (typeof value === "string" || !isReadableStream(value)) return toBody(value, ...rest);
  checkStream(value);
  // Somebody else's is not taken along unseen.
  return isForeign(homeOf(value)) ? value : bytesOfStreams.get(value) ?? value;
};

/** Throws if `stream` cannot become a body. */
export function checkStream(stream) {
  if (isReadableStreamDisturbed(stream)) {
    throw new TypeError(
      "This ReadableStream is disturbed (has already been read from), and cannot be used as a body.",
    );
  }
  if (isReadableStreamLocked(stream)) {
    throw new TypeError("This ReadableStream is locked to a reader, and cannot be used as a body.");
  }
}

// ---- reading

async function read(body, self, method) {
  requireOwnBody(self, body);
  const stream = body?.streamOrStatic;
  if (isReadableStream(stream) && isReadableStreamLocked(stream) && !isReadableStreamDisturbed(stream)) {
    throw new TypeError("This ReadableStream is currently locked to a reader.");
  }
  try {
    return await ReflectApply(method, self, []);
  } catch (error) {
    throw reworded(error, BODY_TEXTS);
  }
}

async function readText(body, self, method) {
  const text = await read(body, self, method);
  return text[0] === "\ufeff" ? StringPrototypeSlice(text, 1) : text;
}

/**
 * Lays the platform's ways to read a body over those of `prototype`.
 * @param {(object: any) => any} innerOf the inner request or response; undefined for anything else
 */
export function overrideReaders(prototype, innerOf) {
  const { arrayBuffer, blob, bytes, formData, text } = prototype;
  override(prototype, {
    arrayBuffer() {
      return read(innerOf(this)?.body, this, arrayBuffer);
    },
    blob() {
      return read(innerOf(this)?.body, this, blob);
    },
    bytes() {
      return read(innerOf(this)?.body, this, bytes);
    },
    formData() {
      return read(innerOf(this)?.body, this, formData);
    },
    async json() {
      return JSONParse(await readText(innerOf(this)?.body, this, text));
    },
    text() {
      return readText(innerOf(this)?.body, this, text);
    },
  });
  const { get: getBody } = ObjectGetOwnPropertyDescriptor(prototype, "body");
  override(prototype, {
    get body() {
      const stream = ReflectApply(getBody, this, []);
      // The stream of a text or of bytes, made just now.
      if (stream !== null && homeOf(stream) === undefined && bytesOfStreams.has(stream)) giveTo(stream, homeOf(this));
      return stream;
    },
  });
  delete prototype.textStream;
}
