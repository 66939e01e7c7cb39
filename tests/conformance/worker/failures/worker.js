// What the edge answers when a handler fails, and what another worker sees of it.
import { answer, caught } from "./probe.js";

const probes = {
  throw: (stub) => caught(() => stub.fetch("http://x/throw")),
  throwString: (stub) => caught(() => stub.fetch("http://x/throw-string")),
  throwPlain: (stub) => caught(() => stub.fetch("http://x/throw-plain")),
  nothing: (stub) => caught(() => stub.fetch("http://x/nothing")),
  hang: (stub) => caught(() => stub.fetch("http://x/hang")),
};
export default {
  async fetch(request, env, ctx) {
    switch (new URL(request.url).pathname) {
      case "/throw": throw new TypeError("deliberate");
      case "/reject": return Promise.reject(new Error("deliberate"));
      case "/throw-string": throw "a string";
      case "/throw-plain": throw { plain: 1 };
      case "/nothing": return undefined;
      case "/string": return "text";
      case "/object": return { status: 200 };
      case "/hang": return new Promise(() => {});
      case "/used": { const r = new Response("x"); await r.text(); return r; }
      case "/error-type": return Response.error();
      case "/caught": return answer(probes, ctx.exports.default);
      default: return new Response("alive");
    }
  },
};
