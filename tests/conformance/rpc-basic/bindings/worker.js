// Service bindings and `ctx.exports` loopbacks: which entrypoint, which props, one instance per call.
import { WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught } from "./probe.js";

let instances = 0;
export class Named extends WorkerEntrypoint {
  constructor(ctx, env) { super(ctx, env); this.instance = ++instances; }
  props() { return this.ctx.props; }
  changeProps() { this.ctx.props.changed = true; return this.ctx.props; }
  count() { return [this.instance, ++this.n || (this.n = 1)]; }
  v() { return this.env.V; }
  exportsKeys() { return Object.keys(this.ctx.exports).sort(); }
  async fetch(request) { return new Response(`named ${request.method} ${new URL(request.url).pathname} ${await request.text()}`, { status: 201, headers: { "x-props": JSON.stringify(this.ctx.props) } }); }
  takesStub(stub) { return stub.props(); }
}
const probes = {
  stubShape: (env) => [typeof env.NAMED, env.NAMED.constructor.name, Object.prototype.toString.call(env.NAMED), Object.keys(env.NAMED)],
  defaultFetch: async (env) => (await env.SELF.fetch("http://x/self")).text(),
  defaultRpc: (env) => caught(() => env.SELF.rpc("a")),
  namedFetch: async (env) => { const r = await env.NAMED.fetch("http://x/p", { method: "POST", body: "b" }); return [r.status, r.headers.get("x-props"), await r.text()]; },
  namedProps: (env) => env.NAMED.props(),
  configuredProps: (env) => env.WITH_PROPS.props(),
  propsAreFresh: async (env) => [await env.WITH_PROPS.changeProps(), await env.WITH_PROPS.props()],
  instancePerCall: async (env) => { const a = await env.NAMED.count(); const b = await env.NAMED.count(); return [b[0] - a[0], a[1], b[1]]; },
  env: (env) => env.NAMED.v(),
  exportsKeys: (env) => env.NAMED.exportsKeys(),
  fetchRelative: (env) => caught(() => env.NAMED.fetch("/y")),
  fetchDetached: async (env) => { const { fetch } = env.NAMED; return (await fetch("http://x/d")).status; },
  sendBinding: (env) => env.NAMED.takesStub(env.WITH_PROPS),
  sendLoopbackWithProps: (env, ctx) => env.NAMED.takesStub(ctx.exports.Named({ props: { sent: 1 } })),
  sendBareLoopback: (env, ctx) => caught(() => env.NAMED.takesStub(ctx.exports.Named)),
  loopbackPropsKinds: (env, ctx) => ctx.exports.Named({ props: { d: new Date(0), b: 1n, m: new Map([[1, 2]]), u: undefined } }).props(),
  loopbackPropsFunction: (env, ctx) => caught(() => ctx.exports.Named({ props: { f() {} } }).props()),
  loopbackPropsStub: (env, ctx) => caught(async () => typeof (await ctx.exports.Named({ props: { s: ctx.exports.Named({ props: {} }) } }).props()).s),
  legacyHelpers: (env) => caught(() => env.NAMED.get("http://x/")),
  redirectStaysOnStub: async (env) => (await env.SELF.fetch("http://x/redirect")).text(),
};
export default {
  fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname === "/self") return new Response("self");
    if (pathname === "/redirect") return Response.redirect("http://x/self");
    return answer(probes, env, ctx);
  },
  rpc: (x) => ["rpc", x],
};
