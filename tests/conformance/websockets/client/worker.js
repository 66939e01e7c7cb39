// Client sockets: what `new WebSocket` and `fetch` refuse before anything is sent. Nothing listens at LOCAL.
import { answer, caught, show, thrown } from "./probe.js";

const LOCAL = "ws://127.0.0.1:1/";
const build = (...args) => thrown(() => { const s = new WebSocket(...args); return [s.url, s.protocol, s.extensions, s.binaryType]; });
const full = (fn) => { try { fn(); return "no error"; } catch (e) { return [e.constructor.name, e instanceof DOMException, e.name, e.code ?? null, e.message]; } };
const probes = {
  withoutNew: () => thrown(() => WebSocket(LOCAL)),
  nothing: () => thrown(() => new WebSocket()),
  undefined: () => thrown(() => new WebSocket(undefined)),
  null: () => thrown(() => new WebSocket(null)),
  number: () => thrown(() => new WebSocket(5)),
  empty: () => thrown(() => new WebSocket("")),
  relative: () => thrown(() => new WebSocket("/path")),
  notAUrl: () => thrown(() => new WebSocket("not a url")),
  errorClass: () => full(() => new WebSocket("/path")),
  http: () => build("http://127.0.0.1:1/"),
  https: () => build("https://127.0.0.1:1/"),
  ftp: () => build("ftp://127.0.0.1:1/"),
  schemeClass: () => full(() => new WebSocket("ftp://127.0.0.1:1/")),
  fragment: () => build(LOCAL + "#frag"),
  fragmentEmpty: () => build(LOCAL + "#"),
  fragmentClass: () => full(() => new WebSocket(LOCAL + "#frag")),
  badPort: () => build("ws://127.0.0.1:99999/"),
  urlObject: () => build(new URL(LOCAL)),
  urlAsGiven: () => build("WS://127.0.0.1:80/a/../b?q=1"),
  credentials: () => build("ws://user:pass@127.0.0.1:1/"),
  wss: () => build("wss://127.0.0.1:1/"),
  toStringObject: () => build({ toString: () => LOCAL }),
  protocol: () => build(LOCAL, "a"),
  protocols: () => build(LOCAL, ["a", "b"]),
  protocolsNone: () => build(LOCAL, []),
  protocolsUndefined: () => build(LOCAL, undefined),
  protocolsNull: () => build(LOCAL, null),
  protocolsNumber: () => build(LOCAL, 5),
  protocolsObject: () => build(LOCAL, {}),
  protocolsSet: () => build(LOCAL, new Set(["a"])),
  protocolRepeated: () => build(LOCAL, ["a", "a"]),
  protocolRepeatedCase: () => build(LOCAL, ["a", "A"]),
  protocolRepeatedClass: () => full(() => new WebSocket(LOCAL, ["a", "a"])),
  protocolEmpty: () => build(LOCAL, ""),
  protocolEmptyInList: () => build(LOCAL, ["a", ""]),
  protocolSpace: () => build(LOCAL, "a b"),
  protocolComma: () => build(LOCAL, "a,b"),
  protocolNonAscii: () => build(LOCAL, "\u00e9"),
  protocolClass: () => full(() => new WebSocket(LOCAL, "a b")),
  options: () => build(LOCAL, { headers: { "x-a": "1" } }),
  schemeBeforeFragment: () => build("ftp://127.0.0.1:1/#f", ["a", "a"]),
  freshState: () => { const s = new WebSocket(LOCAL); return [s.readyState, show(s.url), s.protocol, s.extensions, s.binaryType, s.bufferedAmount, s instanceof WebSocket, Object.prototype.toString.call(s)]; },
  accept: () => thrown(() => new WebSocket(LOCAL).accept()),
  sendWhileConnecting: () => full(() => new WebSocket(LOCAL).send("x")),
  closeWhileConnecting: () => full(() => new WebSocket(LOCAL).close()),
  stateAfterCloseWhileConnecting: () => { const s = new WebSocket(LOCAL); s.close(); return s.readyState; },
  closeReasonWhileConnecting: () => thrown(() => new WebSocket(LOCAL).close(3000, "r")),
  closeBadCodeWhileConnecting: () => thrown(() => new WebSocket(LOCAL).close(999)),
  intoResponse: () => thrown(() => new Response(null, { status: 101, webSocket: new WebSocket(LOCAL) }).status),

  fetchWs: () => caught(() => fetch("ws://127.0.0.1:1/")),
  fetchWss: () => caught(() => fetch("wss://127.0.0.1:1/p?q")),
  fetchWsUpgrade: () => caught(() => fetch("ws://127.0.0.1:1/", { headers: { Upgrade: "websocket" } })),
  requestWs: () => thrown(() => new Request("ws://127.0.0.1:1/").url),
};
// The texts end in advice; the first sentence says it all.
const first = (e) => (Array.isArray(e) ? [e[0], String(e[1]).split(". ")[0]] : e);
const globals = [thrown(() => new WebSocket(LOCAL).readyState), thrown(() => new WebSocketPair()[0].readyState)].map(first);
probes.globalScope = () => globals;
export default { fetch: () => answer(probes) };
