// Events, abort signals, DOMException, reportError.
import { answer, thrown } from "./probe.js";

const probes = {
  dispatch: () => { const t = new EventTarget(); const seen = []; t.addEventListener("x", (e) => seen.push([e.type, e.target === t, e.defaultPrevented])); return [t.dispatchEvent(new Event("x")), seen]; },
  once: () => { const t = new EventTarget(); let n = 0; t.addEventListener("x", () => n++, { once: true }); t.dispatchEvent(new Event("x")); t.dispatchEvent(new Event("x")); return n; },
  handleEvent: () => { const t = new EventTarget(); let n = 0; t.addEventListener("x", { handleEvent() { n++; } }); t.dispatchEvent(new Event("x")); return n; },
  remove: () => { const t = new EventTarget(); let n = 0; const f = () => n++; t.addEventListener("x", f); t.removeEventListener("x", f); t.dispatchEvent(new Event("x")); return n; },
  signalListener: () => { const t = new EventTarget(); const c = new AbortController(); let n = 0; t.addEventListener("x", () => n++, { signal: c.signal }); c.abort(); t.dispatchEvent(new Event("x")); return n; },
  preventDefault: () => { const t = new EventTarget(); t.addEventListener("x", (e) => e.preventDefault()); return t.dispatchEvent(new Event("x", { cancelable: true })); },
  stopImmediate: () => { const t = new EventTarget(); const seen = []; t.addEventListener("x", (e) => { seen.push(1); e.stopImmediatePropagation(); }); t.addEventListener("x", () => seen.push(2)); t.dispatchEvent(new Event("x")); return seen; },
  customEvent: () => new CustomEvent("x", { detail: { a: 1 } }).detail,
  messageEvent: () => new MessageEvent("m", { data: "d" }).data,
  closeEvent: () => { const e = new CloseEvent("close", { code: 4000, reason: "r", wasClean: true }); return [e.code, e.reason, e.wasClean]; },
  errorEvent: () => { const e = new ErrorEvent("error", { message: "m", error: 5 }); return [e.message, e.error]; },
  abort: () => { const c = new AbortController(); let n = 0; c.signal.onabort = () => n++; c.abort(); c.abort(); return [n, c.signal.aborted, c.signal.reason.name]; },
  abortReason: () => { const c = new AbortController(); c.abort("why"); return [c.signal.reason, thrown(() => c.signal.throwIfAborted())]; },
  abortAny: () => { const a = new AbortController(); const s = AbortSignal.any([a.signal, new AbortController().signal]); a.abort(7); return [s.aborted, s.reason]; },
  domException: () => { const e = new DOMException("m", "AbortError"); return [e.name, e.message, e.code, e instanceof Error, e instanceof DOMException, String(e)]; },
  domExceptionDefaults: () => { const e = new DOMException(); return [e.name, e.message, e.code]; },
  unknownListener: () => thrown(() => new EventTarget().addEventListener("x", 5))[0],
  globalIsTarget: () => [typeof globalThis.addEventListener, typeof globalThis.dispatchEvent],
  reportError: async () => { let seen; const f = (e) => { seen = e.error.message; e.preventDefault(); }; addEventListener("error", f); reportError(new Error("reported")); removeEventListener("error", f); return seen; },
  unhandled: async () => { const seen = []; const f = (e) => seen.push([e.type, e.reason.message]); addEventListener("unhandledrejection", f); Promise.reject(new Error("nobody")); await new Promise((r) => setTimeout(r, 5)); removeEventListener("unhandledrejection", f); return seen; },
};
export default { fetch: () => answer(probes) };
