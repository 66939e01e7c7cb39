// What a module may do while it starts.
import { answer, thrown } from "./probe.js";

const seen = {};
const attempt = (name, fn) => { try { seen[name] = { ok: fn() }; } catch (e) { seen[name] = [e.name, e.message]; } };
attempt("now", () => Date.now());
attempt("newDate", () => new Date().getTime());
attempt("performance", () => performance.now());
attempt("mathRandom", () => typeof Math.random());
attempt("setTimeout", () => typeof setTimeout(() => {}, 0));
attempt("setInterval", () => typeof setInterval(() => {}, 1000));
attempt("queueMicrotask", () => queueMicrotask(() => (seen.microtaskRan = true)));
attempt("randomUUID", () => crypto.randomUUID().length);
attempt("getRandomValues", () => crypto.getRandomValues(new Uint8Array(1)).length);
attempt("newUrl", () => new URL("http://x/").href);
attempt("newRequest", () => new Request("http://x/").method);
attempt("newResponse", () => new Response("x").status);
attempt("newHeaders", () => [...new Headers({ a: "1" })]);
attempt("abortController", () => new AbortController().signal.aborted);
attempt("textEncoder", () => new TextEncoder().encode("a").length);
attempt("console", () => console.log("at top level"));
attempt("structuredClone", () => structuredClone({ a: 1 }));
attempt("messageEvent", () => new MessageEvent("x", { data: 1 }).data);
const fetched = fetch("http://x/").then(() => "fetched", (e) => [e.name, e.message]);
const waited = (async () => scheduler.wait(1))().then(() => "waited", (e) => [e.name, e.message]);
const digested = (async () => crypto.subtle.digest("SHA-256", new Uint8Array(0)))().then((b) => b.byteLength, (e) => [e.name, e.message]);
seen.fetch = await fetched;
seen.schedulerWait = await waited;
seen.digest = await digested;
seen.topLevelAwait = await Promise.resolve("awaited");

const probes = {
  ...Object.fromEntries(["now", "newDate", "performance", "mathRandom", "setTimeout", "setInterval", "queueMicrotask", "microtaskRan", "randomUUID", "getRandomValues", "newUrl", "newRequest", "newResponse", "newHeaders", "abortController", "textEncoder", "console", "structuredClone", "messageEvent", "fetch", "schedulerWait", "digest", "topLevelAwait"].map((name) => [name, () => seen[name]])),
  thisIsUndefined: () => this === undefined,
  strictMode: () => thrown(() => { undeclared = 1; })[0],
};
export default { fetch: () => answer(probes) };
