// Web Crypto, with what Workers add to it.
// API: https://developers.cloudflare.com/workers/runtime-apis/web-crypto/

import { core, primordials } from "ext:core/mod.js";
import { op_web_md5 } from "ext:core/ops";
import { requireIo } from "ext:facetd_rpc/00_context.js";
import { override } from "ext:facetd_rpc/16_overlay.js";

const {
  ArrayPrototypePush,
  BigInt,
  Number,
  ReflectApply,
  SafeSet,
  SetPrototypeHas,
  StringPrototypeToUpperCase,
  TypedArrayPrototypeGetBuffer,
  TypedArrayPrototypeGetByteLength,
  TypedArrayPrototypeSet,
  TypedArrayPrototypeSlice,
  TypeError,
  Uint8Array,
} = primordials;

const webCrypto = core.loadExtScript("ext:deno_crypto/00_crypto.js");
const { Crypto, CryptoKey, SubtleCrypto } = webCrypto;
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { WritableStream } = core.loadExtScript("ext:deno_web/06_streams.js");

// Random values are I/O: none at top level, where every isolate must come out the same.
for (const name of ["getRandomValues", "randomUUID"]) {
  const base = Crypto.prototype[name];
  Object.defineProperty(Crypto.prototype, name, {
    value: { [name](...args) {
      requireIo();
      return Reflect.apply(base, this, args);
    } }[name],
    configurable: true,
    enumerable: true,
    writable: true,
  });
}

function bytesOf(value) {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError("The provided value is not of type 'ArrayBuffer or ArrayBufferView'.");
}

Object.defineProperty(SubtleCrypto.prototype, "timingSafeEqual", {
  value: function timingSafeEqual(a, b) {
    const x = bytesOf(a);
    const y = bytesOf(b);
    if (x.byteLength !== y.byteLength) throw new TypeError("Input buffers must have the same byte length.");
    let difference = 0;
    for (let i = 0; i < x.length; i++) difference |= x[i] ^ y[i];
    return difference === 0;
  },
  configurable: true,
  enumerable: true,
  writable: true,
});

// MD5 is for those who have to match what others compute: Web Crypto has none.
const UNKNOWN_DIGEST = "Unrecognized or unimplemented digest algorithm requested.";
const DIGESTS = new SafeSet(["MD5", "SHA-1", "SHA-256", "SHA-384", "SHA-512"]);
const baseDigest = SubtleCrypto.prototype.digest;

function digestName(algorithm) {
  const name = typeof algorithm === "object" && algorithm !== null ? algorithm.name : algorithm;
  return StringPrototypeToUpperCase(`${name}`);
}

async function digest(subtle, algorithm, data) {
  const name = digestName(algorithm);
  if (!SetPrototypeHas(DIGESTS, name)) throw new DOMException(UNKNOWN_DIGEST, "NotSupportedError");
  if (name === "MD5") return TypedArrayPrototypeGetBuffer(op_web_md5(bytesOf(data)));
  return ReflectApply(baseDigest, subtle, [name, data]);
}

override(SubtleCrypto.prototype, {
  digest(algorithm, data) {
    return digest(this, algorithm, data);
  },
});

/** One array of all `chunks`. */
function joined(chunks, length) {
  const all = new Uint8Array(length);
  let at = 0;
  for (let i = 0; i < chunks.length; i++) {
    TypedArrayPrototypeSet(all, chunks[i], at);
    at += TypedArrayPrototypeGetByteLength(chunks[i]);
  }
  return all;
}

class DigestStream extends WritableStream {
  #digest;
  #written = 0n;
  constructor(algorithm) {
    if (algorithm === undefined || algorithm === null) {
      throw new TypeError(
        "Failed to construct 'DigestStream': constructor parameter 1 is not of type 'string or HashAlgorithm'.",
      );
    }
    const name = digestName(algorithm);
    if (!SetPrototypeHas(DIGESTS, name)) throw new DOMException(UNKNOWN_DIGEST, "NotSupportedError");
    const chunks = [];
    let resolve;
    let reject;
    super({
      write: (chunk) => {
        const bytes = typeof chunk === "string" ? core.encode(chunk) : TypedArrayPrototypeSlice(bytesOf(chunk));
        ArrayPrototypePush(chunks, bytes);
        this.#written += BigInt(TypedArrayPrototypeGetByteLength(bytes));
      },
      close: async () => {
        try {
          resolve(await digest(webCrypto.crypto.subtle, name, joined(chunks, Number(this.#written))));
        } catch (error) {
          reject(error);
        }
      },
      abort: (reason) => reject(reason),
    });
    this.#digest = new Promise((yes, no) => {
      resolve = yes;
      reject = no;
    });
    this.#digest.catch(() => {});
  }
  get digest() {
    return this.#digest;
  }
  get bytesWritten() {
    return this.#written;
  }
}
Object.defineProperty(Crypto.prototype, "DigestStream", {
  value: DigestStream,
  configurable: true,
  enumerable: true,
  writable: true,
});

/** Made when the isolate starts: it cannot be part of the snapshot. */
export function makeCrypto() {
  return webCrypto.crypto;
}

export { Crypto, CryptoKey, SubtleCrypto };
