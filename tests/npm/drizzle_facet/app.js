// The facet's code: a small library on drizzle-orm's driver for Durable Objects, which is used as its documentation does.
import { DurableObject } from "cloudflare:workers";
import { and, count, desc, eq, gt, inArray, like, relations, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/durable-sqlite";
import { migrate } from "drizzle-orm/durable-sqlite/migrator";
import { customType, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import migrations from "./migrations/migrations.js";

/** `blob()` makes a Buffer, which Workers have with `nodejs_compat` only. */
const bytes = customType({ dataType: () => "blob", fromDriver: (value) => new Uint8Array(value) });

const authors = sqliteTable("authors", {
  id: integer().primaryKey({ autoIncrement: true }),
  name: text().notNull().unique(),
  seen: integer({ mode: "timestamp" }),
  extra: text({ mode: "json" }),
});
const books = sqliteTable("books", {
  id: integer().primaryKey({ autoIncrement: true }),
  authorId: integer("author_id").notNull().references(() => authors.id, { onDelete: "cascade" }),
  title: text().notNull(),
  cover: bytes(),
  year: integer().notNull().default(1900),
});
const authorsRelations = relations(authors, ({ many }) => ({ books: many(books) }));
const booksRelations = relations(books, ({ one }) => ({ author: one(authors, { fields: [books.authorId], references: [authors.id] }) }));
const schema = { authors, books, authorsRelations, booksRelations };

export class Library extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.db = drizzle(ctx.storage, { schema, logger: false });
    ctx.blockConcurrencyWhile(() => migrate(this.db, migrations));
  }

  async fill() {
    const { db } = this;
    const added = await db.insert(authors).values([
      { name: "Ursula", seen: new Date(1_700_000_000_000), extra: { born: 1929, tags: ["a", "b"] } },
      { name: "Stanisław" },
      { name: "Octavia", extra: null },
    ]).returning();
    await db.insert(books).values([
      { authorId: added[0].id, title: "Left Hand", year: 1969 },
      { authorId: added[0].id, title: "Dispossessed", year: 1974 },
      { authorId: added[1].id, title: "Solaris", year: 1961 },
      { authorId: added[2].id, title: "Kindred" },
    ]);
    return added.map(({ id, name, seen, extra }) => [id, name, seen?.getTime() ?? null, extra]);
  }

  async select() {
    const { db } = this;
    return {
      all: await db.select({ name: authors.name, title: books.title }).from(authors).innerJoin(books, eq(books.authorId, authors.id)).orderBy(desc(books.year)),
      left: db.select().from(authors).leftJoin(books, and(eq(books.authorId, authors.id), gt(books.year, 1970))).all()
        .map(({ authors: { name }, books: book }) => [name, book?.title ?? null]),
      counts: db.select({ name: authors.name, books: count(books.id) }).from(authors).leftJoin(books, eq(books.authorId, authors.id)).groupBy(authors.id).all(),
      one: db.select({ title: books.title }).from(books).where(like(books.title, "Sol%")).get(),
      none: db.select().from(books).where(eq(books.id, -1)).get() ?? null,
      values: db.values(sql`SELECT title, year FROM books WHERE year > ${1960} ORDER BY year`),
      relational: (await db.query.authors.findMany({ with: { books: { columns: { title: true }, orderBy: books.id } }, orderBy: authors.id, columns: { name: true } })),
      prepared: db.select({ title: books.title }).from(books).where(eq(books.year, sql.placeholder("year"))).prepare().all({ year: 1974 }),
    };
  }

  async change() {
    const { db } = this;
    const updated = await db.update(books).set({ year: sql`${books.year} + 1` }).where(inArray(books.title, ["Solaris", "Kindred"])).returning({ title: books.title, year: books.year });
    const upserted = await db.insert(authors).values({ name: "Ursula", extra: [1] }).onConflictDoUpdate({ target: authors.name, set: { extra: [2] } }).returning({ id: authors.id, extra: authors.extra });
    const ignored = await db.insert(authors).values({ name: "Ursula" }).onConflictDoNothing().returning();
    const cover = new Uint8Array([1, 2, 255]);
    await db.update(books).set({ cover }).where(eq(books.title, "Solaris"));
    const { cover: read } = db.select({ cover: books.cover }).from(books).where(eq(books.title, "Solaris")).get();
    let refused;
    try {
      await db.insert(authors).values({ name: "Octavia" });
    } catch (error) {
      refused = String(error.cause?.message ?? error.message);
    }
    return { updated, upserted, ignored, cover: [...read], refused };
  }

  async transactions() {
    const { db } = this;
    const kept = db.transaction((tx) => {
      tx.insert(authors).values({ name: "In" }).run();
      try {
        tx.transaction((inner) => {
          inner.insert(authors).values({ name: "Inner" }).run();
          inner.rollback();
        });
      } catch {
        // Rolled back to the savepoint.
      }
      return tx.select({ n: count() }).from(authors).get().n;
    });
    let thrown;
    try {
      db.transaction((tx) => {
        tx.delete(books).run();
        throw new RangeError("on purpose");
      });
    } catch (error) {
      thrown = [error.name, error.message];
    }
    return { kept, thrown, names: db.select({ name: authors.name }).from(authors).all().map(({ name }) => name), books: await db.$count(books) };
  }

  iterate() {
    const titles = [];
    for (const { title } of this.ctx.storage.sql.exec("SELECT title FROM books ORDER BY id")) titles.push(title);
    for (const book of this.db.select().from(books).orderBy(books.id).all()) titles.push(book.year);
    return titles;
  }

  async remove() {
    await this.db.delete(authors).where(eq(authors.name, "Ursula"));
    return { books: this.db.select({ title: books.title }).from(books).all(), migrations: this.db.values(sql`SELECT created_at FROM __drizzle_migrations ORDER BY 1`) };
  }
}

export default {};
