/**
 * Raw key bytes to Node's `KeyObject` and back, through the fixed DER that surrounds them: Node 24
 * has no raw import for these types, and a fixed prefix leaves nothing to parse. Each importer checks
 * the length first and throws `bad-key`, never with the bytes in the message.
 */
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { ExclaveError } from "../errors.ts";
import { concat, fromHex, plain, toHex, wipe } from "./bytes.ts";

interface KeyForm {
  readonly name: string;
  readonly privateBytes: number;
  readonly publicBytes: number;
  /** PKCS#8 (RFC 5208) up to the private bytes. */
  readonly pkcs8Prefix: Uint8Array;
  /** SubjectPublicKeyInfo (RFC 5280) up to the public bytes. */
  readonly spkiPrefix: Uint8Array;
}

/** RFC 8410; the private bytes are the seed of RFC 8032. */
export const ED25519: KeyForm = {
  name: "Ed25519",
  privateBytes: 32,
  publicBytes: 32,
  pkcs8Prefix: fromHex("302e020100300506032b657004220420"),
  spkiPrefix: fromHex("302a300506032b6570032100"),
};

/** RFC 9881 in its seed-only form; the private bytes are xi of FIPS 204. */
export const ML_DSA_44: KeyForm = {
  name: "ML-DSA-44",
  privateBytes: 32,
  publicBytes: 1312,
  pkcs8Prefix: fromHex("3034020100300b060960864801650304031104228020"),
  spkiPrefix: fromHex("30820532300b06096086480165030403110382052100"),
};

/** As ML-DSA-44. */
export const ML_DSA_87: KeyForm = {
  name: "ML-DSA-87",
  privateBytes: 32,
  publicBytes: 2592,
  pkcs8Prefix: fromHex("3034020100300b060960864801650304031304228020"),
  spkiPrefix: fromHex("30820a32300b060960864801650304031303820a2100"),
};

/** The seed-only form of the LAMPS Kyber certificates document; the private bytes are d || z of FIPS 203. */
export const ML_KEM_1024: KeyForm = {
  name: "ML-KEM-1024",
  privateBytes: 64,
  publicBytes: 1568,
  pkcs8Prefix: fromHex("3054020100300b060960864801650304040304428040"),
  spkiPrefix: fromHex("30820632300b06096086480165030404030382062100"),
};

/** RFC 5480 and RFC 5915; the private bytes are the big-endian scalar, the public ones the uncompressed point. */
export const P384: KeyForm = {
  name: "P-384",
  privateBytes: 48,
  publicBytes: 97,
  pkcs8Prefix: fromHex("304e020100301006072a8648ce3d020106052b81040022043730350201010430"),
  spkiPrefix: fromHex("3076301006072a8648ce3d020106052b81040022036200"),
};

/** The order of P-384's group (FIPS 186-5), big-endian. */
const P384_ORDER = fromHex(
  "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
);

/** The private key of raw bytes. Throws `bad-key` for a wrong length, and for a P-384 scalar outside [1, n). */
export function importPrivate(form: KeyForm, raw: Uint8Array): KeyObject {
  if (raw.byteLength !== form.privateBytes)
    throw badKey(`a private ${form.name} key has ${form.privateBytes} bytes`);
  if (form === P384 && !isP384Scalar(raw)) throw badKey("a private P-384 key is outside its group");
  const der = concat(form.pkcs8Prefix, raw);
  try {
    return createPrivateKey({ key: view(der), format: "der", type: "pkcs8" });
  } catch (cause) {
    throw badKey(`a private ${form.name} key cannot be read`, cause);
  } finally {
    wipe(der);
  }
}

/**
 * The public key of raw bytes. Throws `bad-key` for a wrong length, a P-384 point that is not an
 * uncompressed one on the curve (so never the point at infinity), an Ed25519 point of small order, and an
 * ML-KEM key that fails the modulus check of FIPS 203, section 7.2.
 */
export function importPublic(form: KeyForm, raw: Uint8Array): KeyObject {
  if (raw.byteLength !== form.publicBytes)
    throw badKey(`a public ${form.name} key has ${form.publicBytes} bytes`);
  // OpenSSL would also take the "hybrid" point forms 06 and 07, a second spelling of the same key.
  if (form === P384 && raw[0] !== 0x04)
    throw badKey("a public P-384 key is not an uncompressed point");
  if (form === ED25519 && isSmallOrder(raw)) throw badKey("a public Ed25519 key has small order");
  try {
    return createPublicKey({
      key: view(concat(form.spkiPrefix, raw)),
      format: "der",
      type: "spki",
    });
  } catch (cause) {
    throw badKey(`a public ${form.name} key is not valid`, cause);
  }
}

/** The raw public bytes of a private or public key of that form. */
export function exportPublic(form: KeyForm, key: KeyObject): Uint8Array {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  const der = publicKey.export({ format: "der", type: "spki" });
  const prefixBytes = form.spkiPrefix.byteLength;
  if (
    der.byteLength !== prefixBytes + form.publicBytes ||
    Buffer.compare(der.subarray(0, prefixBytes), form.spkiPrefix) !== 0
  ) {
    throw badKey(`a key is not a ${form.name} key`);
  }
  return plain(der).slice(prefixBytes);
}

/** Not in constant time, and that tells nothing: a derived scalar fails with probability below 2^-190. */
function isP384Scalar(raw: Uint8Array): boolean {
  return raw.some((byte) => byte !== 0) && Buffer.compare(raw, P384_ORDER) < 0;
}

/**
 * The y coordinates of the points of order 1, 2, 4 and 8, little-endian, and the two that are again the
 * same modulo p (p and p + 1). Under such a key one signature verifies for many messages, and not every
 * OpenSSL refuses it (3.5.8 does, when it verifies; Chalkias, Garillot, Nikolaenko: "Taming the many
 * EdDSAs", SSR 2020).
 */
const SMALL_ORDER_Y: ReadonlySet<string> = new Set([
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]);

function isSmallOrder(point: Uint8Array): boolean {
  const y = Uint8Array.from(point);
  y[31] = (y[31] ?? 0) & 0x7f;
  return SMALL_ORDER_Y.has(toHex(y));
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function badKey(message: string, cause?: unknown): ExclaveError {
  return new ExclaveError("bad-key", message, cause === undefined ? undefined : { cause });
}
