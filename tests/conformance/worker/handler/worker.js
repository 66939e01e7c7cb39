// The fetch handler at the edge: what it sees of a request, what becomes of its response.
export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    const [, route, rest] = url.pathname.split("/");
    if (route === "echo") return new Response(request.body, { headers: { "content-type": request.headers.get("content-type") } });
    if (route === "head") return new Response("never sent", { headers: { "x-head": "yes" } });
    if (route === "status") return new Response(rest === "204" ? null : `status ${rest}`, { status: Number(rest) });
    if (route === "redirect") return Response.redirect("https://example.com/there?a=b", 302);
    if (route === "cookies") {
      const headers = new Headers({ "x-multi": "one" });
      headers.append("x-multi", "two");
      headers.append("set-cookie", "a=1");
      headers.append("set-cookie", "b=2; Path=/");
      return new Response("cookies", { headers });
    }
    if (route === "stream") {
      const { readable, writable } = new TransformStream();
      const writer = writable.getWriter();
      ctx.waitUntil((async () => {
        for (const part of ["one ", "two ", "three"]) {
          await writer.write(new TextEncoder().encode(part));
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        await writer.close();
      })());
      return new Response(readable);
    }
    if (route === "fixed") {
      const { readable, writable } = new FixedLengthStream(5);
      const writer = writable.getWriter();
      writer.write(new TextEncoder().encode("fixed"));
      writer.close();
      return new Response(readable);
    }
    if (route === "text") return new Response("text ü");
    if (route === "bytes") return new Response(new Uint8Array([104, 105]));
    if (route === "json") return Response.json({ a: [1, null, "ü"], b: undefined });
    if (route === "empty") return new Response(null);
    if (route === "async") return new Promise((resolve) => setTimeout(() => resolve(new Response("later")), 5));
    if (route === "reader") {
      let text = "";
      for await (const chunk of request.body.pipeThrough(new TextDecoderStream())) text += chunk;
      return Response.json({ text, used: request.bodyUsed });
    }
    return Response.json({
      method: request.method,
      path: url.pathname,
      search: url.search,
      hash: url.hash,
      protocol: url.protocol,
      one: request.headers.get("X-One"),
      missing: request.headers.get("x-missing"),
      redirect: request.redirect,
      body: request.body === null ? null : await request.text(),
      arguments: arguments.length,
      env: Object.keys(env),
      isRequest: request instanceof Request,
    });
  },
};
