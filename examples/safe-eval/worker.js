import page from "./page.html";
import runnerModule from "./runner.js.txt";

const CODE_BYTES_MAX = 64 * 1024;
const ANSWER_MS_MAX = 2000;
/** Enforced by the runtime, from outside of the isolate. */
const LIMITS = { cpuMs: 50, memoryMb: 32, wallMs: ANSWER_MS_MAX };

export default {
  /** `POST /` with JavaScript as the body: runs it once, in an isolate made for it. */
  async fetch(request, env) {
    if (new URL(request.url).pathname !== "/") return new Response("Not found\n", { status: 404 });
    if (request.method === "GET") return new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } });
    if (request.method !== "POST") return new Response("Use GET or POST.\n", { status: 405, headers: { allow: "GET, POST" } });

    const body = await request.arrayBuffer();
    if (body.byteLength > CODE_BYTES_MAX) return Response.json({ error: `The code is longer than ${CODE_BYTES_MAX} bytes.` }, { status: 413 });
    return Response.json(await evaluate(env.LOADER, new TextDecoder().decode(body)));
  },
};

/**
 * @param {string} code the body of an async function: it may `await`, and `return`s its result
 * @returns {{ok: true, value: any, logs: string[]} | {ok: false, error: {name: string, message: string}, logs: string[]}}
 */
async function evaluate(loader, code) {
  // `eval` is refused everywhere, so the code becomes a module. On the first line, so that line numbers
  // in errors are the author's. Code that closes the function and goes on is no escape: it is still inside the isolate.
  const userModule = `export default async function (input) { ${code}\n}`;
  const worker = loader.load({
    compatibilityDate: "2026-09-01",
    mainModule: "runner.js",
    modules: { "runner.js": runnerModule, "code.js": userModule },
    env: {},
    globalOutbound: null,
    limits: LIMITS,
  });
  let timer;
  const tooLate = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`The code did not finish within ${ANSWER_MS_MAX} ms.`)), ANSWER_MS_MAX);
  });
  try {
    // JSON text, made inside: nothing but a string comes out of there.
    return JSON.parse(await Promise.race([worker.getEntrypoint("Runner").run(), tooLate]));
  } catch (error) {
    // It did not start, was stopped by a limit, or never finished.
    return { ok: false, error: { name: error.name, message: error.message }, logs: [] };
  } finally {
    clearTimeout(timer);
  }
}
