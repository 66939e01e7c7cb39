// A value as JSON that keeps what JSON loses: types, -0 and NaN, holes, order, identity.

/**
 * @param {unknown} value
 * @returns {Promise<object>} equal for equal values, in every runtime; a repeated object appears as `{same: N}`, N counted from 0 in order of first visit
 */
export function describe(value, seen = new Map()) {
  return isObject(value) ? describeObject(value, seen) : Promise.resolve(describePrimitive(value));
}

const isObject = (value) => value !== null && typeof value === "object";

function describePrimitive(value) {
  switch (typeof value) {
    case "number":
      return { number: Object.is(value, -0) ? "-0" : String(value) };
    case "bigint":
      return { bigint: String(value) };
    case "string":
      return { string: textOf(value) };
    case "undefined":
      return { undefined: true };
    case "boolean":
      return { boolean: value };
    default:
      return value === null ? { null: true } : { unexpected: typeof value };
  }
}

/** Long texts by length and ends; lone surrogates spelt out, as JSON on the wire would lose them. */
function textOf(text) {
  const safe = text.isWellFormed() ? text : JSON.stringify(text);
  return safe.length > 200 ? `${safe.slice(0, 20)}...${safe.slice(-20)} (${safe.length})` : safe;
}

async function describeObject(value, seen) {
  if (seen.has(value)) return { same: seen.get(value) };
  seen.set(value, seen.size);
  const type = Object.prototype.toString.call(value).slice(8, -1);
  const form = { type, ...(await contentOf(value, type, seen)) };
  // A class, if the runtime kept one where a plain object is due (or the reverse).
  const made = Object.getPrototypeOf(value)?.constructor?.name;
  if (made !== type) form.constructor = made;
  return form;
}

async function contentOf(value, type, seen) {
  switch (type) {
    case "Date":
      return { ms: String(value.getTime()) };
    case "RegExp":
      return { source: value.source, flags: value.flags };
    case "Number":
    case "String":
    case "Boolean":
    case "BigInt":
      return { value: describePrimitive(value.valueOf()) };
    case "Map":
      return { entries: await inOrder([...value], (entry) => inOrder(entry, (part) => describe(part, seen))) };
    case "Set":
      return { members: await inOrder([...value], (part) => describe(part, seen)) };
    case "ArrayBuffer":
      return { bytes: hex(new Uint8Array(value)) };
    case "Error":
      return {
        name: value.name, message: value.message, stack: value.stack,
        ...(await properties(value, seen, ["stack", "cause"])),
        ...("cause" in value && { cause: await describe(value.cause, seen) }),
      };
    case "Headers":
      return { entries: [...value].filter(([key]) => key !== "set-cookie"), setCookie: value.getSetCookie() };
    case "Blob":
      return { mime: value.type, size: value.size, bytes: hex(new Uint8Array(await value.arrayBuffer())) };
    case "Request":
      return { url: value.url, method: value.method, redirect: value.redirect, headers: [...value.headers], body: value.body === null ? null : "some" };
    case "Array":
      return { length: value.length, ...(await properties(value, seen)) };
    case "Object":
      return properties(value, seen);
    default:
      if (ArrayBuffer.isView(value)) {
        return { at: value.byteOffset, bytes: hex(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)), buffer: await describe(value.buffer, seen) };
      }
      return { unexpected: true };
  }
}

/** Own properties as a list: order counts, and so do holes (an absent index). */
async function properties(value, seen, except = []) {
  const keys = Object.keys(value).filter((key) => !except.includes(key));
  return { properties: await inOrder(keys, async (key) => [key, await describe(value[key], seen)]) };
}

/** One after the other: `seen` must be filled in the same order in every runtime. */
async function inOrder(items, map) {
  const results = [];
  for (const item of items) results.push(await map(item));
  return results;
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
