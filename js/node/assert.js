// `node:assert` and `node:assert/strict`. API: https://nodejs.org/docs/latest-v20.x/api/assert.html
//
// Runs inside the start-up snapshot as a classic script; its value is a function of `{ inspect, types }` (inspect.js)
// and `{ isDeepEqual, isDeepStrictEqual }` (deep_equal.js), merged into one object. It returns the default export;
// `node:assert/strict` is its `.strict`.
//
// Behaves as Node 20, messages included, with these exceptions:
// DIVERGES: workerd's `assert.equal` and `assert.deepEqual` are the strict ones; ours are loose, as Node's.
// DIVERGES: `assert(value)` cannot quote the failing line of source; it says `0 == true`, as workerd's does.
// DIVERGES: among the shortest diffs of two long values Node may choose another one, or show more lines of it.
// DIVERGES: errors appear as `[Error: text]` where Node often prints their stacks, and `actual` and `expected` are
//   the values themselves where Node copies errors.
// DIVERGES: a message given by the caller is always used; Node 20 drops it when both values look the same.
// DIVERGES: the deprecated `CallTracker` is missing; so are workerd's newer `Assert` and `partialDeepStrictEqual`.

(function (parts) {
  "use strict";

  const { inspect, types, isDeepEqual, isDeepStrictEqual } = parts;
  const { captureStackTrace } = Error;
  const ErrorConstructor = Error;
  const { assign, defineProperty, is: sameValue, keys: ownKeys } = Object;
  const { apply } = Reflect;
  const regExpExec = Function.prototype.call.bind(RegExp.prototype.exec);
  const isPrototypeOf = Function.prototype.call.bind(Object.prototype.isPrototypeOf);

  const isObject = (value) => typeof value === "object" && value !== null;
  const isError = (value) => types.isNativeError(value) || value instanceof ErrorConstructor;
  const matches = (regexp, text) => regExpExec(regexp, text) !== null;

  // ---- Wrong arguments ----------------------------------------------------------------------------------------

  /** An error with a Node error code, which shows in the stack but not in `name`. */
  function codedError(Class, code, message) {
    const error = new Class(message);
    defineProperty(error, "name", { value: `${error.name} [${code}]`, configurable: true });
    captureStackTrace(error, codedError);
    void error.stack; // V8 makes the text now, while the name holds the code
    delete error.name;
    return assign(error, { code });
  }

  function wrongType(name, wanted, value) {
    const message = `The "${name}" argument must be ${wanted}. Received ${describe(value)}`;
    return codedError(TypeError, "ERR_INVALID_ARG_TYPE", message);
  }

  function describe(value) {
    if (value === null || value === undefined) return `${value}`;
    if (typeof value === "function") return value.name ? `function ${value.name}` : "function ";
    if (typeof value === "object") {
      return value.constructor?.name ? `an instance of ${value.constructor.name}` : inspect(value, { depth: -1 });
    }
    if (typeof value !== "string") return `type ${typeof value} (${cut(inspect(value), 28)})`;
    const text = cut(value, 28);
    return `type string (${text.includes("'") ? JSON.stringify(text) : `'${text}'`})`;
  }

  function needTwo(args) {
    if (args.length >= 2) return;
    throw codedError(TypeError, "ERR_MISSING_ARGS", 'The "actual" and "expected" arguments must be specified');
  }

  // ---- Messages -----------------------------------------------------------------------------------------------

  const TITLES = {
    deepStrictEqual: "Expected values to be strictly deep-equal:",
    strictEqual: "Expected values to be strictly equal:",
    strictEqualObject: 'Expected "actual" to be reference-equal to "expected":',
    deepEqual: "Expected values to be loosely deep-equal:",
    notDeepStrictEqual: 'Expected "actual" not to be strictly deep-equal to:',
    notStrictEqual: 'Expected "actual" to be strictly unequal to:',
    notStrictEqualObject: 'Expected "actual" not to be reference-equal to "expected":',
    notDeepEqual: 'Expected "actual" not to be loosely deep-equal to:',
    notDeepEqualUnequal: "Expected values not to be loosely deep-equal:",
    identical: "Values have same structure but are not reference-equal:",
  };

  const LINES_MAX = 50; // of a value or a diff in a message
  const CONTEXT_LINES = 2; // kept on each side of a change, and at both ends
  const CELLS_MAX = 1_000_000; // of the table that finds the shortest diff: 4 MB for the time of one message

  /** One property per line, in one order, however deep: what a line diff needs. */
  const show = (value) =>
    inspect(value, {
      breakLength: Infinity,
      compact: false,
      customInspect: false,
      depth: 1000,
      errorStack: false,
      getters: true,
      maxArrayLength: null,
      sorted: true,
    });

  const cut = (text, max) => (text.length > max ? `${text.slice(0, max - 3)}...` : text);
  const cutLines = (lines) => (lines.length > LINES_MAX ? [...lines.slice(0, LINES_MAX - 4), "..."] : lines);

  function messageFor(actual, expected, operator) {
    switch (operator) {
      case "deepStrictEqual":
      case "strictEqual":
        return describeDifference(actual, expected, operator);
      case "notDeepStrictEqual":
      case "notStrictEqual": {
        const byReference = operator === "notStrictEqual" && (isObject(actual) || typeof actual === "function");
        const title = byReference ? TITLES.notStrictEqualObject : TITLES[operator];
        const lines = cutLines(show(actual).split("\n"));
        if (lines.length > 1) return `${title}\n\n${lines.join("\n")}\n`;
        return `${title}${lines[0].length > 5 ? "\n\n" : " "}${lines[0]}`;
      }
      case "deepEqual":
      case "notDeepEqual": {
        const left = show(actual);
        const right = show(expected);
        if (operator === "notDeepEqual" && left === right) return cut(`${TITLES.notDeepEqual}\n\n${left}`, 1024);
        const [title, verb] = operator === "deepEqual"
          ? [TITLES.deepEqual, "should loosely deep-equal"]
          : [TITLES.notDeepEqualUnequal, "should not loosely deep-equal"];
        return `${title}\n\n${cut(left, 512)}\n\n${verb}\n\n${cut(right, 512)}`;
      }
      default:
        return `${cut(show(actual), 512)} ${operator} ${cut(show(expected), 512)}`;
    }
  }

  function describeDifference(actual, expected, operator) {
    const bothObjects = isObject(actual) && isObject(expected);
    const bothFunctions = typeof actual === "function" && typeof expected === "function";
    const byReference = operator === "strictEqual" && (bothObjects || bothFunctions);
    const title = TITLES[byReference ? "strictEqualObject" : operator];
    const left = show(actual).split("\n");
    const right = show(expected).split("\n");
    let pointer = "";
    if (left.length === 1 && right.length === 1) {
      const [a] = left;
      const [b] = right;
      if (a === b) return `${TITLES.identical}\n\n${a}\n`;
      const length = a.length + b.length;
      if (length <= 12) {
        // Zeros get the diff, where 0 and -0 stand below each other.
        const areZeros = actual === 0 && expected === 0;
        if (!isObject(actual) && !isObject(expected) && !areZeros) return `${title}\n\n${a} !== ${b}\n`;
      } else if (!byReference && length < 80) {
        let same = 0;
        while (a[same] === b[same]) same++;
        if (same > 2) pointer = `\n  ${" ".repeat(same)}^`;
      }
    }
    const { lines, skipped, isSame } = linesOf(left, right);
    if (isSame) return `${TITLES.identical}\n\n${cutLines(left).join("\n")}\n`;
    return `${title}\n+ actual - expected${skipped ? " ... Lines skipped" : ""}\n\n${lines.join("\n")}${pointer}`;
  }

  /** The diff as lines marked `+`, `-` or neither; long unchanged stretches become `...`. */
  function linesOf(left, right) {
    const changes = diff(left, right);
    const isKept = changes.map((_, i) => i < CONTEXT_LINES || i >= changes.length - CONTEXT_LINES);
    let isSame = true;
    changes.forEach(({ mark }, i) => {
      if (mark === " ") return;
      isSame = false;
      for (let j = i - CONTEXT_LINES; j <= i + CONTEXT_LINES; j++) isKept[j] = true;
    });
    const lines = [];
    let skipped = false;
    for (let i = 0; i < changes.length; i++) {
      if (lines.length >= LINES_MAX) {
        lines.push("...");
        return { lines, skipped: true, isSame };
      }
      // A gap of one line is not worth its "...".
      if (isKept[i] || (isKept[i - 1] && isKept[i + 1])) {
        lines.push(`${changes[i].mark} ${changes[i].line}`);
      } else if (lines.at(-1) !== "...") {
        lines.push("...");
        skipped = true;
      }
    }
    return { lines, skipped, isSame };
  }

  /** Turns `left` (marked `+`) and `right` (marked `-`) into one list, sharing as many lines as possible. */
  function diff(left, right) {
    // Only the last property of an object has no comma: no difference worth showing.
    const same = (i, j) => left[i] === right[j] || left[i].replace(/,$/, "") === right[j].replace(/,$/, "");
    let start = 0;
    let leftEnd = left.length;
    let rightEnd = right.length;
    while (start < leftEnd && start < rightEnd && same(start, start)) start++;
    while (leftEnd > start && rightEnd > start && same(leftEnd - 1, rightEnd - 1)) leftEnd--, rightEnd--;

    const rows = leftEnd - start;
    const columns = rightEnd - start;
    const width = columns + 1;
    // shared[i * width + j]: how many lines the rests from i and j have in common. Too large: show all as changed.
    const isSmall = (rows + 1) * width <= CELLS_MAX;
    const shared = isSmall ? new Uint32Array((rows + 1) * width) : undefined;
    if (isSmall) {
      for (let i = rows - 1; i >= 0; i--) {
        for (let j = columns - 1; j >= 0; j--) {
          const at = i * width + j;
          shared[at] = same(start + i, start + j)
            ? shared[at + width + 1] + 1
            : Math.max(shared[at + width], shared[at + 1]);
        }
      }
    }

    const changes = [];
    const keep = (i, j) => changes.push({ mark: " ", line: left[i].length > right[j].length ? left[i] : right[j] });
    for (let i = 0; i < start; i++) keep(i, i);
    let removed = []; // lines of `right` wait until the lines of `left` beside them are out
    const flush = () => {
      for (const line of removed) changes.push({ mark: "-", line });
      removed = [];
    };
    let i = 0;
    let j = 0;
    while (i < rows || j < columns) {
      if (isSmall && i < rows && j < columns && same(start + i, start + j)) {
        flush();
        keep(start + i, start + j);
        i++;
        j++;
      } else if (j >= columns || (i < rows && (!isSmall || shared[(i + 1) * width + j] >= shared[i * width + j + 1]))) {
        changes.push({ mark: "+", line: left[start + i++] });
      } else {
        removed.push(right[start + j++]);
      }
    }
    flush();
    for (let i = leftEnd, j = rightEnd; i < left.length; i++, j++) keep(i, j);
    return changes;
  }

  // ---- AssertionError -----------------------------------------------------------------------------------------

  class AssertionError extends Error {
    /**
     * @param {{ message?: unknown, actual?: unknown, expected?: unknown, operator?: string,
     *   stackStartFn?: Function }} options Without `message` one is made from the rest.
     */
    constructor(options) {
      if (!isObject(options) || Array.isArray(options)) throw wrongType("options", "of type object", options);
      const { message, actual, expected, operator, stackStartFn, stackStartFunction } = options;
      super(message != null ? String(message) : messageFor(actual, expected, operator));
      this.generatedMessage = !message;
      const name = { value: "AssertionError [ERR_ASSERTION]", writable: true, configurable: true };
      defineProperty(this, "name", name);
      assign(this, { code: "ERR_ASSERTION", actual, expected, operator });
      captureStackTrace(this, stackStartFn ?? stackStartFunction);
      void this.stack; // V8 makes the text now, while the name holds the code
      this.name = "AssertionError";
    }

    toString() {
      return `${this.name} [${this.code}]: ${this.message}`;
    }

    /** Without this, a console would print `actual` and `expected` in full depth beside the message. */
    [inspect.custom](_depth, options) {
      return inspect(this, { ...options, customInspect: false, depth: 0 });
    }
  }

  /** Throws what a failed assertion throws; a message that is an error is thrown instead. */
  function throwFailure(details) {
    if (isError(details.message)) throw details.message;
    throw new AssertionError(details);
  }

  /** For a message that may be ours: `generatedMessage` tells. As in Node, an error is taken for its text here. */
  function throwGenerated(message, makeMessage, details) {
    const error = new AssertionError({ ...details, message: message || makeMessage() });
    error.generatedMessage = !message;
    throw error;
  }

  // ---- Truth and failure --------------------------------------------------------------------------------------

  function checkTruth(fn, args) {
    const [value] = args;
    let [, message] = args;
    if (value) return;
    let isGenerated = false;
    if (args.length === 0) {
      isGenerated = true;
      message = "No value argument passed to `assert.ok()`";
    } else if (message == null) {
      isGenerated = true;
    } else if (isError(message)) {
      throw message;
    }
    const error = new AssertionError({ actual: value, expected: true, message, operator: "==", stackStartFn: fn });
    error.generatedMessage = isGenerated;
    throw error;
  }

  function assert(...args) {
    checkTruth(assert, args);
  }

  function ok(...args) {
    checkTruth(ok, args);
  }

  /** `fail(actual, expected, message, operator, stackStartFn)` is deprecated but works. */
  function fail(actual, expected, message, operator, stackStartFn) {
    const isGenerated = actual == null && arguments.length <= 1;
    if (isGenerated) message = "Failed";
    else if (arguments.length === 1) {
      message = actual;
      actual = undefined;
    } else if (arguments.length === 2) operator = "!=";
    if (isError(message)) throw message;
    const details = { actual, expected, operator: operator ?? "fail", stackStartFn: stackStartFn ?? fail };
    if (message !== undefined) details.message = message;
    const error = new AssertionError(details);
    if (isGenerated) error.generatedMessage = true;
    throw error;
  }

  // ---- Equality -----------------------------------------------------------------------------------------------

  const isNaNValue = (value) => value !== value;
  const looselyEqual = (a, b) => a == b || (isNaNValue(a) && isNaNValue(b));

  function equal(actual, expected, message) {
    needTwo(arguments);
    if (looselyEqual(actual, expected)) return;
    throwFailure({ actual, expected, message, operator: "==", stackStartFn: equal });
  }

  function notEqual(actual, expected, message) {
    needTwo(arguments);
    if (!looselyEqual(actual, expected)) return;
    throwFailure({ actual, expected, message, operator: "!=", stackStartFn: notEqual });
  }

  function strictEqual(actual, expected, message) {
    needTwo(arguments);
    if (sameValue(actual, expected)) return;
    throwFailure({ actual, expected, message, operator: "strictEqual", stackStartFn: strictEqual });
  }

  function notStrictEqual(actual, expected, message) {
    needTwo(arguments);
    if (!sameValue(actual, expected)) return;
    throwFailure({ actual, expected, message, operator: "notStrictEqual", stackStartFn: notStrictEqual });
  }

  function deepEqual(actual, expected, message) {
    needTwo(arguments);
    if (isDeepEqual(actual, expected)) return;
    throwFailure({ actual, expected, message, operator: "deepEqual", stackStartFn: deepEqual });
  }

  function notDeepEqual(actual, expected, message) {
    needTwo(arguments);
    if (!isDeepEqual(actual, expected)) return;
    throwFailure({ actual, expected, message, operator: "notDeepEqual", stackStartFn: notDeepEqual });
  }

  function deepStrictEqual(actual, expected, message) {
    needTwo(arguments);
    if (isDeepStrictEqual(actual, expected)) return;
    throwFailure({ actual, expected, message, operator: "deepStrictEqual", stackStartFn: deepStrictEqual });
  }

  function notDeepStrictEqual(actual, expected, message) {
    needTwo(arguments);
    if (!isDeepStrictEqual(actual, expected)) return;
    throwFailure({ actual, expected, message, operator: "notDeepStrictEqual", stackStartFn: notDeepStrictEqual });
  }

  // ---- Exceptions and rejections ------------------------------------------------------------------------------

  const NOTHING = Symbol("nothing was thrown");

  function thrownBy(fn) {
    if (typeof fn !== "function") throw wrongType("fn", "of type function", fn);
    try {
      fn();
    } catch (error) {
      return error;
    }
    return NOTHING;
  }

  const isThenable = (value) =>
    types.isPromise(value) ||
    ((isObject(value) || typeof value === "function") && typeof value.then === "function" && typeof value.catch === "function");

  async function rejectionOf(promiseFn) {
    let promise = promiseFn;
    if (typeof promiseFn === "function") {
      promise = promiseFn();
      if (!isThenable(promise)) {
        const message = 'Expected instance of Promise to be returned from the "promiseFn" function but got ' +
          `${describe(promise)}.`;
        throw codedError(TypeError, "ERR_INVALID_RETURN_VALUE", message);
      }
    } else if (!isThenable(promiseFn)) {
      throw wrongType("promiseFn", "of type function or an instance of Promise", promiseFn);
    }
    try {
      await promise;
    } catch (error) {
      return error;
    }
    return NOTHING;
  }

  function throws(fn, ...args) {
    expectError(throws, "exception", thrownBy(fn), args);
  }

  function doesNotThrow(fn, ...args) {
    expectNoError(doesNotThrow, "exception", thrownBy(fn), args);
  }

  async function rejects(promiseFn, ...args) {
    expectError(rejects, "rejection", await rejectionOf(promiseFn), args);
  }

  async function doesNotReject(promiseFn, ...args) {
    expectNoError(doesNotReject, "rejection", await rejectionOf(promiseFn), args);
  }

  /** `args` is what the caller passed after the function: an expectation, a message, or both. */
  function expectError(fn, noun, actual, args) {
    let [expected, message] = args;
    if (typeof expected === "string") {
      if (args.length > 1) throw wrongExpectation(expected);
      refuseAmbiguous(actual, expected);
      message = expected;
      expected = undefined;
    } else if (expected != null && typeof expected !== "object" && typeof expected !== "function") {
      throw wrongExpectation(expected);
    }
    if (actual === NOTHING) {
      const which = expected?.name ? ` (${expected.name})` : "";
      const details = which + (message ? `: ${message}` : ".");
      throwFailure({
        actual: undefined,
        expected,
        operator: fn.name,
        message: `Missing expected ${noun}${details}`,
        stackStartFn: fn,
      });
    }
    if (expected) checkError(fn, actual, expected, message);
  }

  const wrongExpectation = (value) =>
    wrongType("error", "of type function or an instance of Error, RegExp, or Object", value);

  /** A string is the assertion's message; whoever meant the error's message wrote a check that never fails. */
  function refuseAmbiguous(actual, text) {
    let what;
    if (isObject(actual) && actual.message === text) what = `error message "${actual.message}"`;
    else if (actual === text) what = `error "${actual}"`;
    if (what === undefined) return;
    const message = `The "error/message" argument is ambiguous. The ${what} is identical to the message.`;
    throw codedError(TypeError, "ERR_AMBIGUOUS_ARGUMENT", message);
  }

  function checkError(fn, actual, expected, message) {
    const details = { actual, expected, operator: fn.name, stackStartFn: fn };
    if (typeof expected !== "function") {
      if (!types.isRegExp(expected)) return checkErrorFields(fn, actual, expected, message);
      const text = String(actual);
      if (matches(expected, text)) return;
      return throwGenerated(message, () => unmatched(expected, text), details);
    }
    // An arrow function has no prototype and cannot be a class.
    if (expected.prototype !== undefined && actual instanceof expected) return;
    if (isPrototypeOf(ErrorConstructor, expected)) {
      return throwGenerated(message, () => {
        const start = `The error is expected to be an instance of "${expected.name}". Received `;
        if (!isError(actual)) return `${start}"${inspect(actual, { depth: -1 })}"`;
        const said = actual.message ? `\n\nError message:\n\n${actual.message}` : "";
        return `${start}"${actual.constructor?.name || actual.name}"${said}`;
      }, details);
    }
    const result = apply(expected, {}, [actual]);
    if (result === true) return;
    throwGenerated(message, () => {
      const name = expected.name ? `"${expected.name}" ` : "";
      const caught = isError(actual) ? `\n\nCaught error:\n\n${actual}` : "";
      return `The ${name}validation function is expected to return "true". Received ${inspect(result)}${caught}`;
    }, details);
  }

  const unmatched = (regexp, text) =>
    `The input did not match the regular expression ${inspect(regexp)}. Input:\n\n${inspect(text)}\n`;

  /** Compares the properties that `expected` has; a regular expression there is matched against a string. */
  function checkErrorFields(fn, actual, expected, message) {
    const details = { actual, expected, message, operator: fn.name, stackStartFn: fn };
    if (!isObject(actual)) {
      const error = new AssertionError({ ...details, operator: "deepStrictEqual" });
      error.operator = fn.name;
      throw error;
    }
    const fields = ownKeys(expected);
    if (isError(expected)) fields.push("name", "message");
    else if (fields.length === 0) {
      const text = `The argument 'error' may not be an empty object. Received ${inspect(expected)}`;
      throw codedError(TypeError, "ERR_INVALID_ARG_VALUE", text);
    }
    const fits = (field) =>
      typeof actual[field] === "string" && types.isRegExp(expected[field]) && matches(expected[field], actual[field]);
    for (const field of fields) {
      if (fits(field) || (field in actual && isDeepStrictEqual(actual[field], expected[field]))) continue;
      if (message) throwFailure(details);
      // The diff shows the compared properties only, and a pattern that fits as the text it fits.
      class Comparison {}
      const left = new Comparison();
      const right = new Comparison();
      for (const name of fields) {
        if (name in actual) left[name] = actual[name];
        if (name in expected) right[name] = fits(name) ? actual[name] : expected[name];
      }
      const error = new AssertionError({
        actual: left,
        expected: right,
        operator: "deepStrictEqual",
        stackStartFn: fn,
      });
      throw assign(error, { actual, expected, operator: fn.name });
    }
  }

  function expectNoError(fn, noun, actual, [expected, message]) {
    if (actual === NOTHING) return;
    if (typeof expected === "string") {
      message = expected;
      expected = undefined;
    }
    if (expected && !isErrorOf(actual, expected)) throw actual;
    const details = message ? `: ${message}` : ".";
    throwFailure({
      actual,
      expected,
      operator: fn.name,
      message: `Got unwanted ${noun}${details}\nActual message: "${actual && actual.message}"`,
      stackStartFn: fn,
    });
  }

  function isErrorOf(actual, expected) {
    if (types.isRegExp(expected)) return matches(expected, String(actual));
    if (typeof expected !== "function") {
      throw wrongType("expected", "of type function or an instance of RegExp", expected);
    }
    if (expected.prototype !== undefined && actual instanceof expected) return true;
    return !isPrototypeOf(ErrorConstructor, expected) && apply(expected, {}, [actual]) === true;
  }

  // ---- Text and callbacks -------------------------------------------------------------------------------------

  function match(string, regexp, message) {
    checkMatch(match, string, regexp, message, true);
  }

  function doesNotMatch(string, regexp, message) {
    checkMatch(doesNotMatch, string, regexp, message, false);
  }

  function checkMatch(fn, string, regexp, message, wanted) {
    if (!types.isRegExp(regexp)) throw wrongType("regexp", "an instance of RegExp", regexp);
    if (typeof string === "string" && matches(regexp, string) === wanted) return;
    if (isError(message)) throw message;
    throwGenerated(message, () => {
      if (typeof string !== "string") {
        return `The "string" argument must be of type string. Received type ${typeof string} (${inspect(string)})`;
      }
      if (wanted) return unmatched(regexp, string);
      return `The input was expected to not match the regular expression ${inspect(regexp)}. ` +
        `Input:\n\n${inspect(string)}\n`;
    }, { actual: string, expected: regexp, operator: fn.name, stackStartFn: fn });
  }

  /** For the first argument of a Node-style callback: throws unless it is null or undefined. */
  function ifError(value) {
    if (value === null || value === undefined) return;
    let what = inspect(value);
    if (typeof value === "object" && typeof value.message === "string") {
      const isNamed = value.message.length === 0 && value.constructor;
      what = isNamed ? value.constructor.name : value.message;
    }
    const error = new AssertionError({
      actual: value,
      expected: null,
      operator: "ifError",
      message: `ifError got unwanted exception: ${what}`,
      stackStartFn: ifError,
    });
    // Where the error came from says more than where it was found.
    if (typeof value.stack === "string") {
      const frames = /\n\s+at [^]*$/.exec(value.stack);
      if (frames !== null) {
        defineProperty(error, "stack", {
          value: `${error.stack}${frames[0]}`,
          writable: true,
          configurable: true,
        });
      }
    }
    throw error;
  }

  // ---- Public API ---------------------------------------------------------------------------------------------

  assign(assert, {
    fail,
    AssertionError,
    ok,
    equal,
    notEqual,
    deepEqual,
    notDeepEqual,
    deepStrictEqual,
    notDeepStrictEqual,
    strictEqual,
    notStrictEqual,
    throws,
    rejects,
    doesNotThrow,
    doesNotReject,
    ifError,
    match,
    doesNotMatch,
  });

  function strict(...args) {
    checkTruth(strict, args);
  }

  assert.strict = assign(strict, assert, {
    equal: strictEqual,
    deepEqual: deepStrictEqual,
    notEqual: notStrictEqual,
    notDeepEqual: notDeepStrictEqual,
  });
  strict.strict = strict;
  return assert;
});
