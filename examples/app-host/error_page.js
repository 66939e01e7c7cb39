/** Text made safe for HTML, in content and in attributes. */
export const escapeHtml = (text) => String(text).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

/**
 * The host's word about an app that did not answer: HTML for a browser that navigates, JSON otherwise.
 * @param {string} detail may hold whatever the app's code threw
 */
export function errorPage(request, status, title, detail, headers = {}) {
  if (!request.headers.get("accept")?.includes("text/html")) {
    return Response.json({ error: title, detail }, { status, headers });
  }
  const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
  body { max-width: 44rem; margin: 12vh auto; padding: 0 1.5rem; }
  p.status { font: 600 .8rem system-ui, sans-serif; letter-spacing: .08em; color: light-dark(#b42318, #ff9b8f); margin: 0; }
  h1 { margin: .2rem 0 1rem; font-size: 1.6rem; }
  pre { padding: 1rem; border-radius: .6rem; background: light-dark(#f4f4f6, #1d1f26); white-space: pre-wrap; overflow-wrap: anywhere; }
  a { color: light-dark(#4338ca, #a5b4fc); }
</style>
<p class="status">${status}</p>
<h1>${escapeHtml(title)}</h1>
<pre data-testid="app-error">${escapeHtml(detail)}</pre>
<p><a href="/">Back to the app host</a></p>
</html>`;
  return new Response(html, { status, headers: { "content-type": "text/html; charset=utf-8", ...headers } });
}
