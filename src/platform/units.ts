/** Speeds, sizes and hours of the day as people write them on a command line or in a setting. */
import { ExclaveError } from "../errors.ts";

/** 100mbit, 1.5 Gbit/s, 512kbit: bits per second, decimal, as links are sold. Throws `usage`. */
export function parseBitRate(text: string, option: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,9})?)\s*([kmg])bit(?:\/s)?$/i.exec(text.trim());
  const value = Number(match?.[1]) * (SCALES[match?.[2]?.toLowerCase() ?? ""] ?? Number.NaN);
  if (value >= 1) return value;
  throw new ExclaveError(
    "usage",
    `${option} takes a speed like 20mbit, 100mbit or 1gbit, not ${JSON.stringify(text)}`,
  );
}

/** 40GB, 1.5 TB, 512kB: bytes, decimal, as disks are sold; a whole number above 0. Throws `usage`. */
export function parseByteSize(text: string, option: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,9})?)\s*([kmgtp]?)B$/i.exec(text.trim());
  const scale = match?.[2] === "" ? 1 : SCALES[match?.[2]?.toLowerCase() ?? ""];
  const value = Math.round(Number(match?.[1]) * (scale ?? Number.NaN));
  if (value >= 1 && value <= Number.MAX_SAFE_INTEGER) return value;
  throw new ExclaveError(
    "usage",
    `${option} takes a size like 500MB, 40GB or 2TB, not ${JSON.stringify(text)}`,
  );
}

const SCALES: Readonly<Record<string, number>> = { k: 1e3, m: 1e6, g: 1e9, t: 1e12, p: 1e15 };

/** Hours of a day, in seconds since its midnight: 0 to 86400. `to` before `from`: it goes past midnight. */
export type DaySpan = { readonly fromSeconds: number; readonly toSeconds: number };

/**
 * 20:00-06:00, 22-6, 0-24: from one time of the day to another, to the minute. What it means when both are
 * the same is the caller's to say. Throws `usage`.
 */
export function parseDaySpan(text: string, option: string): DaySpan {
  const span = /^(\d{1,2})(?::(\d\d))?\s*-\s*(\d{1,2})(?::(\d\d))?$/.exec(text.trim());
  const [fromSeconds, toSeconds] = [clock(span?.[1], span?.[2]), clock(span?.[3], span?.[4])];
  if (fromSeconds <= DAY_SECONDS && toSeconds <= DAY_SECONDS) return { fromSeconds, toSeconds };
  throw new ExclaveError(
    "usage",
    `${option} takes hours of the day like 20:00-06:00, not ${JSON.stringify(text)}`,
  );
}

const DAY_SECONDS = 86_400;

/** Seconds since midnight; NaN for what is no time of the day. */
function clock(hours: string | undefined, minutes = "0"): number {
  return Number(minutes) < 60 ? Number(hours) * 3600 + Number(minutes) * 60 : Number.NaN;
}
