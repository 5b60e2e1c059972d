/** QR codes for the printed page (ISO/IEC 18004), by `uqr`. */
import { encode } from "uqr";
import { invariant } from "../errors.ts";
import type { QrEncoder } from "./kit-page.ts";

/** What version 40 holds at level M, as bytes. */
const QR_BYTES_MAX = 2331;

/**
 * The code of 1 to 2331 bytes, as they are (byte mode), at level M: a seventh of it may be stained or
 * torn. A part of a kit makes a code of version 23 at most (kit-parts.ts). Throws `bug` for other lengths.
 */
export const encodeQr: QrEncoder = (bytes) => {
  invariant(
    bytes.byteLength > 0 && bytes.byteLength <= QR_BYTES_MAX,
    "a QR code holds 1 to 2331 bytes",
  );
  return encode(Array.from(bytes), { ecc: "M", boostEcc: false, border: 0 }).data;
};
