// Timers, microtasks, scheduler.wait.
import { answer, caught, thrown, wait } from "./probe.js";

const probes = {
  timeoutArguments: () => new Promise((resolve) => setTimeout((...args) => resolve(args), 1, "a", 2)),
  order: async () => { const seen = []; setTimeout(() => seen.push("t10"), 10); setTimeout(() => seen.push("t1"), 1); queueMicrotask(() => seen.push("micro")); Promise.resolve().then(() => seen.push("promise")); seen.push("sync"); await wait(40); return seen; },
  zeroTimersInOrder: async () => { const seen = []; for (let i = 0; i < 5; i++) setTimeout(() => seen.push(i), 0); await wait(20); return seen; },
  microtasksBetweenTimers: async () => { const seen = []; setTimeout(() => { seen.push("a"); queueMicrotask(() => seen.push("m")); }, 0); setTimeout(() => seen.push("b"), 0); await wait(20); return seen; },
  clearTimeout: async () => { let ran = false; clearTimeout(setTimeout(() => (ran = true), 5)); await wait(20); return ran; },
  clearUnknown: () => [clearTimeout(undefined), clearTimeout(999999), clearInterval(null)],
  interval: () => new Promise((resolve) => { let n = 0; const id = setInterval(() => { if (++n === 3) { clearInterval(id); resolve(n); } }, 2); }),
  immediate: () => new Promise((resolve) => setImmediate((x) => resolve(x), "now")),
  timeoutType: () => { const id = setTimeout(() => {}, 0); const shape = [typeof id, id.constructor.name, typeof id.unref, typeof id[Symbol.toPrimitive]]; clearTimeout(id); return shape; },
  timeoutOfString: () => thrown(() => setTimeout("1 + 1", 0))[0],
  timeoutOfNothing: () => thrown(() => setTimeout())[0],
  throwsInTimer: async () => { setTimeout(() => { throw new Error("in timer"); }, 0); await wait(10); return "alive"; },
  schedulerWait: () => scheduler.wait(1),
  schedulerAbort: async () => { const c = new AbortController(); setTimeout(() => c.abort(), 5); return (await caught(() => scheduler.wait(1000, { signal: c.signal }))).slice(0, 2); },
  schedulerAborted: async () => (await caught(() => scheduler.wait(1000, { signal: AbortSignal.abort() }))).slice(0, 2),
  schedulerAbortReason: () => caught(() => scheduler.wait(1000, { signal: AbortSignal.abort(new RangeError("mine")) })),
  abortSignalTimeout: () => new Promise((resolve) => { const s = AbortSignal.timeout(5); s.addEventListener("abort", () => resolve([s.aborted, s.reason.name])); }),
  clockMoves: async () => { const before = Date.now(); await wait(20); return Date.now() - before >= 15; },
  performanceNow: () => [typeof performance.now(), performance.timeOrigin],
  queueMicrotaskOfValue: () => thrown(() => queueMicrotask(5))[0],
};
export default { fetch: () => answer(probes) };
