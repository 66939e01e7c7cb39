// The streams that only Workers have, and `readAtLeast`.
// API: https://developers.cloudflare.com/workers/runtime-apis/streams/

import { core, primordials } from "ext:core/mod.js";
import { override, requireNew, takeOver } from "ext:facetd_rpc/16_overlay.js";
import { giveTo, requireContext } from "ext:facetd_rpc/00_context.js";
import { knownLengths } from "ext:facetd_rpc/18_body.js";

const {
  ArrayBufferIsView,
  BigInt,
  MathCeil,
  Number,
  ReflectApply,
  ReflectConstruct,
  TypeError,
  Uint8Array,
} = primordials;
const { ReadableStreamBYOBReader, TransformStream } = core.loadExtScript("ext:deno_web/06_streams.js");

const compression = core.loadExtScript("ext:deno_web/14_compression.js");
const { Blob } = core.loadExtScript("ext:deno_web/09_file.js");

/** Both ends of a transformation belong to whoever made it. */
function giveBoth(transform) {
  const home = requireContext();
  giveTo(transform.readable, home);
  giveTo(transform.writable, home);
}

function compressing(name) {
  const Base = compression[name];
  const Own = {
    [name]: function (format) {
      requireNew(new.target, name);
      const made = ReflectConstruct(Base, arguments, new.target);
      giveBoth(made);
      return made;
    },
  }[name];
  takeOver(Own, Base);
  return Own;
}
export const CompressionStream = compressing("CompressionStream");
export const DecompressionStream = compressing("DecompressionStream");

const { stream } = Blob.prototype;
override(Blob.prototype, {
  stream() {
    const made = ReflectApply(stream, this, []);
    giveTo(made, requireContext());
    return made;
  },
});

function bytesOf(chunk) {
  if (typeof chunk === "string") return core.encode(chunk);
  if (core.isAnyArrayBuffer(chunk)) return new Uint8Array(chunk);
  if (ArrayBufferIsView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  throw new TypeError(
    "This TransformStream is being used as a byte stream, but received an object of non-ArrayBuffer/ArrayBufferView type on its writable side.",
  );
}

/** A byte pipe: what is written is read. */
export class IdentityTransformStream extends TransformStream {
  constructor() {
    super({
      transform(chunk, controller) {
        controller.enqueue(bytesOf(chunk));
      },
    });
    giveBoth(this);
  }
}

/** A byte pipe that knows how much will come: its length becomes the `content-length`. */
export class FixedLengthStream extends TransformStream {
  constructor(length) {
    const expected = BigInt(length);
    let seen = 0n;
    super({
      transform(chunk, controller) {
        const bytes = bytesOf(chunk);
        seen += BigInt(bytes.byteLength);
        if (seen > expected) throw new TypeError("Attempt to write too many bytes through a FixedLengthStream.");
        controller.enqueue(bytes);
      },
      flush() {
        if (seen < expected) throw new TypeError("FixedLengthStream did not see all expected bytes before close().");
      },
    });
    giveBoth(this);
    knownLengths.set(this.readable, Number(expected));
  }
}

const { read } = ReadableStreamBYOBReader.prototype;
override(ReadableStreamBYOBReader.prototype, {
  /** Waits for `min` bytes, or the end. */
  async readAtLeast(min, view) {
    if (!(min >= 1)) throw new TypeError(`Requested invalid minimum number of bytes to read (${min}).`);
    if (min > view.byteLength) {
      throw new TypeError(`Minimum bytes to read (${min}) exceeds size of buffer (${view.byteLength}).`);
    }
    const elements = MathCeil(min / (view.BYTES_PER_ELEMENT ?? 1));
    const { value, done } = await ReflectApply(read, this, [view, { min: elements }]);
    // The rest of a stream that ended too early is not the end yet: the next read is told.
    return { value, done: done && !(value?.byteLength > 0) };
  },
});
