/** How long a link of a given speed takes, in nights. */
import { ExclaveError } from "../../errors.ts";

/** 100mbit, 1.5gbit, 512 kbit/s: bits per second, decimal, as links are sold. Throws `usage`. */
export function parseLink(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg])bit(?:\/s)?$/i.exec(text.trim());
  const scale = { k: 1e3, m: 1e6, g: 1e9 }[match?.[2]?.toLowerCase() ?? ""];
  const value = Number(match?.[1]);
  if (scale !== undefined && value > 0) return value * scale;
  throw new ExclaveError(
    "usage",
    `--link takes a speed like 20mbit, 100mbit or 1gbit, not ${JSON.stringify(text)}`,
  );
}

/** Hours of a night in which the link is free: 8, or from one hour of the clock to another, 22-6. Throws `usage`. */
export function parseHours(text: string): number {
  const plain = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (plain > 0 && plain <= 24) return plain;
  const span = /^(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?$/.exec(text);
  if (span) {
    const [from, to] = [clock(span[1], span[2]), clock(span[3], span[4])];
    if (from <= 24 && to <= 24) return to > from ? to - from : to - from + 24;
  }
  throw new ExclaveError(
    "usage",
    `--hours takes a number of hours from 1 to 24, or a span like 22-6, not ` +
      `${JSON.stringify(text)}`,
  );
}

function clock(hours: string | undefined, minutes: string | undefined): number {
  const minute = Number(minutes ?? 0);
  return minute < 60 ? Number(hours) + minute / 60 : Number.NaN;
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

export function planUpload(bytes: number, bitsPerSecond: number, hoursPerNight: number): Upload {
  const seconds = (bytes * 8) / bitsPerSecond;
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
