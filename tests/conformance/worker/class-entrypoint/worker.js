// `export default class extends WorkerEntrypoint`: one instance per request.
import { WorkerEntrypoint } from "cloudflare:workers";

let instances = 0;
export default class extends WorkerEntrypoint {
  constructor(ctx, env) {
    super(ctx, env);
    this.instance = ++instances;
    this.constructedWith = [arguments.length, this.ctx === ctx, this.env === env];
  }

  async fetch(request) {
    if (request.url.endsWith("/throw")) throw new Error("from class");
    return Response.json({
      path: new URL(request.url).pathname,
      arguments: arguments.length,
      instance: this.instance,
      constructedWith: this.constructedWith,
      v: this.env.V,
      props: this.ctx.props,
      isEntrypoint: this instanceof WorkerEntrypoint,
      viaRpc: await this.ctx.exports.default.helper(2, 3),
      own: Object.keys(this).sort(),
    });
  }

  helper(a, b) { return [a + b, this.instance]; }
}
