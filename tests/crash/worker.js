import { DurableObject } from "cloudflare:workers";

// A ledger has slots, each written by one client. What is written to a slot is written several times over, in several
// ways: whoever reads it can tell a write that is there from one that is half there.
class Ledger extends DurableObject {
  static ROWS = 3;
  static KEPT = 4;
  static constructed = 0;

  constructor(ctx, env) {
    super(ctx, env);
    Ledger.constructed++;
  }

  // The two halves of one write. Nothing but the end of a turn or of a transaction may come between them on disk.
  #first(slot, before, n) {
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS slot (id INTEGER PRIMARY KEY, n INTEGER)");
    sql.exec("CREATE TABLE IF NOT EXISTS log (slot INTEGER, n INTEGER, i INTEGER, pad TEXT, PRIMARY KEY (slot, n, i))");
    sql.exec("CREATE TABLE IF NOT EXISTS total (one INTEGER PRIMARY KEY, sum INTEGER)");
    const found = sql.exec("SELECT n FROM slot WHERE id = ?", slot).toArray()[0]?.n ?? 0;
    if (found !== before) throw new Error(`slot ${slot} holds ${found}, though ${before} was answered`);
    sql.exec("INSERT INTO slot VALUES (?, ?) ON CONFLICT DO UPDATE SET n = excluded.n", slot, n);
    sql.exec("INSERT INTO total VALUES (1, ?) ON CONFLICT DO UPDATE SET sum = sum + excluded.sum", n - found);
  }
  #second(slot, n, pad) {
    const { sql, kv } = this.ctx.storage;
    kv.put(`slot:${slot}`, n);
    for (let i = 0; i < Ledger.ROWS; i++) sql.exec("INSERT INTO log VALUES (?, ?, ?, ?)", slot, n, i, "x".repeat(pad));
    const old = sql.exec("SELECT DISTINCT n FROM log WHERE slot = ? ORDER BY n DESC LIMIT -1 OFFSET ?", slot, Ledger.KEPT).toArray();
    for (const row of old) sql.exec("DELETE FROM log WHERE slot = ? AND n = ?", slot, row.n);
  }
  #write(slot, before, n, pad) {
    this.#first(slot, before, n);
    this.#second(slot, n, pad);
  }

  // The right ways to write.
  turn(...args) { this.#write(...args); }
  async coalesced(slot, before, n, pad) {
    this.#first(slot, before, n);
    await this.ctx.storage.put(`async:${slot}`, n); // microtasks only: still the same turn
    this.#second(slot, n, pad);
  }
  nested(...args) {
    const { storage } = this.ctx;
    storage.transactionSync(() => {
      this.#write(...args);
      try {
        storage.transactionSync(() => {
          storage.sql.exec("DELETE FROM slot; DELETE FROM log");
          storage.kv.delete(`slot:${args[0]}`);
          throw new Error("undo");
        });
      } catch { /* undone */ }
    });
  }
  async transaction(slot, before, n, pad) {
    await this.ctx.storage.transaction(async () => {
      this.#first(slot, before, n);
      await scheduler.wait(1); // other turns, the same transaction
      this.#second(slot, n, pad);
    });
  }
  async undone(...args) {
    const undo = new Error("undo");
    await this.ctx.storage.transaction(async () => {
      this.#write(...args);
      await scheduler.wait(1);
      throw undo;
    }).catch((error) => { if (error !== undo && error.message !== "undo") throw error; });
  }

  // The wrong ones, which the checks have to catch.
  #pending = Promise.resolve();
  async answersFirst(...args) {
    await this.#pending; // without a crash nobody notices
    this.#pending = scheduler.wait(3).then(() => this.#write(...args));
    this.ctx.waitUntil(this.#pending);
  }
  async inTwoTurns(slot, before, n, pad) {
    this.#first(slot, before, n);
    await scheduler.wait(1);
    this.#second(slot, n, pad);
  }

  wipe() { return this.ctx.storage.deleteAll(); }
  remove(name) { this.ctx.facets.delete(name); }
  clone(from, to) { this.ctx.facets.clone(from, to); }

  read() {
    const { sql, kv } = this.ctx.storage;
    const written = sql.exec("SELECT count(*) AS n FROM sqlite_master WHERE name = 'slot'").one().n === 1;
    const slots = written ? sql.exec("SELECT id, n FROM slot").toArray() : [];
    return {
      slots: slots.map(({ id, n }) => ({ id, n, kv: kv.get(`slot:${id}`) ?? 0 })),
      keys: [...kv.list({ prefix: "slot:" })].length,
      log: written ? sql.exec("SELECT slot, n, count(*) AS rows FROM log GROUP BY slot, n ORDER BY slot, n").toArray() : [],
      constructed: Ledger.constructed, // in this isolate, so far
      sum: written ? sql.exec("SELECT coalesce(max(sum), 0) AS n FROM total").one().n : 0,
    };
  }

  // To a facet below, by its path.
  to(path, method, args) {
    if (path.length === 0) return this[method](...args);
    const facet = this.ctx.facets.get(path[0], () => ({ class: this.env.LOADER ? load(this.env.LOADER, path[0]) : this.ctx.exports.App }));
    return facet.to(path.slice(1), method, args);
  }
}

// Loaded code is the same class, as text.
const LOADED = `import { DurableObject } from "cloudflare:workers"; ${Ledger}; export { Ledger as App };`;
function load(loader, id) {
  const code = () => ({ compatibilityDate: "2026-09-01", mainModule: "a.js", modules: { "a.js": LOADED }, globalOutbound: null });
  return loader.get(id, code).getDurableObjectClass("App");
}

export class Root extends Ledger {}

export default {
  async fetch(request, env) {
    const { object, path, method, args } = await request.json();
    try {
      return Response.json({ ok: (await env.ROOT.getByName(object).to(path, method, args)) ?? null });
    } catch (error) {
      return Response.json({ error: error.message, overloaded: error.overloaded === true });
    }
  },
};
