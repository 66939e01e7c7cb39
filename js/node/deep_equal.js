// Whether two values have the same shape and contents: `assert.deepEqual`, `assert.deepStrictEqual` and
// `util.isDeepStrictEqual`.
// API: https://nodejs.org/docs/latest-v20.x/api/assert.html#assertdeepstrictequalactual-expected-message
//
// Runs inside the start-up snapshot as a classic script; its value is a function of `{ types }` (from inspect.js).
// Strict compares primitives with Object.is and also looks at prototypes and symbol keys; loose uses ==.
// Always true: both sides are only read, but getters and proxies of user code do run.

(function (parts) {
  "use strict";

  const { types } = parts;
  const uncurry = Function.prototype.bind.bind(Function.prototype.call);
  const { isArray } = Array;
  const { getOwnPropertySymbols, getPrototypeOf, is: sameValue, keys: ownKeys } = Object;
  const hasOwn = uncurry(Object.prototype.hasOwnProperty);
  const isEnumerable = uncurry(Object.prototype.propertyIsEnumerable);
  const toStringOf = uncurry(Object.prototype.toString);
  const dateValue = uncurry(Date.prototype.getTime);
  const unboxers = [
    [types.isNumberObject, uncurry(Number.prototype.valueOf)],
    [types.isStringObject, uncurry(String.prototype.valueOf)],
    [types.isBooleanObject, uncurry(Boolean.prototype.valueOf)],
    [types.isBigIntObject, uncurry(BigInt.prototype.valueOf)],
    [types.isSymbolObject, uncurry(Symbol.prototype.valueOf)],
  ];
  const mapEach = uncurry(Map.prototype.forEach);
  const mapHas = uncurry(Map.prototype.has);
  const mapGet = uncurry(Map.prototype.get);
  const setEach = uncurry(Set.prototype.forEach);
  const setHas = uncurry(Set.prototype.has);
  const ErrorConstructor = Error;

  const WITH_SLOTS = [
    types.isArrayBufferView,
    types.isAnyArrayBuffer,
    types.isBoxedPrimitive,
    types.isDate,
    types.isMap,
    types.isRegExp,
    types.isSet,
  ];
  const ERROR_FIELDS = ["message", "name", "cause", "errors"];

  const isObject = (value) => typeof value === "object" && value !== null;
  const isNaNValue = (value) => value !== value;
  const isError = (value) => types.isNativeError(value) || value instanceof ErrorConstructor;

  /**
   * One comparison of two trees. `left` and `right` are the objects we are inside of, outermost first: meeting one
   * again means a cycle, and then both sides must close it at the same level.
   */
  class Comparison {
    left = [];
    right = [];

    constructor(isStrict) {
      this.isStrict = isStrict;
    }

    equal(a, b) {
      const { isStrict } = this;
      if (a === b) return a !== 0 || !isStrict || sameValue(a, b);
      if (!isObject(a)) {
        if (isStrict) return isNaNValue(a) && isNaNValue(b);
        return !isObject(b) && (a == b || (isNaNValue(a) && isNaNValue(b)));
      }
      if (!isObject(b)) return false;
      if (isStrict && getPrototypeOf(a) !== getPrototypeOf(b)) return false;
      if (toStringOf(a) !== toStringOf(b)) return false;
      const keys = this.keysOf(a);
      return this.sameSlots(a, b) && this.sameKeys(keys, b, this.keysOf(b)) && this.sameContents(a, b, keys);
    }

    /** The keys to compare; elements of arrays and typed arrays are compared as such, not as properties. */
    keysOf(value) {
      const hasElements = isArray(value) || types.isArrayBufferView(value);
      const keys = ownKeys(value);
      let named = keys;
      if (hasElements) {
        // Indices come first.
        let first = keys.length;
        while (first > 0 && !/^(0|[1-9]\d*)$/.test(keys[first - 1])) first--;
        named = keys.slice(first);
      }
      if (this.isStrict) {
        for (const symbol of getOwnPropertySymbols(value)) if (isEnumerable(value, symbol)) named.push(symbol);
      }
      return named;
    }

    sameKeys(aKeys, b, bKeys) {
      // Loose looks at string keys only, and so does Node's.
      return aKeys.length === bKeys.length && aKeys.every((key) => hasOwn(b, key));
    }

    /** What the objects hold apart from properties, elements and entries. */
    sameSlots(a, b) {
      if (isArray(a) || isArray(b)) return isArray(a) && isArray(b) && a.length === b.length;
      if (toStringOf(a) === "[object Object]") return true;
      if (types.isDate(a)) return types.isDate(b) && dateValue(a) === dateValue(b);
      if (types.isRegExp(a)) {
        return types.isRegExp(b) && a.source === b.source && a.flags === b.flags && a.lastIndex === b.lastIndex;
      }
      if (isError(a)) return isError(b) && ERROR_FIELDS.every((field) => this.sameField(a, b, field));
      if (types.isArrayBufferView(a)) return types.isArrayBufferView(b) && this.sameElements(a, b);
      if (types.isSet(a)) return types.isSet(b) && a.size === b.size;
      if (types.isMap(a)) return types.isMap(b) && a.size === b.size;
      if (types.isAnyArrayBuffer(a)) return types.isAnyArrayBuffer(b) && sameBytes(a, b);
      for (const [isBoxed, unbox] of unboxers) {
        if (isBoxed(a)) return isBoxed(b) && sameValue(unbox(a), unbox(b));
      }
      return !WITH_SLOTS.some((hasSlots) => hasSlots(b));
    }

    /** Fields of an error count even though they are usually not enumerable; as a property if they are. */
    sameField(a, b, field) {
      return isEnumerable(a, field) || this.equal(a[field], b[field]);
    }

    /** Typed arrays of floats compare by value when loose (0 equals -0, NaN differs); all else compares by byte. */
    sameElements(a, b) {
      if (this.isStrict || !/^\[object Float/.test(toStringOf(a))) return sameBytes(a, b);
      if (a.length !== b.length) return false;
      for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
      return true;
    }

    sameContents(a, b, keys) {
      const kind = isArray(a) ? "array" : types.isSet(a) ? "set" : types.isMap(a) ? "map" : "plain";
      if (keys.length === 0 && kind === "plain") return true;
      const level = this.left.indexOf(a);
      if (level !== -1 && this.right.includes(b)) return level === this.right.indexOf(b);
      this.left.push(a);
      this.right.push(b);
      try {
        if (kind === "array" && !this.sameArray(a, b)) return false;
        if (kind === "set" && !this.sameSet(a, b)) return false;
        if (kind === "map" && !this.sameMap(a, b)) return false;
        // A loop, for a callback would halve how deep a structure may be before the stack ends.
        for (const key of keys) if (!this.equal(a[key], b[key])) return false;
        return true;
      } finally {
        this.left.pop();
        this.right.pop();
      }
    }

    /** Same elements and same holes. */
    sameArray(a, b) {
      for (let i = 0; i < a.length; i++) {
        if (hasOwn(a, i) !== hasOwn(b, i)) return false;
        if (!this.equal(a[i], b[i])) return false;
      }
      return true;
    }

    /** Order does not matter: each element of `a` takes one equal element of `b` that no other has taken. */
    sameSet(a, b) {
      const open = [];
      let isSame = true;
      setEach(a, (item) => {
        if (!isSame || (!isObject(item) && setHas(b, item))) return;
        // Only equality by identity is left for a primitive, unless loose.
        if (!isObject(item) && this.isStrict) isSame = false;
        else open.push(item);
      });
      if (!isSame) return false;
      if (open.length === 0) return true;
      setEach(b, (item) => {
        if (!isSame || (!isObject(item) && setHas(a, item))) return;
        if (!isObject(item) && this.isStrict) isSame = false;
        else isSame = this.take(open, (other) => this.mayPair(other, item) && this.equal(other, item));
      });
      return isSame && open.length === 0;
    }

    /** As sameSet, by key; a pair of keys counts when their values are equal too. */
    sameMap(a, b) {
      const open = [];
      let isSame = true;
      mapEach(a, (item, key) => {
        if (!isSame) return;
        if (isObject(key)) open.push(key);
        else if (mapHas(b, key) && this.equal(item, mapGet(b, key))) return;
        else if (this.isStrict) isSame = false;
        else open.push(key);
      });
      if (!isSame) return false;
      if (open.length === 0) return true;
      mapEach(b, (item, key) => {
        if (!isSame) return;
        if (!isObject(key)) {
          if (mapHas(a, key) && this.equal(mapGet(a, key), item)) return;
          if (this.isStrict) {
            isSame = false;
            return;
          }
        }
        isSame = this.take(
          open,
          (other) => this.mayPair(other, key) && this.equal(other, key) && this.equal(mapGet(a, other), item),
        );
      });
      return isSame && open.length === 0;
    }

    /** In a collection an object never pairs with a primitive, however loose. */
    mayPair(a, b) {
      return isObject(a) === isObject(b);
    }

    /** Removes the first item that `fits`; false if none does. */
    take(items, fits) {
      for (let i = 0; i < items.length; i++) {
        if (!fits(items[i])) continue;
        items.splice(i, 1);
        return true;
      }
      return false;
    }
  }

  function sameBytes(a, b) {
    if (a.byteLength !== b.byteLength) return false;
    const left = bytesOf(a);
    const right = bytesOf(b);
    for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
    return true;
  }

  function bytesOf(value) {
    if (types.isAnyArrayBuffer(value)) return new Uint8Array(value);
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }

  return {
    /** @returns {boolean} as `assert.deepEqual` */
    isDeepEqual: (a, b) => new Comparison(false).equal(a, b),
    /** @returns {boolean} as `util.isDeepStrictEqual` */
    isDeepStrictEqual: (a, b) => new Comparison(true).equal(a, b),
  };
});
