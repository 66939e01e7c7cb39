// Redirects through a stub: followed by the same stub, or not.
import { answer, caught } from "./probe.js";

const show = async (response) => ({ status: response.status, url: response.url, redirected: response.redirected, type: response.type, location: response.headers.get("location"), text: await response.text() });
const post = (body, more) => ({ method: "POST", body, ...more });
const streamBody = () => new Response("streamed").body;
const probes = {
  follow: async (s) => show(await s.fetch("http://h/go/302")),
  manual: async (s) => show(await s.fetch("http://h/go/302", { redirect: "manual" })),
  manualRequest: async (s) => show(await s.fetch(new Request("http://h/go/302", { redirect: "manual" }))),
  post301: async (s) => show(await s.fetch("http://h/go/301", post("b"))),
  post302: async (s) => show(await s.fetch("http://h/go/302", post("b"))),
  post303: async (s) => show(await s.fetch("http://h/go/303", post("b"))),
  post307: async (s) => show(await s.fetch("http://h/go/307", post("b"))),
  post308: async (s) => show(await s.fetch("http://h/go/308", post("b"))),
  put303: async (s) => show(await s.fetch("http://h/go/303", { method: "PUT", body: "b" })),
  stream307: (s) => caught(async () => show(await s.fetch("http://h/go/307", post(streamBody())))),
  stream303: (s) => caught(async () => show(await s.fetch("http://h/go/303", post(streamBody())))),
  relative: async (s) => show(await s.fetch("http://h/deep/relative")),
  otherHost: async (s) => show(await s.fetch("http://h/other-host")),
  noLocation: async (s) => show(await s.fetch("http://h/no-location")),
  notModified: async (s) => show(await s.fetch("http://h/304")),
  loop: (s) => caught(() => s.fetch("http://h/loop")).then((e) => [e[0], String(e[1]).startsWith("Too many redirects.")]),
  authorizationSameOrigin: async (s) => (await show(await s.fetch("http://h/go/302", { headers: { authorization: "secret" } }))).text,
  authorizationOtherOrigin: async (s) => (await show(await s.fetch("http://h/other-host", { headers: { authorization: "secret" } }))).text,
};
export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    const to = (location, status) => new Response(null, { status, headers: { location } });
    if (url.pathname.startsWith("/go/")) return to("http://h/end", Number(url.pathname.slice(4)));
    if (url.pathname === "/deep/relative") return to("../end?x", 302);
    if (url.pathname === "/other-host") return to("http://other/end", 302);
    if (url.pathname === "/no-location") return new Response("none", { status: 302 });
    if (url.pathname === "/304") return new Response(null, { status: 304 });
    if (url.pathname === "/loop") return to("http://h/loop", 302);
    if (url.pathname === "/end") return new Response([request.method, url.host, url.search, await request.text(), request.headers.get("content-type"), request.headers.get("authorization")].join("|"));
    return answer(probes, ctx.exports.default);
  },
};
