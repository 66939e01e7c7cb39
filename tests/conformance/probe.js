// The prelude of every conformance case; the runner puts it next to the case's `worker.js`.
//
// A probe is a function with a name. `answer` runs a set of them one after another and reports each
// result under its name, so that one process start checks many rows of the specification. Results
// are made plain JSON by `show`; what a probe throws is an answer too: {"error": [name, message, props]}.

const PROBE_TIME_MS_MAX = 20_000;

/** Own properties in workerd, getters of the prototype on the web: no case should depend on which. */
const DOM_EXCEPTION_PROPS = new Set(["code", "name", "message"]);
/** Properties left out of what `failure` shows: they hold ids, which vary or are shown on their own. */
const HIDDEN_PROPS = new Set(["durableObjectId", "stack"]);

/** What the receiver of an error can see of it: name, message, and own enumerable properties if any. */
export function failure(error) {
  if (!(error instanceof Error)) {
    if (error && typeof error === "object") delete error.durableObjectId;
    return ["thrown", show(error)];
  }
  // References of internal errors are random.
  const message = String(error.message).replace(/reference = \S+/, "reference = ?");
  const props = {};
  for (const key of Object.keys(error)) {
    if (HIDDEN_PROPS.has(key) || (error instanceof DOMException && DOM_EXCEPTION_PROPS.has(key))) continue;
    props[key] = show(error[key]);
  }
  return Object.keys(props).length ? [error.name, message, props] : [error.name, message];
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Any JS value as JSON; what JSON lacks is written as a string in angle brackets. */
export function show(value, above = []) {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (value === undefined) return "<undefined>";
  if (typeof value === "number") {
    return Number.isFinite(value) && !Object.is(value, -0) ? value : Object.is(value, -0) ? "<-0>" : `<${value}>`;
  }
  if (typeof value === "bigint") return `<bigint ${value}>`;
  if (typeof value === "symbol") return `<${String(value)}>`;
  if (typeof value === "function") return "<function>";
  if (above.includes(value)) return "<cycle>";
  const path = [...above, value];
  if (Array.isArray(value)) return Array.from(value, (item) => show(item, path));
  if (value instanceof Error) return { "<Error>": failure(value) };
  if (value instanceof Date) return `<Date ${Number.isNaN(+value) ? "invalid" : value.toISOString()}>`;
  if (value instanceof RegExp) return `<RegExp ${value}>`;
  if (value instanceof Map) return { "<Map>": Array.from(value, ([k, v]) => [show(k, path), show(v, path)]) };
  if (value instanceof Set) return { "<Set>": Array.from(value, (item) => show(item, path)) };
  if (value instanceof ArrayBuffer) return `<ArrayBuffer ${hex(new Uint8Array(value))}>`;
  if (value instanceof DataView) return `<DataView ${hex(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))}>`;
  if (ArrayBuffer.isView(value)) return `<${value.constructor.name} ${Array.from(value, String).join(",")}>`;
  if (value instanceof Headers) return { "<Headers>": [...value] };
  const plain = {};
  for (const key of Object.keys(value)) plain[key] = show(value[key], path);
  const name = value.constructor?.name;
  return name === "Object" || name === undefined ? plain : { [`<${name}>`]: plain };
}

/** Runs one probe to its shown result or failure; one that takes too long is answered for. */
export async function one(probe, ...args) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve("<no answer in time>"), PROBE_TIME_MS_MAX);
  });
  try {
    return await Promise.race([(async () => show(await probe(...args)))(), late]);
  } catch (error) {
    return { error: failure(error) };
  } finally {
    clearTimeout(timer);
  }
}

/** Runs all probes in order and answers with {name: result}. */
export async function answer(probes, ...args) {
  const results = {};
  for (const name of Object.keys(probes)) results[name] = await one(probes[name], ...args);
  return Response.json(results);
}

/**
 * Runs each probe inside an object of its own (named like the probe), over `fetch`.
 * The class calls `answerInside(probes, request, this)`.
 */
export async function answerFromObjects(namespace, probes) {
  const results = {};
  for (const name of Object.keys(probes)) {
    results[name] = await Promise.resolve(namespace.getByName(name).fetch(`http://object/${encodeURIComponent(name)}`))
      .then((response) => response.json())
      .catch((error) => ({ reset: failure(error) }));
  }
  return Response.json(results);
}

/** The object's half of `answerFromObjects`: the probe gets (ctx, object). */
export async function answerInside(probes, request, object) {
  const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
  return Response.json(await one(() => probes[name](object.ctx, object)));
}

/** The failure of a call that should fail, or its shown value marked as such. Never throws. */
export async function caught(fn) {
  try {
    return { ok: show(await fn()) };
  } catch (error) {
    return failure(error);
  }
}

/** `caught` for synchronous calls: shows that an error is thrown rather than rejected. */
export function thrown(fn) {
  try {
    return { ok: show(fn()) };
  } catch (error) {
    return failure(error);
  }
}

export const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
