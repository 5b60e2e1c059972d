/** Sizes as people write them: "2TB", "500 GB", "1000000". */
import { ExclaveError } from "../errors.ts";

const UNIT_BYTES: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  PB: 1e15,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
  PIB: 2 ** 50,
};

/** Bytes; decimal units, as disks are sold, and binary ones where they are written as such. Throws `usage`. */
export function bytesFlag(text: string): number {
  const [, number = "", unit = ""] =
    /^(\d{1,15}(?:\.\d{1,3})?)\s*([A-Za-z]{0,3})$/.exec(text) ?? [];
  const factor = Object.hasOwn(UNIT_BYTES, unit.toUpperCase())
    ? UNIT_BYTES[unit.toUpperCase()]
    : undefined;
  const bytes = Math.floor(Number(number || Number.NaN) * (factor ?? Number.NaN));
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new ExclaveError("usage", `"${text}" is no size; write for instance 500GB, or 2TB`);
}
