// A room that clients talk to over Cap'n Web: over a WebSocket, or in batches over HTTP.
import { DurableObject, RpcTarget as BuiltIn } from "cloudflare:workers";
import { newWorkersRpcResponse, RpcTarget } from "capnweb";

/** Of the platform's own RPC: reached from the client through both kinds. */
class Counter extends BuiltIn {
  n = 0;
  add(by) {
    return (this.n += by);
  }
}

class Note extends RpcTarget {
  #room;
  #id;
  constructor(room, id) {
    super();
    this.#room = room;
    this.#id = id;
  }
  get id() {
    return this.#id;
  }
  text() {
    return this.#room.ctx.storage.sql.exec("SELECT text FROM notes WHERE id = ?", this.#id).one().text;
  }
  [Symbol.dispose]() {
    this.#room.disposed++;
  }
}

class Api extends RpcTarget {
  #room;
  constructor(room) {
    super();
    this.#room = room;
  }
  isSame() {
    return RpcTarget === BuiltIn;
  }
  greet(name) {
    return `Hello, ${name}!`;
  }
  echo(value) {
    return value;
  }
  write(text) {
    const { id } = this.#room.ctx.storage.sql.exec("INSERT INTO notes (text) VALUES (?) RETURNING id", text).one();
    return new Note(this.#room, id);
  }
  note(id) {
    return new Note(this.#room, id);
  }
  ids() {
    return this.#room.ctx.storage.sql.exec("SELECT id FROM notes ORDER BY id").toArray().map(({ id }) => id);
  }
  async each(list, callback) {
    const answers = [];
    for (const item of list) answers.push(await callback(item));
    return answers;
  }
  watch(callback) {
    this.#room.watchers.push(callback.dup());
  }
  async tell(text) {
    return Promise.all(this.#room.watchers.map((watcher) => watcher(text)));
  }
  unwatch() {
    for (const watcher of this.#room.watchers.splice(0)) watcher[Symbol.dispose]();
  }
  counter() {
    return new Counter();
  }
  /** Of another object, over the platform's RPC. */
  otherCounter() {
    return this.#room.env.ROOM.getByName("other").counter();
  }
  fail(message) {
    throw new RangeError(message);
  }
  disposed() {
    return this.#room.disposed;
  }
}

export class Room extends DurableObject {
  disposed = 0;
  watchers = [];
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT)");
  }
  counter() {
    return new Counter();
  }
  fetch(request) {
    return newWorkersRpcResponse(request, new Api(this));
  }
}

export default {
  fetch: (request, env) => env.ROOM.getByName("room").fetch(request),
};
