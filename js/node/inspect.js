// Turns a value into text: the core of `util.inspect`, and what `assert` shows in its messages.
// API: https://nodejs.org/docs/latest-v20.x/api/util.html#utilinspectobject-options
//
// Runs inside the start-up snapshot as a classic script; its value is `{ inspect, types }`. `types` holds the brand
// checks of `util.types`: they ask the value's internal slots, so a tampered prototype or a fake `toStringTag` does
// not fool them. Built-ins are captured where that is cheap. This is no security boundary: only the user's own
// isolate looks at the result.
//
// TODO(inspect): what is only visible from native code: the state of a promise, the target of a proxy, what an
// iterator still holds. `showHidden`, `showProxy`, `colors` and `numericSeparator` are ignored.

(function () {
  "use strict";

  const uncurry = Function.prototype.bind.bind(Function.prototype.call);
  const { isArray } = Array;
  const { isView } = ArrayBuffer;
  const { getOwnPropertyDescriptor, getOwnPropertySymbols, getPrototypeOf, keys: ownKeys } = Object;
  const { is: sameValue } = Object;
  const toStringOf = uncurry(Object.prototype.toString);
  const isEnumerable = uncurry(Object.prototype.propertyIsEnumerable);
  const hasOwn = uncurry(Object.prototype.hasOwnProperty);
  const functionSource = uncurry(Function.prototype.toString);
  const errorText = uncurry(Error.prototype.toString);
  const regExpText = uncurry(RegExp.prototype.toString);
  const dateText = uncurry(Date.prototype.toISOString);
  const symbolText = uncurry(Symbol.prototype.toString);
  const mapEach = uncurry(Map.prototype.forEach);
  const setEach = uncurry(Set.prototype.forEach);
  const getter = (prototype, name) => uncurry(getOwnPropertyDescriptor(prototype, name).get);

  // ---- Brand checks -------------------------------------------------------------------------------------------

  const dateValue = uncurry(Date.prototype.getTime);
  const mapSize = getter(Map.prototype, "size");
  const setSize = getter(Set.prototype, "size");
  const regExpSource = getter(RegExp.prototype, "source");
  const bufferLength = getter(ArrayBuffer.prototype, "byteLength");
  const sharedLength = typeof SharedArrayBuffer === "function"
    ? getter(SharedArrayBuffer.prototype, "byteLength")
    : () => {
      throw new TypeError();
    };
  const typedArrayName = getter(getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag);
  const weakMapHas = uncurry(WeakMap.prototype.has);
  const weakSetHas = uncurry(WeakSet.prototype.has);
  const unboxers = {
    Number: uncurry(Number.prototype.valueOf),
    String: uncurry(String.prototype.valueOf),
    Boolean: uncurry(Boolean.prototype.valueOf),
    BigInt: uncurry(BigInt.prototype.valueOf),
    Symbol: uncurry(Symbol.prototype.valueOf),
  };
  const PromiseConstructor = Promise;
  const ErrorConstructor = Error;
  const probe = {};

  const isObject = (value) => typeof value === "object" && value !== null;

  /** A check that holds when `method`, which insists on an internal slot, accepts the object. */
  const accepts = (method) => (value) => {
    if (!isObject(value)) return false;
    try {
      method(value, probe);
      return true;
    } catch {
      return false;
    }
  };

  const isArrayBuffer = accepts(bufferLength);
  const isSharedArrayBuffer = accepts(sharedLength);
  const isTypedArray = (value) => isView(value) && typedArrayName(value) !== undefined;
  const isNativeError = typeof Error.isError === "function"
    ? Error.isError
    : (value) => isObject(value) && toStringOf(value) === "[object Error]";

  const types = {
    isAnyArrayBuffer: (value) => isArrayBuffer(value) || isSharedArrayBuffer(value),
    isArrayBuffer,
    isArrayBufferView: isView,
    isBigIntObject: accepts(unboxers.BigInt),
    isBooleanObject: accepts(unboxers.Boolean),
    isBoxedPrimitive: (value) => isObject(value) && unbox(value) !== undefined,
    isDataView: (value) => isView(value) && typedArrayName(value) === undefined,
    isDate: accepts(dateValue),
    isMap: accepts(mapSize),
    isNativeError,
    isNumberObject: accepts(unboxers.Number),
    // Asking the slot would mark a rejection as handled, so here the prototype chain has to do.
    isPromise: (value) => isObject(value) && value instanceof PromiseConstructor,
    // The getter also accepts RegExp.prototype itself, which is no regular expression.
    isRegExp: ((check, prototype) => (value) => value !== prototype && check(value))(
      accepts(regExpSource),
      RegExp.prototype,
    ),
    isSet: accepts(setSize),
    isSharedArrayBuffer,
    isStringObject: accepts(unboxers.String),
    isSymbolObject: accepts(unboxers.Symbol),
    isTypedArray,
    isWeakMap: accepts(weakMapHas),
    isWeakSet: accepts(weakSetHas),
  };

  /** `{ kind: "Number", primitive: 3 }` for `new Number(3)`; undefined for anything but a boxed primitive. */
  function unbox(value) {
    for (const kind in unboxers) {
      try {
        return { kind, primitive: unboxers[kind](value) };
      } catch {
        // Not this kind.
      }
    }
  }

  // ---- Primitives and property names --------------------------------------------------------------------------

  const ESCAPES = { "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", "\\": "\\\\" };
  // deno-lint-ignore no-control-regex
  const TO_ESCAPE = /[\x00-\x1f\x7f-\x9f\\'"`]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
  const PLAIN_NAME = /^[a-zA-Z_][a-zA-Z_0-9]*$/;

  /** A string literal, in the first of ' " ` that needs no escape. */
  function quote(text) {
    let mark = "'";
    if (text.includes("'")) {
      if (!text.includes('"')) mark = '"';
      else if (!text.includes("`") && !text.includes("${")) mark = "`";
    }
    const escape = (found) => {
      if (found === "'" || found === '"' || found === "`") return found === mark ? `\\${found}` : found;
      if (hasOwn(ESCAPES, found)) return ESCAPES[found];
      const code = found.charCodeAt(0).toString(16);
      return code.length > 2 ? `\\u${code}` : `\\x${code.toUpperCase().padStart(2, "0")}`;
    };
    return mark + text.replace(TO_ESCAPE, escape) + mark;
  }

  function formatPrimitive(state, value) {
    switch (typeof value) {
      case "string":
        return formatString(state, value);
      case "bigint":
        return `${value}n`;
      case "symbol":
        return symbolText(value);
      default:
        return sameValue(value, -0) ? "-0" : `${value}`;
    }
  }

  function formatString(state, value) {
    const { maxStringLength: max } = state.options;
    let rest = "";
    if (max !== null && value.length > max) {
      const left = value.length - max;
      rest = `... ${left} more character${left > 1 ? "s" : ""}`;
      value = value.slice(0, max);
    }
    const { compact, breakLength } = state.options;
    if (compact !== true && value.length > 16 && value.length > breakLength - state.indent - 4) {
      const lines = value.match(/[^\n]*\n|[^\n]+/g) ?? [value];
      return lines.map(quote).join(` +\n${" ".repeat(state.indent + 2)}`) + rest;
    }
    return quote(value) + rest;
  }

  function formatName(key) {
    if (typeof key === "symbol") return `[${symbolText(key)}]`;
    if (key === "__proto__") return "['__proto__']";
    return PLAIN_NAME.test(key) ? key : quote(key);
  }

  // ---- What an object is called -------------------------------------------------------------------------------

  /** Name of the nearest constructor on the prototype chain; null if there is none. */
  function constructorName(value) {
    for (let at = value; at !== null; at = getPrototypeOf(at)) {
      const found = getOwnPropertyDescriptor(at, "constructor")?.value;
      if (typeof found === "function" && found.name !== "" && isInstance(value, found)) return String(found.name);
    }
    return null;
  }

  function isInstance(value, Class) {
    try {
      return value instanceof Class;
    } catch {
      return false;
    }
  }

  /** The `toStringTag` if it says more than the constructor's name does. */
  function tagOf(value) {
    try {
      const tag = value[Symbol.toStringTag];
      return typeof tag === "string" && !isEnumerable(value, Symbol.toStringTag) ? tag : "";
    } catch {
      return "";
    }
  }

  function prefix(name, tag, fallback, size = "") {
    if (name === null) {
      const shown = tag !== "" && tag !== fallback ? `[${tag}] ` : "";
      return `[${fallback}${size}: null prototype] ${shown}`;
    }
    return tag !== "" && tag !== name ? `${name}${size} [${tag}] ` : `${name}${size} `;
  }

  function functionTitle(value, name, tag) {
    const source = functionSource(value);
    if (source.startsWith("class") && source.endsWith("}")) {
      const parent = getPrototypeOf(value);
      const own = hasOwn(value, "name") && value.name !== "" ? ` ${value.name}` : " (anonymous)";
      const base = parent?.name ? ` extends ${parent.name}` : parent === null ? " extends [null prototype]" : "";
      return `[class${own}${base}]`;
    }
    const kind = /^\[object (.*)\]$/.exec(toStringOf(value))[1];
    const known = kind.endsWith("Function") ? kind : "Function";
    const label = value.name === "" || typeof value.name !== "string" ? " (anonymous)" : `: ${value.name}`;
    const bare = name === null ? " (null prototype)" : "";
    const extra = tag !== "" && tag !== name && tag !== known ? ` [${tag}]` : "";
    return `[${known}${bare}${label}]${extra}`;
  }

  function errorTitle(state, value, name, keys) {
    const stack = typeof value.stack === "string" && value.stack !== "" ? value.stack : errorText(value);
    let text = state.options.errorStack ? stack : errorText(value);
    // What the text already says need not be repeated as a property.
    for (const key of ["name", "message", "stack"]) {
      const at = keys.indexOf(key);
      if (at !== -1 && typeof value[key] === "string" && (key === "stack" || text.includes(value[key]))) {
        keys.splice(at, 1);
      }
    }
    for (const key of ["cause", "errors"]) {
      if (hasOwn(value, key) && !keys.includes(key)) keys.push(key);
    }
    // A class that extends Error but never sets `name` says only "Error" in its stack.
    const said = String(value.name);
    const rest = text.slice(said.length);
    if (name !== null && name !== said && said.endsWith("Error") && text.startsWith(said) && /^(:|\n|$)/.test(rest)) {
      text = (name.includes(said) ? name : `${name} [${said}]`) + rest;
    }
    if (!/\n\s+at /.test(text)) text = `[${text}]`;
    return state.indent === 0 ? text : text.replaceAll("\n", `\n${" ".repeat(state.indent)}`);
  }

  // ---- Objects ------------------------------------------------------------------------------------------------

  function formatValue(state, value, depth) {
    if (!isObject(value) && typeof value !== "function") return formatPrimitive(state, value);
    if (state.options.customInspect) {
      const custom = value[Symbol.for("nodejs.util.inspect.custom")];
      if (typeof custom === "function" && custom !== inspect) {
        const { depth: limit } = state.options;
        const left = limit === null ? null : limit - depth;
        const result = custom.call(value, left, { ...state.options, depth: left, stylize: String }, inspect);
        if (typeof result !== "string") return formatValue(state, result, depth);
        return result.replaceAll("\n", `\n${" ".repeat(state.indent)}`);
      }
    }
    if (state.seen.includes(value)) {
      if (!state.circular.includes(value)) state.circular.push(value);
      return `[Circular *${state.circular.indexOf(value) + 1}]`;
    }
    return formatObject(state, value, depth);
  }

  /**
   * How to show `value`: `braces` around `entries()`, or, when nothing is inside, `whole`.
   * `title` precedes the braces, and `keys` are shown after the entries.
   */
  function shapeOf(state, value, depth) {
    const name = constructorName(value);
    const tag = tagOf(value);
    const keys = ownKeys(value);
    for (const symbol of getOwnPropertySymbols(value)) if (isEnumerable(value, symbol)) keys.push(symbol);
    const curly = (open, extra) => ({ keys, title: "", braces: [`${open}{`, "}"], ...extra });
    const entriesUnknown = (kind) =>
      curly(prefix(name, tag, kind), { entries: () => ["<items unknown>"], holds: 1 });

    if (isArray(value)) {
      const open = name !== "Array" || tag !== "" ? prefix(name, tag, "Array", `(${value.length})`) : "";
      return {
        keys: keys.filter((key) => !isIndex(key)),
        title: "",
        braces: [`${open}[`, "]"],
        entries: () => arrayEntries(state, value, depth),
        holds: value.length,
        isList: true,
      };
    }
    if (types.isSet(value)) {
      const holds = setSize(value);
      const open = prefix(name, tag, "Set", `(${holds})`);
      return curly(open, { entries: () => setEntries(state, value, depth), holds });
    }
    if (types.isMap(value)) {
      const holds = mapSize(value);
      const open = prefix(name, tag, "Map", `(${holds})`);
      return curly(open, { entries: () => mapEntries(state, value, depth), holds });
    }
    if (isTypedArray(value)) {
      const open = prefix(name, tag, typedArrayName(value), `(${value.length})`);
      return {
        keys: keys.filter((key) => !isIndex(key)),
        title: "",
        braces: [`${open}[`, "]"],
        entries: () => arrayEntries(state, value, depth),
        holds: value.length,
        isList: true,
      };
    }
    if (typeof value === "function") return { ...curly("", {}), title: functionTitle(value, name, tag) };
    if (toStringOf(value) === "[object Arguments]" && tag === "" && hasOwn(value, "length")) {
      return curly("[Arguments] ", {});
    }
    if (name === "Object" && tag === "") return curly("", {});
    if (types.isRegExp(value)) return curly("", { title: bare(name, "RegExp", regExpText(value)) });
    if (types.isDate(value)) {
      const text = Number.isNaN(dateValue(value)) ? "Invalid Date" : dateText(value);
      return curly("", { title: bare(name, "Date", text) });
    }
    if (isNativeError(value) || isInstance(value, ErrorConstructor)) {
      return curly("", { title: errorTitle(state, value, name, keys) });
    }
    if (types.isAnyArrayBuffer(value)) {
      const open = prefix(name, tag, isArrayBuffer(value) ? "ArrayBuffer" : "SharedArrayBuffer");
      return curly(open, { entries: () => bufferEntries(state, value), holds: 1 });
    }
    if (types.isDataView(value)) {
      const open = prefix(name, tag, "DataView");
      return curly(open, { entries: () => dataViewEntries(state, value, depth), holds: 1 });
    }
    if (types.isWeakSet(value)) return entriesUnknown("WeakSet");
    if (types.isWeakMap(value)) return entriesUnknown("WeakMap");
    const boxed = unbox(value);
    if (boxed !== undefined) {
      const { kind, primitive } = boxed;
      const named = name === kind ? kind : name === null ? `${kind} (null prototype)` : `${kind} (${name})`;
      const extra = tag !== "" && tag !== name && tag !== kind ? ` [${tag}]` : "";
      const inside = typeof primitive === "string" ? quote(primitive) : formatPrimitive(state, primitive);
      return {
        ...curly("", {}),
        keys: kind === "String" ? keys.filter((key) => !isIndex(key)) : keys,
        title: `[${named}: ${inside}]${extra}`,
      };
    }
    if (tag === "Module" && name === null) return curly("[Module: null prototype] ", {});
    return curly(prefix(name, tag, "Object"), {});
  }

  const isIndex = (key) => typeof key === "string" && /^(0|[1-9]\d*)$/.test(key);
  const bare = (name, kind, text) => (name === kind ? text : prefix(name, "", kind) + text);

  function formatObject(state, value, depth) {
    const { options } = state;
    const shape = shapeOf(state, value, depth);
    const { keys, title, braces, entries, holds = 0, isList = false } = shape;
    if (keys.length === 0 && holds === 0) {
      return title !== "" ? title : braces[0] + braces[1];
    }
    if (options.depth !== null && depth > options.depth) {
      const name = isArray(value) ? "Array" : prefix(constructorName(value), tagOf(value), "Object").slice(0, -1);
      return name.startsWith("[") ? name : `[${name}]`;
    }
    state.seen.push(value);
    state.deepest = depth;
    let output = entries === undefined ? [] : entries();
    for (const key of keys) output.push(formatProperty(state, value, key, depth));
    state.seen.pop();
    if (options.sorted) {
      const order = options.sorted === true ? undefined : options.sorted;
      if (!isList) output.sort(order);
      else if (keys.length > 1) output.push(...output.splice(-keys.length).sort(order));
    }
    const at = state.circular.indexOf(value);
    if (at === -1) return layOut(state, title, output, braces, depth, isList && value);
    const reference = `<ref *${at + 1}>`;
    if (title !== "") return layOut(state, `${reference} ${title}`, output, braces, depth, isList && value);
    return layOut(state, "", output, [`${reference} ${braces[0]}`, braces[1]], depth, isList && value);
  }

  /** Puts the entries on one line if they are few, short and shallow, else one entry or one row per line. */
  function layOut(state, title, output, braces, depth, list) {
    const { compact, breakLength } = state.options;
    const before = title === "" ? "" : `${title} `;
    if (compact !== false) {
      const count = output.length;
      if (list && count > 6) output = inColumns(state, output, list);
      if (state.deepest - depth < compact && count === output.length) {
        const start = output.length + state.indent + braces[0].length + title.length + 10;
        let length = output.length + start;
        for (const entry of output) length += entry.length;
        const line = output.join(", ");
        if (length <= breakLength && !line.includes("\n") && !title.includes("\n")) {
          return `${before}${braces[0]} ${line} ${braces[1]}`;
        }
      }
    }
    const newline = `\n${" ".repeat(state.indent)}`;
    return `${before}${braces[0]}${newline}  ${output.join(`,${newline}  `)}${newline}${braces[1]}`;
  }

  /** Joins many short entries of a list into rows of aligned columns, roughly as wide as 2.5 times their height. */
  function inColumns(state, output, list) {
    const { compact, breakLength, maxArrayLength } = state.options;
    const hasMore = maxArrayLength !== null && maxArrayLength < list.length;
    const count = hasMore ? output.length - 1 : output.length;
    let total = 0;
    let longest = 0;
    const widths = [];
    for (let i = 0; i < count; i++) {
      widths[i] = output[i].length;
      total += widths[i] + 2;
      longest = Math.max(longest, widths[i]);
    }
    const width = longest + 2;
    if (width * 3 + state.indent >= breakLength) return output;
    if (total / width <= 5 && longest > 6) return output;
    const biased = Math.max(width - 3 - Math.sqrt(width - total / output.length), 1);
    const columns = Math.min(
      Math.round(Math.sqrt(2.5 * biased * count) / biased),
      Math.floor((breakLength - state.indent) / width),
      compact * 4,
      15,
    );
    if (columns <= 1) return output;
    const columnWidths = [];
    for (let column = 0; column < columns; column++) {
      let widest = 0;
      for (let i = column; i < count; i += columns) widest = Math.max(widest, widths[i]);
      columnWidths.push(widest + 2);
    }
    let alignRight = true;
    for (let i = 0; i < count && alignRight; i++) {
      alignRight = typeof list[i] === "number" || typeof list[i] === "bigint";
    }
    const rows = [];
    for (let first = 0; first < count; first += columns) {
      const end = Math.min(first + columns, count);
      let row = "";
      for (let i = first; i < end; i++) {
        const isLast = i === end - 1;
        const text = isLast ? output[i] : `${output[i]}, `;
        const room = columnWidths[i - first] - (isLast ? 2 : 0);
        row += alignRight ? text.padStart(room) : isLast ? text : text.padEnd(room);
      }
      rows.push(row);
    }
    if (hasMore) rows.push(output[count]);
    return rows;
  }

  // ---- What is inside -----------------------------------------------------------------------------------------

  function nested(state, value, depth) {
    state.indent += 2;
    const text = formatValue(state, value, depth + 1);
    state.indent -= 2;
    return text;
  }

  function formatProperty(state, owner, key, depth) {
    // A proxy may list a key and then deny it.
    const property = getOwnPropertyDescriptor(owner, key) ?? { value: owner[key], enumerable: true };
    const name = property.enumerable === false ? `[${String(key)}]` : formatName(key);
    return `${name}: ${formatSlot(state, owner, property, depth)}`;
  }

  function formatSlot(state, owner, { get, set, value }, depth) {
    if (get === undefined && set === undefined) return nested(state, value, depth);
    if (get === undefined) return "[Setter]";
    const label = set === undefined ? "Getter" : "Getter/Setter";
    const { getters } = state.options;
    if (!getters || (getters === "get" && set) || (getters === "set" && !set)) return `[${label}]`;
    try {
      const result = get.call(owner);
      const text = nested(state, result, depth);
      return isObject(result) ? `[${label}] ${text}` : `[${label}: ${text}]`;
    } catch (error) {
      return `[${label}: <Inspection threw (${error?.message})>]`;
    }
  }

  const more = (left) => `... ${left} more item${left > 1 ? "s" : ""}`;
  const shown = (state, size) => Math.min(state.options.maxArrayLength ?? Infinity, size);

  function arrayEntries(state, value, depth) {
    const output = [];
    const { length } = value;
    const limit = shown(state, length);
    let index = 0;
    while (index < length && output.length < limit) {
      if (isView(value) || hasOwn(value, index)) {
        output.push(formatSlot(state, value, getOwnPropertyDescriptor(value, index) ?? {}, depth));
        index++;
        continue;
      }
      const start = index;
      do index++; while (index < length && !hasOwn(value, index));
      output.push(`<${index - start} empty item${index - start > 1 ? "s" : ""}>`);
    }
    if (index < length) output.push(more(length - index));
    return output;
  }

  function setEntries(state, value, depth) {
    const output = [];
    const limit = shown(state, setSize(value));
    setEach(value, (item) => {
      if (output.length < limit) output.push(nested(state, item, depth));
    });
    if (limit < setSize(value)) output.push(more(setSize(value) - limit));
    return output;
  }

  function mapEntries(state, value, depth) {
    const output = [];
    const limit = shown(state, mapSize(value));
    mapEach(value, (item, key) => {
      if (output.length < limit) output.push(`${nested(state, key, depth)} => ${nested(state, item, depth)}`);
    });
    if (limit < mapSize(value)) output.push(more(mapSize(value) - limit));
    return output;
  }

  function bufferEntries(state, value) {
    const bytes = new Uint8Array(value);
    const limit = shown(state, Math.min(50, bytes.length));
    const hex = [];
    for (let i = 0; i < limit; i++) hex.push(bytes[i].toString(16).padStart(2, "0"));
    const left = bytes.length - limit;
    const rest = left > 0 ? ` ... ${left} more byte${left > 1 ? "s" : ""}` : "";
    return [`[Uint8Contents]: <${hex.join(" ")}${rest}>`, `byteLength: ${bytes.length}`];
  }

  function dataViewEntries(state, value, depth) {
    const { byteLength, byteOffset, buffer } = value;
    return [`byteLength: ${byteLength}`, `byteOffset: ${byteOffset}`, `buffer: ${nested(state, buffer, depth)}`];
  }

  const DEFAULTS = {
    depth: 2, // levels of nesting; null: no limit
    breakLength: 80, // characters
    compact: 3, // innermost levels joined into one line; false: one property per line
    maxArrayLength: 100, // entries of an array, Map or Set; null: no limit
    maxStringLength: 10000, // characters; null: no limit
    sorted: false, // true or a comparator: properties in order of their text
    getters: false, // run getters and show what they return
    customInspect: true, // honour [Symbol.for("nodejs.util.inspect.custom")]
    errorStack: true, // ours: false shows `[Error: message]`
  };

  /**
   * @param {unknown} value
   * @param {object} [options] see DEFAULTS
   * @returns {string}
   */
  function inspect(value, options) {
    const merged = { ...DEFAULTS, ...(isObject(options) ? options : {}) };
    if (merged.maxArrayLength === Infinity) merged.maxArrayLength = null;
    if (merged.maxStringLength === Infinity) merged.maxStringLength = null;
    // `deepest` is the level of the object entered last: how many levels the object being laid out has below it.
    return formatValue({ options: merged, seen: [], circular: [], indent: 0, deepest: 0 }, value, 0);
  }
  inspect.custom = Symbol.for("nodejs.util.inspect.custom");
  inspect.defaultOptions = DEFAULTS;

  return { inspect, types };
})();
