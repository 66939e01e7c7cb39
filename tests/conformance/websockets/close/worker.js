// Closing: codes and reasons, what each end hears, states, half-open sockets, throwing handlers.
import { answer, show, thrown, wait } from "./probe.js";

const LOST = "Uncaught Error: Network connection lost.";
const pair = () => Object.values(new WebSocketPair());
/** Waits until `test()` holds, at most two seconds, and a little longer for what should not come. */
const until = async (test) => { for (let i = 0; i < 400 && !test(); i++) await wait(5); await wait(10); };
/** Notes what a socket hears; LOST after a clean close has probes of its own (`errorAfter...`). */
function listen(socket, heard = []) {
  let clean = false;
  socket.addEventListener("message", (event) => { heard.push(["message", show(event.data)]); });
  socket.addEventListener("close", (event) => { clean = event.wasClean; heard.push(["close", event.code, event.reason, event.wasClean, ...(clean ? [socket.readyState] : [])]); });
  socket.addEventListener("error", (event) => { if (!clean || event.message !== LOST) heard.push(["error", event.message, show(event.error)]); });
  return heard;
}
/** Two ends, what each hears, and `end`, which waits until both are closed (or `test` holds) and tells it all. */
function open(optionsA, optionsB = optionsA, accepted = "ab") {
  const [a, b] = pair();
  if (accepted.includes("a")) a.accept(optionsA);
  if (accepted.includes("b")) b.accept(optionsB);
  const heard = { a: listen(a), b: listen(b) };
  const states = () => [a.readyState, b.readyState];
  return { a, b, heard, states, end: async (test = () => states().every((state) => state === 3)) => { await until(test); return { a: [...heard.a], b: [...heard.b], states: states() }; } };
}
/** What comes of `close(...args)`: the error and the state then, or what both ends hear. */
async function closed(...args) {
  const { a, end } = open();
  const result = thrown(() => a.close(...args));
  return Array.isArray(result) ? [...result, a.readyState] : end();
}
const errorClass = (...args) => { try { open().a.close(...args); } catch (e) { return [e.constructor.name, e.name, e.code, e.message]; } };
/** The types of all events at both ends, in order. */
async function types(act) {
  const { a, b, states } = open();
  const seen = { a: [], b: [] };
  for (const [name, socket] of [["a", a], ["b", b]]) for (const type of ["message", "close", "error"]) socket.addEventListener(type, () => { seen[name].push(type); });
  act(a, b);
  await until(() => states().every((state) => state === 3));
  return seen;
}

const codes = {
  code1000: 1000, code1001: 1001, code1002: 1002, code1003: 1003, code1004: 1004, code1005: 1005, code1006: 1006, code1007: 1007, code1011: 1011, code1014: 1014, code1015: 1015, code1016: 1016, code2000: 2000, code2999: 2999, code3000: 3000, code4999: 4999, code5000: 5000, code65535: 65535,
  code0: 0, code999: 999, codeNegative: -1, codeNaN: NaN, codeInfinity: Infinity, codeFraction: 3000.7, codeString: "3000", codeText: "text", codeNull: null, codeTrue: true, codeObject: {}, codeOver16Bits: 65536 + 3000, codeOver32Bits: 2 ** 40, codeBigInt: 3000n,
};
const probes = {
  ...Object.fromEntries(Object.entries(codes).map(([name, code]) => [name, () => closed(code)])),
  codeSymbol: () => closed(Symbol("s")),
  codeErrorClass: () => errorClass(999),
  none: () => closed(),
  undefinedCode: () => closed(undefined),
  undefinedBoth: () => closed(undefined, undefined),
  reasonWithoutCode: () => closed(undefined, "why"),
  emptyReasonWithoutCode: () => closed(undefined, ""),
  reasonWithoutCodeErrorClass: () => errorClass(undefined, "why"),
  reasonWithNullCode: () => closed(null, "why"),
  reason: () => closed(4001, "why \u00e9"),
  reasonEmpty: () => closed(4001, ""),
  reasonNumber: () => closed(4001, 5),
  reasonNull: () => closed(4001, null),
  reasonUndefined: () => closed(4001, undefined),
  reasonObject: () => closed(4001, {}),
  reason123: () => closed(4001, "x".repeat(123)),
  reason124: () => closed(4001, "x".repeat(124)),
  reasonBytes123: () => closed(4001, "\u00e9".repeat(61) + "x"),
  reasonBytes124: () => closed(4001, "\u00e9".repeat(62)),
  reasonErrorClass: () => errorClass(4001, "x".repeat(124)),
  reasonLongBadCode: () => closed(999, "x".repeat(124)),
  reasonLongNoCode: () => closed(undefined, "x".repeat(124)),
  returns: () => show(open().a.close()),
  refusedStaysOpen: async () => { const { a, heard, end } = open(); thrown(() => a.close(999)); a.send("still here"); return end(() => heard.b.length); },

  beforeAccept: () => thrown(() => pair()[0].close()),
  beforeAcceptBadCode: () => thrown(() => pair()[0].close(999)),
  beforeAcceptLongReason: () => thrown(() => pair()[0].close(4000, "x".repeat(124))),
  otherNotAccepted: async () => { const { a, b, heard, states, end } = open(undefined, undefined, "a"); a.close(3000, "early"); const before = states(); await wait(20); const between = [states(), heard.a.length, heard.b.length]; b.accept(); return { before, between, ...(await end()) }; },
  otherNotAcceptedMessages: async () => { const { a, b, end } = open(undefined, undefined, "a"); a.send("1"); a.send("2"); a.close(3000); await wait(20); b.accept(); return end(); },
  twice: async () => { const { a, end } = open(); a.close(3000, "first"); const second = thrown(() => a.close(3001, "second")); return [second, await end()]; },
  twiceBadCode: () => { const { a } = open(); a.close(3000); return thrown(() => a.close(999)); },
  afterClosed: async () => { const { a, b, end } = open(); a.close(3000); await end(); return [thrown(() => a.close(3001)), thrown(() => b.close(3002)), await end()]; },
  acceptAfterClose: async () => { const { a, end } = open(); a.close(3000); return [thrown(() => a.accept()), await end()]; },
  sendAfterClose: () => { const { a } = open(); a.close(); return thrown(() => a.send("x")); },
  sendAfterClosed: async () => { const { a, b, end } = open(); a.close(); await end(); return [thrown(() => a.send("x")), thrown(() => b.send("x"))]; },
  sendByOtherBeforeItHears: async () => { const { a, b, end } = open(); a.close(3000); const late = thrown(() => b.send("late")); return [late, await end()]; },
  sendInCloseHandler: async () => { const { a, b, end } = open(); let result; b.addEventListener("close", () => { result = thrown(() => b.send("last words")); }); a.close(3000); return [await end(), result]; },
  messagesThenClose: async () => { const { a, end } = open(); a.send("1"); a.send("2"); a.close(3000, "done"); return end(); },
  largeThenClose: async () => { const { a, b, states } = open(); const seen = []; b.addEventListener("message", (e) => { seen.push(e.data.length); }); b.addEventListener("close", () => { seen.push("close"); }); a.send("x".repeat(1 << 20)); a.close(); await until(() => states()[1] === 3); return seen; },
  fromBoth: async () => { const { a, b, states, end } = open(); a.close(3001, "a"); b.close(3002, "b"); const now = states(); return [now, await end()]; },
  inMessageHandler: async () => { const { a, b, end } = open(); b.addEventListener("message", () => { b.close(4002, "enough"); }); a.send("1"); a.send("2"); a.send("3"); return end(); },
  inCloseHandler: async () => { const { a, b, end } = open(); let result; b.addEventListener("close", () => { result = thrown(() => b.close(4003, "reply")); }); a.close(3000, "first"); return [await end(), result]; },
  echoedInHandler: async () => { const { a, b, end } = open(); b.addEventListener("close", (event) => { b.close(event.code, event.reason); }); a.close(3000, "first"); return end(); },
  echoed1005: async () => { const { a, b, end } = open(); let result; b.addEventListener("close", (event) => { result = thrown(() => b.close(event.code)); }); a.close(); return [await end(), result]; },
  statesInOrder: async () => { const { a, b, states, end } = open(); const seen = [states()]; b.addEventListener("close", () => { seen.push(["b hears", ...states()]); }); a.addEventListener("close", () => { seen.push(["a hears", ...states()]); }); a.close(3000); seen.push(states()); await end(); return seen; },
  noListeners: async () => { const [a, b] = pair(); a.accept(); b.accept(); a.close(3000); await until(() => a.readyState === 3 && b.readyState === 3); return [a.readyState, b.readyState, listen(b)]; },

  halfOpen: async () => { const { a, b, heard, states, end } = open({ allowHalfOpen: true }); a.close(3000, "half"); const between = await end(() => heard.b.length); const more = thrown(() => b.send("more")); b.close(3005, "reply"); return [between, more, await end()]; },
  halfOpenReceiver: async () => { const { a, b, heard, end } = open({}, { allowHalfOpen: true }); a.close(3000, "half"); const between = await end(() => heard.b.length); b.close(); return [between, await end()]; },
  halfOpenCloser: async () => { const { a, end } = open({ allowHalfOpen: true }, {}); a.close(3000, "half"); return end(); },
  halfOpenBoth: async () => { const { a, b, end } = open({ allowHalfOpen: true }); a.close(3001, "a"); b.close(3002, "b"); return end(); },
  halfOpenFalse: async () => { const { a, end } = open({ allowHalfOpen: false }); a.close(3000); return end(); },
  halfOpenTwice: async () => { const { a, b, heard, end } = open({}, {}); b.accept({ allowHalfOpen: true }); a.close(3000); return end(); },

  throwInMessage: async () => { const { a, b, heard, end } = open(); b.addEventListener("message", () => { throw new RangeError("in handler"); }); a.send("bad"); const { states, ...rest } = await end(() => heard.a.length && heard.b.length > 1); return rest; },
  throwStates: async () => { const { a, b, heard, states, end } = open(); const seen = []; b.addEventListener("error", () => { seen.push(["error at b", b.readyState]); }); a.addEventListener("close", () => { seen.push(["close at a", a.readyState]); }); b.addEventListener("message", () => { throw new RangeError("in handler"); }); a.send("bad"); await end(() => heard.a.length && heard.b.length > 1); return [seen.sort(), states()]; },
  throwThenUsed: async () => { const { a, b, heard, end } = open(); b.addEventListener("message", () => { throw new RangeError("in handler"); }); a.send("bad"); await end(() => heard.a.length && heard.b.length > 1); const used = [thrown(() => a.send("x")), thrown(() => b.send("y")), thrown(() => a.close(3000)), thrown(() => b.close(3000))]; const { states, ...rest } = await end(() => true); return [used, rest]; },
  throwSkipsOthers: async () => { const [a, b] = pair(); a.accept(); b.accept(); const seen = []; b.addEventListener("message", () => { seen.push("first"); throw new RangeError("in handler"); }); b.addEventListener("message", () => { seen.push("second"); }); b.addEventListener("error", () => { seen.push("error"); }); b.addEventListener("close", () => { seen.push("close"); }); a.send("1"); a.send("2"); await until(() => seen.includes("error")); return seen; },
  throwString: async () => { const { a, b, heard, end } = open(); b.addEventListener("message", () => { throw "text"; }); a.send("bad"); const { states, ...rest } = await end(() => heard.a.length && heard.b.length > 1); return rest; },
  throwInHandlerProperty: async () => { const { a, b, heard, end } = open(); b.onmessage = () => { throw new RangeError("in handler"); }; a.send("bad"); const { states, ...rest } = await end(() => heard.a.length && heard.b.length); return rest; },
  throwWithReplyQueued: async () => { const { a, b, heard, end } = open(); b.addEventListener("message", () => { b.send("reply"); throw new RangeError("in handler"); }); a.send("bad"); const { states, ...rest } = await end(() => heard.a.some(([type]) => type === "close")); return rest; },
  rejectInMessage: async () => { const { a, b, heard, end } = open(); b.addEventListener("message", async ({ data }) => { if (data === "bad") throw new RangeError("in handler"); }); a.send("bad"); a.send("good"); return end(() => heard.b.length > 1); },
  throwInClose: async () => { const { a, b, end } = open(); b.addEventListener("close", () => { throw new RangeError("in handler"); }); a.close(3000); return end(); },
  throwInCloseOfCloser: async () => { const { a, b, end } = open(); a.addEventListener("close", () => { throw new RangeError("in handler"); }); a.close(3000); return end(); },

  errorAfterClose: () => types((a) => a.close(3000)),
  errorAfterCloseFromBoth: () => types((a, b) => { a.close(3000); b.close(3000); }),
  errorAfterMessageAndClose: () => types((a) => { a.send("x"); a.close(3000); }),
  errorFields: async () => { const [a, b] = pair(); a.accept(); b.accept(); const seen = []; b.addEventListener("error", (e) => { seen.push([e.message, show(e.error), b.readyState]); }); a.close(3000); await until(() => seen.length); return seen; },
};
export default { fetch: () => answer(probes) };
