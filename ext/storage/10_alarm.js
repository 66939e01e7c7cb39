// Alarms: when the handler may run, what it is told, and what its end means.
// API: https://developers.cloudflare.com/durable-objects/api/alarms/

import { op_alarm_begin, op_alarm_end, op_gate_depth, op_gate_leave, op_log } from "ext:core/ops";
import { hooks, tracer } from "ext:facetd_rpc/40_events.js";
import { types } from "ext:facetd_rpc/10_clone.js";
import { enterSection } from "ext:facetd_storage/00_storage.js";

class AlarmInvocationInfo {
  constructor(scheduledTime, retryCount, isRetry) {
    this.isRetry = isRetry;
    this.retryCount = retryCount;
    this.scheduledTime = scheduledTime;
  }
}
Object.defineProperty(AlarmInvocationInfo.prototype, Symbol.toStringTag, { value: "AlarmInvocationInfo" });
types.platform.add(AlarmInvocationInfo);

const WARN = 3;
const NO_HANDLER = "Attempted to run a scheduled alarm without a handler, did you remember to export an alarm() function?";

hooks.alarm = (event, { instance }) => {
  const number = event.io.context.number;
  const due = op_alarm_begin(number, event.number);
  if (due === null) {
    event.answered = true;
    event.over();
    return;
  }
  tracer?.alarm(event, due[0]);
  if (typeof instance.alarm !== "function") {
    op_log(WARN, NO_HANDLER);
    succeeded(event);
    return;
  }
  const run = async () => instance.alarm(new AlarmInvocationInfo(...due));
  run().then(
    () => {
      // A transaction that the handler left open must not take the end of the alarm with it.
      if (op_gate_depth(number) > 0) return inSection(event, () => succeeded(event));
      succeeded(event);
    },
  ).catch((error) => {
    op_alarm_end(number, event.number, false);
    event.fail(error);
  });
};

function succeeded(event) {
  op_alarm_end(event.io.context.number, event.number, true);
  event.answered = true;
  event.over();
}

async function inSection({ io }, end) {
  const section = await enterSection(io);
  try {
    end();
  } finally {
    op_gate_leave(io.context.number, section);
  }
}
