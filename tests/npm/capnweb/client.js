// Talks to the room and prints what it heard as JSON.
//
//   node client.mjs URL
import { newHttpBatchRpcSession, newWebSocketRpcSession, RpcTarget } from "capnweb";
import WebSocket from "ws";

// Node has one of its own from version 22 on; capnweb looks for its constants.
globalThis.WebSocket ??= WebSocket;

const url = process.argv[2];
const heard = {};

const failure = (error) => [error.name, error.message];

class Listener extends RpcTarget {
  said = [];
  hear(text) {
    return this.said.push(text);
  }
}

async function overWebSocket() {
  const socket = new WebSocket(url.replace(/^http/, "ws"));
  const api = newWebSocketRpcSession(socket);
  heard.isSame = await api.isSame();
  heard.greet = await api.greet("socket");
  heard.values = await api.echo({ at: new Date(0), big: 2n ** 70n, bytes: new Uint8Array([1, 255]), list: [[1], null, "ü"], nothing: undefined, error: new TypeError("carried") })
    .then(({ at, big, bytes, list, error, ...rest }) => [at.getTime(), String(big), [...bytes], list, failure(error), Object.keys(rest)]);
  // One round trip: the note's text is asked for before the note has come.
  heard.pipelined = await api.write("first").text();
  const second = await api.write("second");
  heard.noteId = await second.id;
  second[Symbol.dispose]();
  heard.callback = await api.each([1, 2, 3], (n) => n * 10);
  heard.mapped = await api.ids().map((id) => api.note(id).text());
  const listener = new Listener();
  await api.watch((text) => listener.hear(text));
  heard.told = [await api.tell("a"), await api.tell("b"), listener.said];
  await api.unwatch();
  heard.failed = await api.fail("too far").catch(failure);
  heard.missing = await api.nowhere().catch((error) => error.name);
  const counter = await api.counter();
  await counter.add(2);
  heard.builtIn = await counter.add(3);
  heard.across = await api.otherCounter().add(7);
  heard.callbackFails = await api.each([1], () => {
    throw new SyntaxError("mine");
  }).catch(failure);
  // The notes above: one disposed of, one left to the end of the session, those of `map` dropped by it.
  heard.disposedBefore = (await api.disposed()) > 0;
  const closed = new Promise((resolve) => socket.addEventListener("close", resolve));
  api[Symbol.dispose]();
  await closed;
}

async function overHttp() {
  const batch = newHttpBatchRpcSession(url);
  const [greeting, text, ids, mapped, failed] = await Promise.all([
    batch.greet("batch"),
    batch.write("third").text(),
    batch.ids(),
    batch.ids().map((id) => batch.note(id).text()),
    batch.fail("in a batch").catch(failure),
  ]);
  heard.batch = { greeting, text, ids, mapped, failed };
}

await overWebSocket();
await overHttp();
console.log(JSON.stringify(heard));
