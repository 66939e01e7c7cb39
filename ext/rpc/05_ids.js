// Durable Object ids.
// API: https://developers.cloudflare.com/durable-objects/api/id/

const kKey = Symbol("key");

export class DurableObjectId {
  #hex;
  constructor(key, hex, name) {
    if (key !== kKey) throw new TypeError("Illegal constructor");
    this.#hex = hex;
    this.jurisdiction = undefined;
    this.name = name;
  }
  toString() {
    return this.#hex;
  }
  equals(other) {
    if (!(other instanceof DurableObjectId)) {
      throw new TypeError(
        "Failed to execute 'equals' on 'DurableObjectId': parameter 1 is not of type 'DurableObjectId'.",
      );
    }
    return this.#hex === other.#hex;
  }
}
Object.defineProperty(DurableObjectId.prototype, Symbol.toStringTag, { value: "DurableObjectId" });

export function makeId(hex, name) {
  return new DurableObjectId(kKey, hex, name ?? undefined);
}
