// The clock: `Date` and `performance.now()`.
// API: https://developers.cloudflare.com/workers/runtime-apis/performance/
//
// It stands at 0 while the top level of the modules runs: a start must come out the same every time.

import { core, primordials } from "ext:core/mod.js";
import { op_web_elapsed_ms, op_web_now_ms, op_web_starting } from "ext:core/ops";
import { override, takeOver } from "ext:facetd_rpc/16_overlay.js";

const { Date: BaseDate, DatePrototypeToString, ObjectDefineProperty, ReflectConstruct } = primordials;
const { Performance } = core.loadExtScript("ext:deno_web/15_performance.js");
const { parse, UTC } = BaseDate;

function now() {
  return op_web_starting() ? 0 : op_web_now_ms();
}

// V8 asks the operating system for the time, so a Date of no arguments has to be told.
function WorkerDate(_year, _month, _day, _hours, _minutes, _seconds, _ms) {
  if (new.target === undefined) return DatePrototypeToString(new BaseDate(now()));
  if (arguments.length === 0 && op_web_starting()) return ReflectConstruct(BaseDate, [0], new.target);
  return ReflectConstruct(BaseDate, arguments, new.target);
}

export function installClock() {
  takeOver(WorkerDate, BaseDate);
  const statics = { name: "Date", now, parse, UTC };
  for (const key in statics) {
    const writable = key !== "name";
    ObjectDefineProperty(WorkerDate, key, { __proto__: null, value: statics[key], writable, configurable: true });
  }
  ObjectDefineProperty(globalThis, "Date", {
    __proto__: null,
    value: WorkerDate,
    writable: true,
    configurable: true,
    enumerable: false,
  });
  override(Performance.prototype, {
    now() {
      return op_web_starting() ? 0 : op_web_elapsed_ms();
    },
    get timeOrigin() {
      return 0;
    },
  });
}
