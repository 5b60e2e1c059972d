/** How long a link of a given speed takes, in nights. */
import { ExclaveError } from "../../errors.ts";
import { parseDaySpan } from "../../platform/units.ts";

/** Hours of a night in which the link is free: 8, or from one hour of the clock to another, 22-6. Throws `usage`. */
export function parseHours(text: string): number {
  const plain = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (plain > 0 && plain <= 24) return plain;
  if (text.includes("-")) {
    const { fromSeconds, toSeconds } = parseDaySpan(text, "--hours");
    const hours = (toSeconds - fromSeconds) / 3600;
    return hours > 0 ? hours : hours + 24;
  }
  throw new ExclaveError(
    "usage",
    `--hours takes a number of hours from 1 to 24, or a span like 22-6, not ` +
      `${JSON.stringify(text)}`,
  );
}

export type Upload = {
  readonly bitsPerSecond: number;
  readonly hoursPerNight: number;
  readonly bytes: number;
  /** With the link to itself, at its full speed. */
  readonly seconds: number;
  /** Whole nights: the last one counts. */
  readonly nights: number;
};

/** How long so many bytes take at that speed, without a pause. */
export function sendSeconds(bytes: number, bitsPerSecond: number): number {
  return (bytes * 8) / bitsPerSecond;
}

export function planUpload(bytes: number, bitsPerSecond: number, hoursPerNight: number): Upload {
  const seconds = sendSeconds(bytes, bitsPerSecond);
  const nights = Math.max(1, Math.ceil(seconds / (hoursPerNight * 3600)));
  return { bitsPerSecond, hoursPerNight, bytes, seconds, nights };
}

/** "100 Mbit/s". */
export function formatLink(bitsPerSecond: number): string {
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"];
  let [value, unit] = [bitsPerSecond, 0];
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${Number(value.toFixed(1))} ${units[unit]}`;
}
