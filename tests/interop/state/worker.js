// State of every kind, written by one runtime and read back by the other.
//
//   GET /write   stores everything, then answers like /read
//   GET /read    what is stored, as JSON that says the type of each value (see describe.js)
//
// The tree: object "one" with the facets "loaded" (code from the loader) and "static" (a class of this
// worker), and below "static" one more whose name is no file name. Object "two" shows that ids agree.
import { DurableObject } from "cloudflare:workers";
import { describe } from "./describe.js";
import { asyncValues, syncValues } from "./values.js";
import loadedModule from "./loaded.js.txt";

const INNER_NAME = "../inner é/\u{1F600}";

/** What a Keeper and each of its facets store. */
class Stateful extends DurableObject {
  async writeAll() {
    const { storage } = this.ctx;
    await storage.deleteAll();
    for (const [key, value] of syncValues()) storage.kv.put(`sync ${key}`, value);
    for (const [key, value] of asyncValues()) await storage.put(`async ${key}`, value);
    await storage.put({ "async many a": 1, "async many b": [2] });
    storage.kv.put("sync undefined", undefined);
    storage.kv.put("", "the empty key");
    // Deleted again: must not come back.
    storage.kv.put("gone", 1);
    storage.kv.delete("gone");
    writeSql(storage.sql);
  }

  async readAll() {
    const { storage } = this.ctx;
    // One by one, so that a value which cannot be read shows up as that value and not as a failure of all.
    const values = {};
    for (const key of keys()) {
      const read = async () => (key.startsWith("async") ? storage.get(key) : storage.kv.get(key));
      values[key] = await read().then((value) => describe(value)).catch((error) => ({ failed: `${error.name}: ${error.message}` }));
    }
    return {
      id: String(this.ctx.id), values,
      asyncList: await listed(async () => [...(await storage.list()).keys()]),
      syncList: await listed(async () => [...storage.kv.list()].map(([key]) => key)),
      sql: readSql(storage.sql), alarm: await storage.getAlarm(),
    };
  }
}

/** Every key that `writeAll` touches. */
const keys = () => [
  ...syncValues().map(([key]) => `sync ${key}`), ...asyncValues().map(([key]) => `async ${key}`),
  "async many a", "async many b", "sync undefined", "", "gone",
];

const listed = (list) => list().catch((error) => ({ failed: `${error.name}: ${error.message}` }));

function writeSql(sql) {
  sql.exec(`
    CREATE TABLE kinds (id INTEGER PRIMARY KEY, label TEXT UNIQUE, value ANY) STRICT;
    CREATE TABLE pairs (a TEXT, b TEXT, n INTEGER DEFAULT 7, PRIMARY KEY (a, b)) WITHOUT ROWID;
    CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT, size INTEGER AS (length(text)) STORED);
    CREATE INDEX log_by_size ON log (size);
    CREATE VIEW long_log AS SELECT * FROM log WHERE size > 3;
    CREATE TRIGGER count_pairs AFTER INSERT ON pairs BEGIN INSERT INTO log (text) VALUES ('pair ' || new.a); END;
    CREATE VIRTUAL TABLE search USING fts5(body);
    INSERT INTO kinds (label, value) VALUES ('int64', 9223372036854775807), ('negative', -42), ('real', 0.1), ('null', NULL), ('text', 'Grüße 😀'), ('blob', x'00ff10');
  `);
  const bound = { number: 5, fraction: 2.5, infinity: Infinity, string: "a\0b", bytes: new Uint8Array([1, 2, 255]), nothing: null, truth: true };
  for (const [label, value] of Object.entries(bound)) sql.exec("INSERT INTO kinds (label, value) VALUES (?, ?)", `bound ${label}`, value);
  for (const [a, b] of [["x", "y"], ["é", "z"]]) sql.exec("INSERT INTO pairs (a, b) VALUES (?, ?)", a, b);
  sql.exec("DELETE FROM log WHERE text = 'pair x'");
  sql.exec("INSERT INTO search (body) VALUES (?), (?)", "the quick brown fox", "a lazy dog");
  // Several pages, so that the file is more than its first one.
  for (let at = 0; at < 200; at += 1) sql.exec("INSERT INTO log (text) VALUES (?)", `${at} `.repeat(50));
}

function readSql(sql) {
  if (!sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'kinds'").toArray().length) return null;
  return {
    schema: sql.exec("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name").toArray(),
    // As text, so that nothing is lost on the way; hex, because a text may hold a NUL.
    kinds: sql
      .exec("SELECT id, label, typeof(value) AS type, CASE typeof(value) WHEN 'integer' THEN CAST(value AS TEXT) WHEN 'real' THEN value ELSE hex(value) END AS value FROM kinds ORDER BY id")
      .toArray()
      .map((row) => ({ ...row, value: String(row.value) })),
    pairs: sql.exec("SELECT * FROM pairs ORDER BY a, b").toArray(),
    log: sql.exec("SELECT count(*) AS rows, min(id) AS first, max(id) AS last, sum(size) AS size FROM log").one(),
    view: sql.exec("SELECT count(*) AS rows FROM long_log").one(),
    index: sql.exec("SELECT count(*) AS rows FROM log INDEXED BY log_by_size WHERE size > 100").one(),
    search: sql.exec("SELECT rowid, body FROM search WHERE search MATCH 'quick'").toArray(),
  };
}

/** A facet of a static class, and one below it. */
export class Box extends Stateful {
  #inner() {
    return this.ctx.facets.get(INNER_NAME, () => ({ class: this.ctx.exports.Leaf, id: "inner" }));
  }

  async writeTree() {
    await this.writeAll();
    await this.#inner().writeAll();
  }

  async readTree() {
    return { ...(await this.readAll()), facets: { [INNER_NAME]: await this.#inner().readAll() } };
  }
}

export class Leaf extends Stateful {}

export class Keeper extends Stateful {
  #loaded() {
    return this.ctx.facets.get("loaded", () => {
      const worker = this.env.LOADER.get("loaded-v1", () => ({
        compatibilityDate: "2026-09-01",
        mainModule: "loaded.js",
        modules: { "loaded.js": loadedModule },
        globalOutbound: null,
      }));
      return { class: worker.getDurableObjectClass("Loaded") };
    });
  }

  #static() {
    return this.ctx.facets.get("static", () => ({ class: this.ctx.exports.Box, id: "box" }));
  }

  async writeTree() {
    await this.writeAll();
    await this.#loaded().write();
    await this.#static().writeTree();
  }

  async readTree() {
    return {
      ...(await this.readAll()),
      name: this.ctx.id.name ?? null,
      facets: { loaded: await this.#loaded().read(), static: await this.#static().readTree() },
    };
  }
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const one = env.KEEPER.getByName("one");
    const two = env.KEEPER.getByName("two");
    if (pathname === "/write") {
      await one.writeTree();
      await two.writeAll();
    } else if (pathname !== "/read") {
      return new Response("Use /write or /read.\n", { status: 404 });
    }
    return Response.json({ one: await one.readTree(), two: await two.readAll() });
  },
};
