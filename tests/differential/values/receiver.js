// The other end of each hop: what is called, wherever it lives.
import { DurableObject, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { make, tell } from "./values.js";

class Holder extends RpcTarget {
  #spec;
  constructor(spec) {
    super();
    this.#spec = spec;
  }
  get value() {
    return make(this.#spec);
  }
}

/** The ways a value can cross, seen from the one who is called. */
const WAYS = {
  /** As an argument, told here. */
  take(value) {
    return tell(value);
  },
  give(spec) {
    return make(spec);
  },
  toss(spec) {
    throw make(spec);
  },
  async tossLater(spec) {
    await null;
    throw make(spec);
  },
  tossInside(spec) {
    throw Object.assign(new RangeError("carries"), { code: 7, inside: make(spec) });
  },
  tossCause(spec) {
    throw new TypeError("because", { cause: make(spec) });
  },
  hold(spec) {
    return new Holder(spec);
  },
  back(value) {
    return value;
  },
  /** Calls `callback`, a function of the caller's, with a value. */
  async call(callback, spec) {
    return callback(make(spec));
  },
  async receive(callback) {
    return tell(await callback());
  },
  async hear(callback) {
    try {
      return `returned ${await tell(await callback())}`;
    } catch (error) {
      return `caught ${await tell(error)}`;
    }
  },
};

function withWays(Base) {
  const Class = class extends Base {};
  for (const way of Object.keys(WAYS)) Object.defineProperty(Class.prototype, way, { value: WAYS[way] });
  return Class;
}

export class Entry extends withWays(WorkerEntrypoint) {}
export class Obj extends withWays(DurableObject) {}

/** A facet that hands everything on to a facet of its own. */
export class Nest extends DurableObject {}
for (const way of Object.keys(WAYS)) {
  Object.defineProperty(Nest.prototype, way, {
    value(...args) {
      return this.ctx.facets.get("inner", () => ({ class: this.ctx.exports.Obj }))[way](...args);
    },
  });
}

export default Entry;
