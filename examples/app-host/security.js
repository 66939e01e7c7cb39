// What a browser may do with the pages of this origin. The host's page and the apps' pages share one
// origin here, and an app's page is hostile until shown otherwise. README.md ("Isolation in the
// browser") tells the whole story; this file is all of its code.

/** The header that only the host's page and deliberate scripts send: no form and no other site can. */
const CONSENT_HEADER = "x-app-host";

/** Response headers an app may set. Everything else would act on the whole origin (cookies, reports, service workers ...). */
const APP_HEADERS = new Set([
  "accept-ranges", "allow", "cache-control", "content-disposition", "content-language", "content-length", "content-range",
  "content-type", "etag", "expires", "last-modified", "location", "retry-after", "vary",
]);

/** The host's page: runs its own inline script and style and nothing else, and is never framed. */
export function hostPage(html) {
  const nonce = crypto.randomUUID();
  return new Response(html.replaceAll("{{nonce}}", nonce), {
    headers: {
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-store",
      "content-security-policy": [
        "default-src 'none'", `script-src 'nonce-${nonce}'`, `style-src 'nonce-${nonce}'`, "img-src data:", "connect-src 'self'",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
      ].join("; "),
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-resource-policy": "same-origin",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
    },
  });
}

/** Why this request may not use the host's API, or `null`. An app's page has the origin "null". */
export function refusalForApi(request, url) {
  const origin = request.headers.get("origin");
  if (origin !== null && origin !== url.origin) return "The API is not for pages of other origins.";
  if (["cross-site", "same-site"].includes(request.headers.get("sec-fetch-site"))) return "The API is not for other sites.";
  const reads = request.method === "GET" || request.method === "HEAD";
  if (!reads && !request.headers.has(CONSENT_HEADER)) return `Send the header "${CONSENT_HEADER}: 1" to change something.`;
  return null;
}

/** True for a request by a page of another site. Apps' pages ("null") and plain navigation are fine. */
export function isForeignSite(request, url) {
  const origin = request.headers.get("origin");
  return origin !== null && origin !== "null" && origin !== url.origin;
}

/** An app's page asks its own API across origins ("null" to this one), so browsers send preflights. */
export const preflight = {
  asks: (request) => request.method === "OPTIONS" && request.headers.get("origin") === "null" && request.headers.has("access-control-request-method"),
  answer: (request) =>
    new Response(null, {
      status: 204,
      headers: {
        "access-control-allow-origin": "null",
        "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "access-control-allow-headers": request.headers.get("access-control-request-headers") ?? "",
        "access-control-max-age": "600",
        vary: "origin, access-control-request-method, access-control-request-headers",
      },
    }),
};

/** The app's response with everything taken away that reaches beyond the app. */
export function contained(response, request, url, name) {
  // A WebSocket handshake carries no document.
  if (response.webSocket) return response;

  const headers = new Headers();
  for (const [key, value] of response.headers) if (APP_HEADERS.has(key)) headers.append(key, value);

  const location = headers.get("location");
  if (location !== null) headers.set("location", containedLocation(location, url, name));

  const home = `${url.host}/apps/${name}/`;
  const http = `${url.protocol}//${home}`;
  const socket = `${url.protocol === "https:" ? "wss" : "ws"}://${home}`;
  headers.set("content-security-policy", [
    // No allow-same-origin: the page gets an origin of its own that equals no other.
    "sandbox allow-scripts allow-forms allow-modals allow-downloads",
    // It loads from, connects to and submits to its own path only, so it sees no neighbour and leaks nothing.
    `default-src ${http} 'unsafe-inline' 'unsafe-eval' data: blob:`,
    `connect-src ${http} ${socket} data: blob:`,
    `form-action ${http}`, `base-uri ${http}`, "frame-ancestors 'none'",
  ].join("; "));
  headers.set("referrer-policy", "no-referrer");
  headers.set("x-content-type-options", "nosniff");
  if (request.headers.get("origin") === "null") {
    headers.set("access-control-allow-origin", "null");
    headers.set("access-control-expose-headers", "*");
  }
  headers.append("vary", "origin");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

/** An app that redirects to `/x` means its own `/x`; other hosts stay as they are. */
function containedLocation(location, url, name) {
  const base = new URL(url);
  base.pathname = url.pathname.slice(`/apps/${name}`.length);
  let target;
  try {
    target = new URL(location, base);
  } catch {
    return `/apps/${name}/`;
  }
  if (!/^https?:$/.test(target.protocol)) return `/apps/${name}/`;
  if (target.origin !== url.origin) return target.href;
  return `/apps/${name}${target.pathname}${target.search}${target.hash}`;
}
