// Socket pairs and sockets: shape, members, states, accepting, event objects.
import { answer, show, thrown, wait } from "./probe.js";

const pair = () => Object.values(new WebSocketPair());
const open = (options) => pair().map((socket) => { socket.accept(options); return socket; });
const within = (promise, ms = 2000) => Promise.race([promise, wait(ms).then(() => "<nothing>")]);
const next = (socket, type = "message") => within(new Promise((done) => socket.addEventListener(type, done, { once: true })));
const state = (s) => [s.readyState, s.url, s.protocol, s.extensions, s.binaryType, s.bufferedAmount];
const names = (object) => Object.getOwnPropertyNames(object).sort();
const kinds = (object) => Object.fromEntries(Object.entries(Object.getOwnPropertyDescriptors(object)).sort().map(([name, d]) => [name, "value" in d ? typeof d.value : `get${d.set ? " set" : ""}`]));
const CONSTANTS = ["CONNECTING", "OPEN", "CLOSING", "CLOSED", "READY_STATE_CONNECTING", "READY_STATE_OPEN", "READY_STATE_CLOSING", "READY_STATE_CLOSED"];

const probes = {
  pairShape: () => { const p = new WebSocketPair(); return [Object.keys(p), Reflect.ownKeys(p), Object.prototype.toString.call(p), p.constructor === WebSocketPair, p[0] === p[1], p[0] === p[0], show(p[2]), show(p.length)]; },
  pairIteration: () => { const p = new WebSocketPair(); const [a, b, ...more] = p; return [a === p[0], b === p[1], more.length, [...p].length, Object.values(p)[1] === b, Object.entries(p).map(([key]) => key)]; },
  pairIterator: () => { const i = new WebSocketPair()[Symbol.iterator](); return [i[Symbol.iterator]() === i, i.next().value instanceof WebSocket, i.next().done, show(i.next())]; },
  pairIteratorTag: () => Object.prototype.toString.call(new WebSocketPair()[Symbol.iterator]()),
  pairMembers: () => [kinds(WebSocketPair.prototype), names(WebSocketPair), WebSocketPair.name, WebSocketPair.length],
  pairIndexes: () => ["0", "1"].map((key) => { const d = Object.getOwnPropertyDescriptor(new WebSocketPair(), key); return [typeof d.value, d.writable, d.enumerable, d.configurable]; }),
  pairWithoutNew: () => thrown(() => WebSocketPair()),
  pairWithArguments: () => Object.keys(new WebSocketPair(1, {})),
  pairSubclass: () => { class Mine extends WebSocketPair {} const p = new Mine(); return [p instanceof Mine, Object.keys(p), Object.prototype.toString.call(p)]; },
  stringify: () => [JSON.stringify(pair()[0]), JSON.stringify(new WebSocketPair())],
  socketShape: () => { const [a] = pair(); return [Reflect.ownKeys(a), Object.prototype.toString.call(a), a.constructor === WebSocket, a instanceof EventTarget, WebSocket.length, WebSocket.name]; },
  socketMembers: () => kinds(WebSocket.prototype),
  constructorMembers: () => names(WebSocket),
  constructorParent: () => [Object.getPrototypeOf(WebSocket) === EventTarget, Object.getPrototypeOf(WebSocket.prototype) === EventTarget.prototype],
  constants: () => { const [a] = pair(); return CONSTANTS.map((name) => [name, show(WebSocket[name]), show(a[name])]); },
  constantDescriptor: () => Object.getOwnPropertyDescriptor(WebSocket, "OPEN"),
  methodLengths: () => ["accept", "send", "close", "serializeAttachment", "deserializeAttachment"].map((name) => [name, WebSocket.prototype[name].length, WebSocket.prototype[name].name]),
  globals: () => ["WebSocket", "WebSocketPair", "MessageEvent", "CloseEvent", "ErrorEvent"].map((name) => typeof globalThis[name]),

  freshState: () => pair().map(state),
  acceptedState: () => open().map(state),
  oneAccepted: () => { const [a, b] = pair(); a.accept(); return [state(a), state(b)]; },
  closedState: () => { const [a, b] = open(); a.close(1000); return [state(a), state(b)]; },
  setReadyState: () => { const [a] = pair(); return [thrown(() => { a.readyState = 5; }), a.readyState]; },
  detachedMethods: () => { const [a] = pair(); const { send, accept } = a; return [thrown(() => send("x"))[0], thrown(() => accept())[0], thrown(() => WebSocket.prototype.readyState)[0]]; },
  bufferedAmount: () => { const [a, b] = pair(); a.accept(); a.send("12345"); const one = a.bufferedAmount; a.send("\u00e9"); const two = a.bufferedAmount; a.send(new Uint8Array(10)); return [one, two, a.bufferedAmount, b.bufferedAmount]; },
  bufferedAmountAfterArrival: async () => { const [a, b] = open(); const message = next(b); a.send("12345"); await message; await wait(10); return a.bufferedAmount; },
  bufferedAmountUnaccepted: async () => { const [a] = pair(); a.accept(); a.send("12345"); await wait(10); return a.bufferedAmount; },
  acceptReturns: () => show(pair()[0].accept()),
  acceptTwice: async () => { const [a, b] = open(); const result = show(b.accept()); const message = next(b); a.send("once"); return [result, (await message).data]; },
  acceptOptions: () => [{}, null, undefined, { allowHalfOpen: true }, { allowHalfOpen: "x" }, { other: 1 }, () => 1].map((options) => thrown(() => pair()[0].accept(options))),
  acceptBadOptions: () => [5, "text", true].map((options) => thrown(() => pair()[0].accept(options))),
  sendBeforeAccept: () => thrown(() => pair()[0].send("x")),
  sendBeforeOwnAccept: () => { const [a, b] = pair(); a.accept(); return thrown(() => b.send("x")); },
  sendBeforeOtherAccept: () => { const [a] = pair(); a.accept(); return thrown(() => a.send("x")); },
  openEvent: async () => { const [a] = pair(); let seen = "nothing"; a.addEventListener("open", () => { seen = "open"; }); a.onopen = () => { seen = "onopen"; }; a.accept(); await wait(10); return seen; },
  attachment: () => { const [a, b] = pair(); const before = a.deserializeAttachment(); a.serializeAttachment({ n: 1 }); return [before, a.deserializeAttachment(), b.deserializeAttachment()]; },

  dispatched: () => { const [a] = pair(); const seen = []; a.addEventListener("message", (event) => seen.push([event.data, event.target === a])); return [a.dispatchEvent(new MessageEvent("message", { data: { any: 1 } })), seen]; },
  messageEvent: async () => { const [a, b] = open(); const message = next(b); a.send("x"); const e = await message; return { tag: Object.prototype.toString.call(e), event: e instanceof MessageEvent && e instanceof Event, type: e.type, data: e.data, origin: show(e.origin), lastEventId: show(e.lastEventId), source: show(e.source), ports: show(e.ports), target: e.target === b, srcElement: e.srcElement === b, bubbles: e.bubbles, cancelable: e.cancelable, composed: e.composed, eventPhase: e.eventPhase, timeStamp: typeof e.timeStamp }; },
  messageEventInside: async () => { const [a, b] = open(); const seen = within(new Promise((done) => b.addEventListener("message", (e) => done([e.target === b, e.currentTarget === b, e.eventPhase, e.composedPath().length === 1 && e.composedPath()[0] === b])))); a.send("x"); return seen; },
  messageEventAfterwards: async () => { const [a, b] = open(); const message = next(b); a.send("x"); const e = await message; await wait(5); return [e.currentTarget === b, e.composedPath().length]; },
  closeEvent: async () => { const [a, b] = open(); const closed = next(b, "close"); a.close(3000, "r"); const e = await closed; return { tag: Object.prototype.toString.call(e), event: e instanceof CloseEvent && e instanceof Event, type: e.type, code: e.code, reason: e.reason, wasClean: e.wasClean, target: e.target === b, bubbles: e.bubbles, cancelable: e.cancelable }; },
  errorEvent: async () => { const [a, b] = open(); const failed = next(b, "error"); const why = new RangeError("why"); b.addEventListener("message", () => { throw why; }); a.send("x"); const e = await failed; return { tag: Object.prototype.toString.call(e), event: e instanceof ErrorEvent && e instanceof Event, type: e.type, message: e.message, same: e.error === why, filename: e.filename, lineno: e.lineno, colno: e.colno, target: e.target === b, bubbles: e.bubbles, cancelable: e.cancelable }; },
  isTrusted: async () => { const [a, b] = open(); const message = next(b); const closed = next(b, "close"); a.send("x"); a.close(); return [(await message).isTrusted, (await closed).isTrusted]; },
  ownKeysOfEvents: async () => { const [a, b] = open(); const message = next(b); const closed = next(b, "close"); a.send("x"); a.close(); return [Reflect.ownKeys(await message), Reflect.ownKeys(await closed)]; },
  eventMembers: () => [MessageEvent, CloseEvent, ErrorEvent].map((type) => kinds(type.prototype)),
  eventDefaults: () => [thrown(() => { const e = new MessageEvent("m"); return [e.data, e.origin, e.lastEventId, e.source, e.ports, e.isTrusted]; }), thrown(() => { const e = new CloseEvent("c"); return [e.code, e.reason, e.wasClean]; }), thrown(() => { const e = new ErrorEvent("e"); return [e.message, e.filename, e.lineno, e.colno, e.error]; })],
  eventsWithoutType: () => [thrown(() => new MessageEvent()), thrown(() => new CloseEvent()), thrown(() => new ErrorEvent())],
};
export default { fetch: () => answer(probes) };
