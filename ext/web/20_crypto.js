// Web Crypto, with what Workers add to it.
// API: https://developers.cloudflare.com/workers/runtime-apis/web-crypto/

import { core } from "ext:core/mod.js";
import { requireIo } from "ext:facetd_rpc/00_context.js";

const webCrypto = core.loadExtScript("ext:deno_crypto/00_crypto.js");
const { Crypto, CryptoKey, SubtleCrypto } = webCrypto;
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

class DigestStream extends WritableStream {
  #digest;
  #written = 0n;
  constructor(algorithm) {
    const chunks = [];
    let resolve;
    let reject;
    super({
      write: (chunk) => {
        const bytes = typeof chunk === "string" ? core.encode(chunk) : bytesOf(chunk);
        chunks.push(bytes.slice());
        this.#written += BigInt(bytes.byteLength);
      },
      close: () => new Blob(chunks).arrayBuffer().then((all) => webCrypto.crypto.subtle.digest(algorithm, all)).then(resolve, reject),
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
