// What was answered is there after a restart and after a kill; memory is not.
import { DurableObject } from "cloudflare:workers";

export class Obj extends DurableObject {
  async write(n) {
    const { kv, sql } = this.ctx.storage;
    this.memory = n;
    kv.put(`kv${n}`, { n, list: [1, new Date(n), 10n].map(String) });
    await this.ctx.storage.put("async", n);
    sql.exec("CREATE TABLE IF NOT EXISTS t (n INTEGER, b BLOB)");
    sql.exec("INSERT INTO t VALUES (?, ?)", n, new Uint8Array([n, 255]));
    return this.read();
  }
  async read() {
    const { kv, sql } = this.ctx.storage;
    return {
      memory: this.memory ?? null,
      kv: [...kv.list({ prefix: "kv" })],
      async: await this.ctx.storage.get("async"),
      rows: sql.exec("SELECT n, hex(b) AS b, typeof(n) AS t FROM t ORDER BY rowid").toArray(),
      id: String(this.ctx.id),
    };
  }
}
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const stubs = ["one", "two"].map((name) => env.OBJ.getByName(name));
    const n = Number(url.searchParams.get("n"));
    const [one, two] = await Promise.all(stubs.map((s, i) => (url.pathname === "/write" ? s.write(n * 10 + i) : s.read())));
    return Response.json({ one, two });
  },
};
