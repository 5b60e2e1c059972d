/** SHA-256, and what is built on it. */
import { createHash, createHmac, hash, hkdfSync } from "node:crypto";
import { invariant } from "../errors.ts";
import { plain, utf8 } from "./bytes.ts";

export const SHA256_BYTES = 32;

/** OpenSSL, through Node, takes no longer `info`; every context in Exclave is bounded accordingly. */
export const HKDF_INFO_BYTES_MAX = 1024;

/**
 * SHA-256 (FIPS 180-4) of the parts one after another: 32 bytes. The parts are not framed; the caller's
 * encoding must be unambiguous.
 */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return plain(hash("sha256", only, "buffer"));
  const hasher = createHash("sha256");
  for (const part of parts) hasher.update(part);
  return plain(hasher.digest());
}

/** HMAC-SHA-256 (RFC 2104) over the parts one after another: 32 bytes. */
export function hmacSha256(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const mac = createHmac("sha256", key);
  for (const part of parts) mac.update(part);
  return plain(mac.digest());
}

/**
 * HKDF-SHA-256 (RFC 5869), extract and expand.
 *
 * @param key input keying material, at least 16 bytes of entropy
 * @param salt may be empty
 * @param info what the output is for, at most 1024 bytes; distinct for every purpose of a key
 * @param length bytes wanted, 1 to 8160
 */
export function hkdfSha256(
  key: Uint8Array,
  salt: Uint8Array,
  info: string | Uint8Array,
  length: number,
): Uint8Array {
  const infoBytes = typeof info === "string" ? utf8(info) : info;
  invariant(key.byteLength >= 16, "HKDF needs a key of 16 bytes or more");
  invariant(infoBytes.byteLength <= HKDF_INFO_BYTES_MAX, "HKDF info is at most 1024 bytes");
  invariant(
    Number.isInteger(length) && length > 0 && length <= 255 * SHA256_BYTES,
    "HKDF length is 1 to 8160",
  );
  return new Uint8Array(hkdfSync("sha256", key, salt, infoBytes, length));
}
