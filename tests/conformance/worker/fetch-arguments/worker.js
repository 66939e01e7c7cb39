// Global `fetch` without a network: what it refuses, `data:` URLs, abort signals.
import { answer, caught } from "./probe.js";

const probes = {
  relative: () => caught(() => fetch("/x")),
  empty: () => caught(() => fetch("")),
  nothing: () => caught(() => fetch()),
  ftp: () => caught(() => fetch("ftp://x/")),
  file: () => caught(() => fetch("file:///etc/passwd")),
  about: () => caught(() => fetch("about:blank")),
  data: async () => { const r = await fetch("data:text/plain,hello%20there"); return [r.status, r.headers.get("content-type"), await r.text()]; },
  dataBase64: async () => (await fetch("data:application/octet-stream;base64,aGk=")).text(),
  getBody: () => caught(() => fetch("http://x/", { body: "b" })),
  badMethod: () => caught(() => fetch("http://x/", { method: "A B" })),
  redirectError: () => caught(() => fetch("http://x/", { redirect: "error" })),
  abortedBefore: async () => (await caught(() => fetch("http://x/", { signal: AbortSignal.abort() }))).slice(0, 2),
  abortedReason: () => caught(() => fetch("http://x/", { signal: AbortSignal.abort(new RangeError("mine")) })),
  badSignal: () => caught(() => fetch("http://x/", { signal: 5 })),
  usedRequest: async () => { const r = new Request("http://x/", { method: "POST", body: "b" }); await r.text(); return caught(() => fetch(r)); },
  isPromise: () => { const p = fetch("/x"); p.catch(() => {}); return p instanceof Promise; },
};
export default { fetch: () => answer(probes) };
