// Messages between the ends of a pair: what can be sent, as what it arrives, order, handlers.
import { answer, show, thrown, wait } from "./probe.js";

const pair = () => Object.values(new WebSocketPair());
const open = () => pair().map((socket) => { socket.accept(); return socket; });
const within = (promise, ms = 2000) => Promise.race([promise, wait(ms).then(() => "<nothing>")]);
const next = (socket, type = "message") => within(new Promise((done) => socket.addEventListener(type, done, { once: true })));
const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
const shown = async (data) => (data instanceof Blob ? ["Blob", data.type, hex(await data.arrayBuffer())] : show(data));
/** The data of the next `count` messages. */
const data = (socket, count) => {
  const seen = [];
  return within(new Promise((done) => socket.addEventListener("message", (event) => { if (seen.push(event.data) === count) done(Promise.all(seen.map(shown))); })));
};
/** What arrives at the other end when `value` is sent, with the other end's `binaryType`. */
const sent = async (value, binaryType) => {
  const [a, b] = open();
  if (binaryType !== undefined) b.binaryType = binaryType;
  const message = next(b);
  const refused = thrown(() => a.send(value));
  return Array.isArray(refused) ? refused : shown((await message).data);
};
/** Sets up the receiving end, sends one message, and answers with what was noted. */
const noted = async (setUp) => {
  const [a, b] = open();
  const seen = [];
  setUp(b, (what) => { seen.push(show(what)); });
  const message = next(b);
  a.send("x");
  await message;
  await wait(5);
  return seen;
};
const bytes = () => new Uint8Array([1, 2, 3, 4]);

const probes = {
  sendString: () => sent("text \u00e9 \u{1f600} \0"),
  sendLoneSurrogate: async () => Array.from(await sent("a\ud800b"), (c) => c.codePointAt(0)),
  sendNumber: () => sent(-0.5),
  sendNaN: () => sent(NaN),
  sendBigInt: () => sent(5n),
  sendBoolean: () => sent(true),
  sendNull: () => sent(null),
  sendUndefined: () => sent(undefined),
  sendNothing: () => thrown(() => open()[0].send()),
  sendObject: () => sent({ a: 1 }),
  sendArray: () => sent([1, [2, 3], "x"]),
  sendToString: () => sent({ toString: () => "own text" }),
  sendToPrimitive: () => sent({ [Symbol.toPrimitive]: (hint) => `hint ${hint}` }),
  sendThrowingToString: () => sent({ toString() { throw new RangeError("no text"); } }),
  sendSymbol: () => sent(Symbol("s")),
  sendNullPrototype: () => sent(Object.create(null)),
  sendFunction: () => sent(function named() {}),
  sendBlob: () => sent(new Blob(["abc"])),
  sendFormData: () => sent(new FormData()),
  sendParams: () => sent(new URLSearchParams({ a: "1" })),
  sendExtraArgument: async () => { const [a, b] = open(); const message = data(b, 1); a.send("x", "y"); return message; },
  sendReturns: () => show(open()[0].send("x")),
  sendBuffer: () => sent(bytes().buffer),
  sendView: () => sent(bytes().subarray(1, 3)),
  sendWideView: () => sent(new Uint16Array([0x0102, 0x0304, 0x0506]).subarray(1, 2)),
  sendFloats: () => sent(new Float64Array([1])),
  sendDataView: () => sent(new DataView(bytes().buffer, 2)),
  sendClamped: () => sent(new Uint8ClampedArray([300, -1])),
  sendSharedView: () => sent(new Uint8Array(new SharedArrayBuffer(2))),
  sendShared: () => sent(new SharedArrayBuffer(2)),
  sendResizable: () => sent(new ArrayBuffer(2, { maxByteLength: 8 })),
  sendDetached: () => { const buffer = new ArrayBuffer(4); structuredClone(buffer, { transfer: [buffer] }); return sent(buffer); },
  sendEmptyText: () => sent(""),
  sendEmptyBuffer: () => sent(new ArrayBuffer(0)),
  sendKeepsBuffer: async () => { const [a, b] = open(); const message = data(b, 1); const view = bytes(); a.send(view); return [view.byteLength, await message]; },
  sendCopiesBuffer: async () => { const [a, b] = open(); const message = data(b, 1); const view = bytes(); a.send(view); view[0] = 99; return message; },
  large: async () => { const [a, b] = open(); const message = next(b); a.send("x".repeat(1 << 20)); return (await message).data.length; },
  largeBinary: async () => { const [a, b] = open(); const message = next(b); a.send(new Uint8Array(1 << 20).fill(7)); const blob = (await message).data; return [blob.size, new Uint8Array(await blob.arrayBuffer()).every((byte) => byte === 7)]; },

  binaryBlob: () => sent(bytes(), "blob"),
  binaryArrayBuffer: () => sent(bytes(), "arraybuffer"),
  binaryEmptyArrayBuffer: () => sent(new Uint8Array(0), "arraybuffer"),
  binaryTextUnchanged: () => sent("text", "arraybuffer"),
  binaryTypeInvalid: () => { const [a] = pair(); a.binaryType = "arraybuffer"; return ["Blob", "", "text", null, undefined, 5].map((value) => [thrown(() => { a.binaryType = value; }), a.binaryType]); },
  binaryTypeToString: () => { const [a] = pair(); a.binaryType = { toString: () => "arraybuffer" }; return a.binaryType; },
  binaryTypeSet: () => { const [a] = pair(); a.binaryType = "arraybuffer"; const one = a.binaryType; a.accept(); const two = a.binaryType; a.binaryType = "blob"; return [one, two, a.binaryType]; },
  binaryTypeIsPerEnd: () => { const [a, b] = open(); a.binaryType = "arraybuffer"; return [a.binaryType, b.binaryType]; },
  binaryTypeOfSender: async () => { const [a, b] = open(); a.binaryType = "arraybuffer"; const message = data(b, 1); a.send(bytes()); return message; },
  binaryTypeAfterSend: async () => { const [a, b] = open(); const message = data(b, 1); a.send(bytes()); b.binaryType = "arraybuffer"; return message; },
  binaryTypeBetweenMessages: async () => { const [a, b] = open(); const both = data(b, 2); b.addEventListener("message", () => { b.binaryType = "arraybuffer"; }); a.send(bytes()); a.send(bytes()); return both; },
  binaryDataIsOneObject: async () => { const [a, b] = open(); const message = next(b); a.send(bytes()); const e = await message; return e.data === e.data; },

  order: async () => { const [a, b] = open(); b.binaryType = "arraybuffer"; const all = data(b, 5); a.send("1"); a.send(new Uint8Array([2])); a.send("3"); a.send(""); a.send("5"); return all; },
  orderOfMany: async () => { const [a, b] = open(); const all = data(b, 1000); for (let i = 0; i < 1000; i++) a.send(i); return (await all).every((value, at) => value === String(at)); },
  bothWays: async () => { const [a, b] = open(); const [atA, atB] = [data(a, 2), data(b, 2)]; a.send("a1"); b.send("b1"); a.send("a2"); b.send("b2"); return [await atA, await atB]; },
  pingPong: async () => { const [a, b] = open(); b.addEventListener("message", (event) => b.send(Number(event.data) + 1)); a.addEventListener("message", (event) => { if (Number(event.data) < 5) a.send(event.data); }); const all = data(a, 5); a.send("0"); return all; },
  notDeliveredAtOnce: () => { const [a, b] = open(); const seen = []; b.addEventListener("message", (event) => { seen.push(event.data); }); a.send("x"); return seen; },
  microtasksBetween: async () => { const [a, b] = open(); const seen = []; b.addEventListener("message", ({ data }) => { seen.push(data); queueMicrotask(() => seen.push(`after ${data}`)); }); const both = data(b, 2); a.send("1"); a.send("2"); await both; await wait(5); return seen; },
  handlersOverlap: async () => { const [a, b] = open(); const seen = []; b.addEventListener("message", async ({ data }) => { seen.push(`begin ${data}`); await wait(20); seen.push(`end ${data}`); }); const both = data(b, 2); a.send("1"); a.send("2"); await both; await wait(50); return seen; },
  bufferedBeforeAccept: async () => { const [a, b] = pair(); a.accept(); a.send("1"); a.send("2"); await wait(5); const all = data(b, 3); b.accept(); a.send("3"); return all; },
  listenerAfterAccept: async () => { const [a, b] = open(); a.send("1"); return data(b, 1); },
  listenerInMicrotask: async () => { const [a, b] = open(); a.send("1"); await null; return data(b, 1); },
  listenerTooLate: async () => { const [a, b] = open(); a.send("missed"); await wait(20); const all = data(b, 1); a.send("seen"); return all; },
  notToSender: async () => { const [a, b] = open(); const seen = []; a.addEventListener("message", () => { seen.push("echo"); }); const message = next(b); a.send("x"); await message; await wait(5); return seen; },

  handlerDefaults: () => { const [a] = pair(); return ["onopen", "onmessage", "onclose", "onerror"].map((name) => show(a[name])); },
  handlerKept: () => { const [a] = pair(); return [() => 1, { handleEvent() {} }, null, 5].map((value) => { a.onmessage = value; return a.onmessage === value; }); },
  handlerOwnProperty: () => { const [a] = pair(); a.onmessage = () => {}; return Object.keys(a); },
  handler: () => noted((b, note) => { b.onmessage = (event) => note([event.type, event.data, event.target === b, event.currentTarget === b]); }),
  handlerThis: () => noted((b, note) => { b.onmessage = function () { note(this === b ? "socket" : this === undefined ? "undefined" : this === globalThis ? "global" : "other"); }; }),
  handlerObject: () => noted((b, note) => { b.onmessage = { handleEvent: () => note("called") }; }),
  handlerAndListeners: () => noted((b, note) => { b.addEventListener("message", () => note("listener 1")); b.onmessage = () => note("handler"); b.addEventListener("message", () => note("listener 2")); }),
  handlerReplaced: () => noted((b, note) => { b.onmessage = () => note("first"); b.onmessage = () => note("second"); }),
  handlerRemoved: () => noted((b, note) => { b.onmessage = () => note("handler"); b.onmessage = null; }),
  handlerOnClose: async () => { const [a, b] = open(); const seen = within(new Promise((done) => { b.onclose = (event) => done([event.type, event.code, event.reason]); })); a.close(3000, "r"); return seen; },
  handlerOnError: async () => { const [a, b] = open(); const seen = within(new Promise((done) => { b.onerror = (event) => done([event.type, event.message]); })); b.onmessage = () => { throw new RangeError("why"); }; a.send("x"); return seen; },
  listenerThis: () => noted((b, note) => b.addEventListener("message", function () { note(this === b); })),
  listenerObject: () => noted((b, note) => b.addEventListener("message", { handleEvent: (event) => note(event.data) })),
  listenerTwice: () => noted((b, note) => { const one = () => note("called"); b.addEventListener("message", one); b.addEventListener("message", one); }),
  listenerRemoved: () => noted((b, note) => { const one = () => note("removed"); b.addEventListener("message", one); b.removeEventListener("message", one); }),
  listenerSignal: () => noted((b, note) => { const c = new AbortController(); b.addEventListener("message", () => note("called"), { signal: c.signal }); c.abort(); }),
  listenerStops: () => noted((b, note) => { b.addEventListener("message", (event) => { note("first"); event.stopImmediatePropagation(); setTimeout(() => b.dispatchEvent(new Event("message")), 1); }, { once: true }); b.addEventListener("message", (event) => note(["second", event.data])); }),
  listenerOnce: async () => { const [a, b] = open(); let count = 0; b.addEventListener("message", () => { count++; }, { once: true }); const both = data(b, 2); a.send("1"); a.send("2"); await both; return count; },
};
export default { fetch: () => answer(probes) };
