/**
 * A JSON reader (RFC 8259) that takes only what has one meaning for everybody: UTF-8 without BOM, no
 * duplicate names, no null, no fractions or exponents, integers that a double holds exactly, no lone
 * surrogates. Two readers of a signed document must not be able to disagree about what it says.
 * Messages give a position and never the text, which may be a secret.
 */
import { ExclaveError } from "../errors.ts";
import { fromUtf8, utf8 } from "./bytes.ts";

export type JsonValue =
  | string
  | number
  | boolean
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

export interface JsonLimits {
  /** Size of the UTF-8 text; 1 MiB by default. */
  readonly bytesMax?: number;
  /** Arrays and objects inside one another; 32 by default. */
  readonly depthMax?: number;
}

const BYTES_MAX = 1024 * 1024;
const DEPTH_MAX = 32;

/**
 * With null-prototype objects this name would do no harm here, but code behind may copy by assignment
 * (and zod drops it in silence), so no document has it.
 */
const FORBIDDEN_NAME = "__proto__";

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ["\\", "\\"],
  ["/", "/"],
  ["b", "\b"],
  ["f", "\f"],
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
]);

/** Reads one value; objects have no prototype. Throws `malformed` for anything that the rules above exclude. */
export function parseStrictJson(bytes: Uint8Array, limits: JsonLimits = {}): JsonValue {
  if (bytes.byteLength > (limits.bytesMax ?? BYTES_MAX))
    throw new ExclaveError("malformed", "JSON text is too large");
  return new Reader(fromUtf8(bytes), limits.depthMax ?? DEPTH_MAX).document();
}

class Reader {
  readonly #text: string;
  readonly #depthMax: number;
  #at = 0;

  constructor(text: string, depthMax: number) {
    this.#text = text;
    this.#depthMax = depthMax;
  }

  document(): JsonValue {
    const value = this.#value(0);
    this.#skipSpace();
    if (this.#at !== this.#text.length) throw this.#refuse("more than one value");
    return value;
  }

  #value(depth: number): JsonValue {
    this.#skipSpace();
    switch (this.#text[this.#at]) {
      case "{":
        return this.#object(depth + 1);
      case "[":
        return this.#array(depth + 1);
      case '"':
        return this.#string();
      case "t":
        return this.#word("true", true);
      case "f":
        return this.#word("false", false);
      default:
        return this.#integer();
    }
  }

  #object(depth: number): JsonValue {
    this.#enter(depth);
    const object: Record<string, JsonValue> = Object.create(null);
    if (this.#take("}")) return object;
    do {
      this.#skipSpace();
      if (this.#text[this.#at] !== '"') throw this.#refuse("a name is missing");
      const name = this.#string();
      if (name === FORBIDDEN_NAME) throw this.#refuse("a forbidden name");
      if (name in object) throw this.#refuse("a name occurs twice");
      if (!this.#take(":")) throw this.#refuse("a colon is missing");
      object[name] = this.#value(depth);
    } while (this.#take(","));
    if (!this.#take("}")) throw this.#refuse("an object does not end");
    return object;
  }

  #array(depth: number): JsonValue {
    this.#enter(depth);
    const array: JsonValue[] = [];
    if (this.#take("]")) return array;
    do {
      array.push(this.#value(depth));
    } while (this.#take(","));
    if (!this.#take("]")) throw this.#refuse("an array does not end");
    return array;
  }

  #string(): string {
    this.#at++;
    let value = "";
    for (let start = this.#at; ; start = this.#at) {
      let code = this.#text.charCodeAt(this.#at);
      while (code >= 0x20 && code !== 0x22 && code !== 0x5c)
        code = this.#text.charCodeAt(++this.#at);
      value += this.#text.slice(start, this.#at);
      if (code === 0x22) break;
      // Also reached at the end of the text, where the code is NaN.
      if (code !== 0x5c) throw this.#refuse("a string does not end, or holds a control character");
      value += this.#escape();
    }
    this.#at++;
    if (!value.isWellFormed()) throw this.#refuse("a lone surrogate");
    return value;
  }

  #escape(): string {
    const letter = this.#text[this.#at + 1] ?? "";
    if (letter === "u") {
      const digits = this.#text.slice(this.#at + 2, this.#at + 6);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw this.#refuse("an unknown escape");
      this.#at += 6;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    const character = ESCAPES.get(letter);
    if (character === undefined) throw this.#refuse("an unknown escape");
    this.#at += 2;
    return character;
  }

  #integer(): number {
    const pattern = /0|-?[1-9][0-9]{0,15}/y;
    pattern.lastIndex = this.#at;
    const digits = pattern.exec(this.#text)?.[0];
    if (digits === undefined || !Number.isSafeInteger(Number(digits))) {
      throw this.#refuse(
        "neither a string, an integer of at most 2^53 - 1, true, false, an array nor an object",
      );
    }
    this.#at += digits.length;
    return Number(digits);
  }

  #word(word: string, value: boolean): boolean {
    if (!this.#text.startsWith(word, this.#at)) throw this.#refuse("an unknown word");
    this.#at += word.length;
    return value;
  }

  #enter(depth: number): void {
    if (depth > this.#depthMax) throw this.#refuse("nested too deeply");
    this.#at++;
  }

  #take(character: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #skipSpace(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at++;
    }
  }

  #refuse(what: string): ExclaveError {
    return new ExclaveError("malformed", `JSON text is refused at character ${this.#at}: ${what}`);
  }
}

/**
 * UTF-8 of `JSON.stringify(value)`: members in insertion order, no white space. Nothing is
 * canonicalised, since signatures cover exact bytes. Throws `bug` for what `parseStrictJson` would
 * refuse under the same limits, and for what `JSON.stringify` would change in silence (undefined, Date,
 * Uint8Array, Map, -0). Takes `unknown` because an interface does not fit an index signature.
 */
export function encodeJson(value: unknown, limits: JsonLimits = {}): Uint8Array {
  checkEncodable(value, limits.depthMax ?? DEPTH_MAX);
  const bytes = utf8(JSON.stringify(value));
  if (bytes.byteLength > (limits.bytesMax ?? BYTES_MAX)) throw unencodable("text is too large");
  return bytes;
}

function checkEncodable(value: unknown, depthLeft: number): void {
  switch (typeof value) {
    case "boolean":
      return;
    case "string":
      if (!value.isWellFormed()) throw unencodable("a lone surrogate");
      return;
    case "number":
      if (!Number.isSafeInteger(value) || Object.is(value, -0))
        throw unencodable("a number that is not a safe integer");
      return;
    case "object":
      break;
    default:
      throw unencodable(`a value of type ${typeof value}`);
  }
  if (value === null) throw unencodable("null");
  if (depthLeft === 0) throw unencodable("nested too deeply");
  if (Array.isArray(value)) {
    // An index loop sees holes as undefined, where forEach would skip them.
    for (let i = 0; i < value.length; i++) checkEncodable(value[i], depthLeft - 1);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null)
    throw unencodable("an object of a class");
  for (const [name, member] of Object.entries(value)) {
    if (name === FORBIDDEN_NAME || !name.isWellFormed()) throw unencodable("a forbidden name");
    checkEncodable(member, depthLeft - 1);
  }
}

function unencodable(what: string): ExclaveError {
  return new ExclaveError("bug", `cannot be written as strict JSON: ${what}`);
}
