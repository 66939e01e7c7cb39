// `console`: to the worker's log, never to the terminal of the process directly.
// API: https://developers.cloudflare.com/workers/runtime-apis/console/

import { core } from "ext:core/mod.js";
import { op_log } from "ext:core/ops";

const { Console } = core.loadExtScript("ext:deno_web/01_console.js");

// deno_web's levels: 0 debug, 1 info and log, 2 warn, 3 error.
const LEVELS = [0, 2, 3, 4];

/** Made when the isolate starts: a console cannot be part of the snapshot. */
export function makeConsole() {
  return new Console((text, level) => {
    op_log(LEVELS[level] ?? 2, text.endsWith("\n") ? text.slice(0, -1) : text);
  });
}
