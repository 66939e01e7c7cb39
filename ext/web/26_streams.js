// The streams that only Workers have, and `readAtLeast`.
// API: https://developers.cloudflare.com/workers/runtime-apis/streams/

import { core, primordials } from "ext:core/mod.js";
import { override } from "ext:facetd_rpc/16_overlay.js";
import { knownLengths } from "ext:facetd_rpc/18_body.js";

const {
  ArrayBufferIsView,
  BigInt,
  MathCeil,
  Number,
  ReflectApply,
  TypeError,
  Uint8Array,
} = primordials;
const { ReadableStreamBYOBReader, TransformStream } = core.loadExtScript("ext:deno_web/06_streams.js");

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
