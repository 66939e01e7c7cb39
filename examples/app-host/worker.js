// The HTTP side: which request goes where, and what the browser is told about it.
// What an app is, and who governs it, is in supervisor.js.
import page from "./ui/page.html";
import { samples } from "./samples/index.js";
import { contained, hostPage, isForeignSite, preflight, refusalForApi } from "./security.js";
import { errorPage } from "./error_page.js";

export { Supervisor } from "./supervisor.js";

const BODY_BYTES_MAX = 1024 * 1024;

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const supervisor = env.SUPERVISOR.getByName("main");

    if (url.pathname === "/") return hostPage(page);
    if (url.pathname.startsWith("/api/")) return answerApi(request, url, supervisor);
    if (url.pathname.startsWith("/apps/")) return answerApp(request, url, supervisor);
    return new Response("Not found\n", { status: 404 });
  },
};

/** `/apps/NAME/...`: the app's own page and API. The app itself sees `/...`. */
async function answerApp(request, url, supervisor) {
  const found = /^\/apps\/([a-z0-9-]{1,40})(\/.*)?$/.exec(url.pathname);
  if (!found) return new Response("Not found\n", { status: 404 });
  const [, name, path] = found;
  if (path === undefined) return new Response(null, { status: 308, headers: { location: `/apps/${name}/${url.search}` } });
  if (isForeignSite(request, url)) return new Response("Not for other sites\n", { status: 403 });
  if (preflight.asks(request)) return preflight.answer(request);

  const inner = new URL(url);
  inner.pathname = path;
  const headers = new Headers(request.headers);
  // What the browser holds for this host is none of the app's business.
  headers.delete("cookie");
  headers.delete("authorization");
  headers.set("x-forwarded-prefix", `/apps/${name}`);
  headers.set("x-app-name", name);
  const forwarded = new Request(inner, { method: request.method, headers, body: request.body, redirect: "manual" });

  let response;
  try {
    response = await supervisor.fetch(forwarded);
  } catch (error) {
    // The supervisor answers for its apps; it fails itself only if the host does.
    console.error("supervisor failed", error);
    response = errorPage(request, 503, "The host is not available", "Please try again.");
  }
  return contained(response, request, url, name);
}

/** `/api/...`: what the host's own page (or a script of the operator) may do. */
async function answerApi(request, url, supervisor) {
  const refusal = refusalForApi(request, url);
  if (refusal) return Response.json({ error: refusal }, { status: 403 });

  const [, , kind, name, ...rest] = url.pathname.split("/");
  if (kind === "samples" && name === undefined && request.method === "GET") return Response.json({ samples });
  if (kind !== "apps" || rest.length) return Response.json({ error: "No such resource." }, { status: 404 });

  let input = {};
  if (request.method === "POST" || request.method === "PUT") {
    try {
      input = await readJson(request);
    } catch (error) {
      return Response.json({ error: error.message }, { status: error instanceof RangeError ? 413 : 400 });
    }
  }
  switch (`${request.method} ${name === undefined ? "all" : "one"}`) {
    case "GET all":
      return Response.json({ apps: await supervisor.list() });
    case "POST all":
      return jsonOf(await supervisor.create(input), 201);
    case "GET one":
      return jsonOf(await supervisor.describe(name));
    case "PUT one":
      return jsonOf(await supervisor.update(name, input));
    case "DELETE one":
      return jsonOf(await supervisor.remove(name));
    default:
      return Response.json({ error: `${request.method} is not possible here.` }, { status: 405 });
  }
}

/** The supervisor returns `{app}` or `{error, status}`. */
const jsonOf = ({ status, ...body }, success = 200) => Response.json(body, { status: status ?? success });

async function readJson(request) {
  if (Number(request.headers.get("content-length")) > BODY_BYTES_MAX) throw new RangeError("The request is too large.");
  const text = await request.text();
  if (text.length > BODY_BYTES_MAX) throw new RangeError("The request is too large.");
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new TypeError("The request is not JSON.");
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw new TypeError("The request is not a JSON object.");
  return value;
}
