// How the platform's behaviour is laid over the Web API classes that deno brings.
//
// Runs once, while the start-up snapshot is made. Methods are replaced in place, and a constructor of ours
// shares its prototype with deno's, so that what deno makes itself is an instance like any other.

import { primordials } from "ext:core/mod.js";

const {
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptor,
  ObjectPrototypeIsPrototypeOf,
  ReflectOwnKeys,
  StringPrototypeStartsWith,
  TypeError,
  TypeErrorPrototype,
} = primordials;

/** Defines the members of `members` on `target`; those it has keep their attributes. */
export function override(target, members) {
  for (const key of ReflectOwnKeys(members)) {
    const ours = ObjectGetOwnPropertyDescriptor(members, key);
    const { enumerable = true } = ObjectGetOwnPropertyDescriptor(target, key) ?? {};
    ObjectDefineProperty(target, key, { ...ours, __proto__: null, enumerable, configurable: true });
  }
}

/** Makes `Own`, a function, the constructor of the instances of `Base`. */
export function takeOver(Own, Base) {
  ObjectDefineProperty(Own, "prototype", { __proto__: null, value: Base.prototype, writable: false });
  ObjectDefineProperty(Base.prototype, "constructor", {
    __proto__: null,
    value: Own,
    writable: true,
    configurable: true,
    enumerable: false,
  });
}

/**
 * Gives getters of `prototype` the platform's text for an assignment.
 * DIVERGES: sloppy code is told too; on the platform only strict code is (case worker/request-response#incomingFrozenUrl).
 */
export function readOnly(prototype, kind, names) {
  for (const name of names) {
    ObjectDefineProperty(prototype, name, {
      __proto__: null,
      ...ObjectGetOwnPropertyDescriptor(prototype, name),
      set(_value) {
        throw new TypeError(`Cannot assign to read only property '${name}' of object '#<${kind}>'`);
      },
    });
  }
}

/**
 * `error` in the platform's words, if it is a TypeError of deno's that has other ones.
 * @param {[string, string][]} texts how deno's text begins, and the platform's
 */
export function reworded(error, texts) {
  if (!ObjectPrototypeIsPrototypeOf(TypeErrorPrototype, error)) return error;
  const { message } = error;
  if (typeof message !== "string") return error;
  for (let i = 0; i < texts.length; i++) {
    if (StringPrototypeStartsWith(message, texts[i][0])) return new TypeError(texts[i][1]);
  }
  return error;
}

export function requireNew(newTarget, kind) {
  if (newTarget === undefined) {
    throw new TypeError(
      `Failed to construct '${kind}': Please use the 'new' operator, this object constructor cannot be called as a function.`,
    );
  }
}
