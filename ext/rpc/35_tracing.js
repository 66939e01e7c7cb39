// `ctx.tracing` and `tracing` of `cloudflare:workers`: spans that nobody collects.
// API: https://developers.cloudflare.com/workers/observability/traces/custom-spans/
//
// Code with spans in it runs as it would where traces are off.

const kOurs = Symbol("ours");

class Span {
  constructor(key) {
    if (key !== kOurs) throw new TypeError("Illegal constructor");
  }
  get isTraced() {
    return false;
  }
  spanContext() {
    return { traceId: "00000000000000000000000000000000", spanId: "0000000000000000", traceFlags: 0 };
  }
  setAttribute() {
    return this;
  }
  setAttributes() {
    return this;
  }
  recordException() {}
  updateName() {
    return this;
  }
  setStatus() {
    return this;
  }
  end() {}
}

function requireFunction(value, method) {
  if (typeof value !== "function") {
    throw new TypeError(`Failed to execute '${method}' on 'Tracing': parameter 2 is not of type 'Function'.`);
  }
}

class Tracing {
  enterSpan(_name, run, ...args) {
    requireFunction(run, "enterSpan");
    return run(new Span(kOurs), ...args);
  }
  startActiveSpan(_name, run, ...args) {
    requireFunction(run, "startActiveSpan");
    return run(new Span(kOurs), ...args);
  }
  startSpan() {
    return new Span(kOurs);
  }
  getActiveSpan() {
    return new Span(kOurs);
  }
  withActiveSpan(_span, run, ...args) {
    requireFunction(run, "withActiveSpan");
    return run(...args);
  }
}
Object.defineProperty(Tracing.prototype, "Span", { value: Span, configurable: true, writable: true });
for (const Class of [Span, Tracing]) {
  Object.defineProperty(Class.prototype, Symbol.toStringTag, { value: Class.name, configurable: true });
}

export const tracing = new Tracing();
