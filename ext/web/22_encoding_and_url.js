// Base64, TextDecoder, URL and structuredClone as the platform has them.
// API: https://developers.cloudflare.com/workers/runtime-apis/encoding/, .../web-standards/

import { core, primordials } from "ext:core/mod.js";
import { requireNew, reworded, takeOver } from "ext:facetd_rpc/16_overlay.js";

const {
  ArrayBufferIsView,
  ArrayIsArray,
  ArrayPrototypeIncludes,
  ArrayPrototypePush,
  DataViewPrototypeGetBuffer,
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptor,
  ObjectPrototypeIsPrototypeOf,
  RangeError,
  RangeErrorPrototype,
  ReflectApply,
  ReflectConstruct,
  ReflectOwnKeys,
  TypedArrayPrototypeGetBuffer,
  TypeError,
} = primordials;
const base64 = core.loadExtScript("ext:deno_web/05_base64.js");
const encoding = core.loadExtScript("ext:deno_web/08_text_encoding.js");
const { URL: BaseURL } = core.loadExtScript("ext:deno_web/00_url.js");
const { DOMException, DOMExceptionPrototype } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { isDetachedBuffer } = core.loadExtScript("ext:deno_web/06_streams.js");
const { structuredClone: clone } = core.loadExtScript("ext:deno_web/02_structured_clone.js");

/** Throws for an argument that is missing from a call of a global function. */
function wrongArgument(name, number, type) {
  return new TypeError(
    `Failed to execute '${name}' on 'ServiceWorkerGlobalScope': parameter ${number} is not of type '${type}'.`,
  );
}

// ---- base64

const WIDE = "btoa() can only operate on characters in the Latin1 (ISO/IEC 8859-1) range.";
const NOT_BASE64 =
  "atob() called with invalid base64-encoded data. (Only whitespace, '+', '/', alphanumeric ASCII, and up to two terminal '=' signs when the input data length is divisible by 4 are allowed.)";

function convert(run, text, refusal) {
  try {
    return run(text);
  } catch (error) {
    if (!ObjectPrototypeIsPrototypeOf(DOMExceptionPrototype, error)) throw error;
    throw new DOMException(refusal, "InvalidCharacterError");
  }
}

export function atob(data) {
  if (arguments.length === 0) throw wrongArgument("atob", 1, "string");
  return convert(base64.atob, data, NOT_BASE64);
}

export function btoa(data) {
  if (arguments.length === 0) throw wrongArgument("btoa", 1, "String");
  return convert(base64.btoa, data, WIDE);
}

// ---- decoders

function decoder(Base, label, args, newTarget) {
  try {
    return ReflectConstruct(Base, args, newTarget);
  } catch (error) {
    if (!ObjectPrototypeIsPrototypeOf(RangeErrorPrototype, error)) throw error;
    throw new RangeError(`"${label}" is not a valid encoding.`);
  }
}

export function TextDecoder(label = "utf-8", _options = undefined) {
  requireNew(new.target, "TextDecoder");
  return decoder(encoding.TextDecoder, label, arguments, new.target);
}
takeOver(TextDecoder, encoding.TextDecoder);

export function TextDecoderStream(label = "utf-8", _options = undefined) {
  requireNew(new.target, "TextDecoderStream");
  return decoder(encoding.TextDecoderStream, label, arguments, new.target);
}
takeOver(TextDecoderStream, encoding.TextDecoderStream);

// ---- URL

const URL_TEXTS = [["Invalid URL", "Invalid URL string."]];

/** `(url, base)`; its `length` is 0 on the platform. */
export function URL() {
  requireNew(new.target, "URL");
  try {
    return ReflectConstruct(BaseURL, arguments, new.target);
  } catch (error) {
    throw reworded(error, URL_TEXTS);
  }
}
takeOver(URL, BaseURL);
for (const key of ReflectOwnKeys(BaseURL)) {
  if (!ArrayPrototypeIncludes(["length", "name", "prototype"], key)) {
    ObjectDefineProperty(URL, key, { __proto__: null, ...ObjectGetOwnPropertyDescriptor(BaseURL, key) });
  }
}

// ---- structuredClone

/** The ArrayBuffers of `options.transfer`, which are all that can be transferred. */
function transferOf(options) {
  const buffers = [];
  if (options === undefined || options === null) return buffers;
  if (typeof options !== "object" && typeof options !== "function") {
    throw wrongArgument("structuredClone", 2, "StructuredCloneOptions");
  }
  const { transfer } = options;
  if (transfer === undefined) return buffers;
  if (!ArrayIsArray(transfer)) {
    throw new TypeError(
      "Incorrect type for the 'transfer' field on 'StructuredCloneOptions': the provided value is not of type 'Array'.",
    );
  }
  for (let i = 0; i < transfer.length; i++) {
    const buffer = transfer[i];
    if (!core.isArrayBuffer(buffer) || isDetachedBuffer(buffer)) throw new TypeError("Object is not transferable");
    if (!ArrayPrototypeIncludes(buffers, buffer)) ArrayPrototypePush(buffers, buffer);
  }
  return buffers;
}

// Taken before user code can replace it.
const { transfer: detach } = ArrayBuffer.prototype;

const { get: resizable } = ObjectGetOwnPropertyDescriptor(ArrayBuffer.prototype, "resizable");

/** Is `value` a resizable buffer or a view of one? The quick way to copy bytes would make it a fixed one. */
function isResizable(value) {
  if (core.isArrayBuffer(value)) return ReflectApply(resizable, value, []);
  return ArrayBufferIsView(value) && isResizable(bufferOf(value));
}

function bufferOf(view) {
  return core.isDataView(view) ? DataViewPrototypeGetBuffer(view) : TypedArrayPrototypeGetBuffer(view);
}

export function structuredClone(value, options = undefined) {
  if (arguments.length === 0) throw wrongArgument("structuredClone", 1, "Value");
  const transferred = transferOf(options);
  const copy = isResizable(value) ? core.structuredClone(value) : clone(value);
  // Nothing tells a buffer that moved from one that was copied and emptied.
  for (let i = 0; i < transferred.length; i++) ReflectApply(detach, transferred[i], []);
  return copy;
}
