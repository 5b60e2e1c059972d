/**
 * When a link sends: within hours of the day, until so much is sent. All in whole milliseconds, by a clock that is
 * so far from UTC and never changes: daylight saving time is not followed, it moves an end by an hour at most.
 */
import { ExclaveError } from "../../errors.ts";
import type { DaySpan } from "../../platform/units.ts";

const DAY_MS = 86_400_000;
/** What takes longer is not dated. */
const YEARS_MAX = 100;
const FINISH_MS_MAX = YEARS_MAX * 365 * DAY_MS;

/** Part of each day, in milliseconds from its midnight; `fromMs` before `toMs`. */
type Window = { readonly fromMs: number; readonly toMs: number };

export type Hours = {
  /** Sorted, apart from each other, at least one. */
  readonly windows: readonly Window[];
  /** All of them together. */
  readonly perDayMs: number;
  /** How far the clock is from UTC: the local time is UTC plus this. */
  readonly utcOffsetMs: number;
};

/**
 * The hours that spans of the day come to, where they overlap only once; the whole day without any. Throws `usage`
 * for a span without length.
 */
export function hoursOf(spans: readonly DaySpan[], utcOffsetMs: number): Hours {
  const parts = spans.flatMap(({ fromSeconds, toSeconds }) => {
    const [fromMs, toMs] = [fromSeconds * 1000, toSeconds * 1000];
    if (fromMs === toMs) {
      throw new ExclaveError(
        "usage",
        "--hours that end when they begin have no length; for the whole day write 0:00-24:00",
      );
    }
    if (fromMs < toMs) return [{ fromMs, toMs }];
    return [
      { fromMs, toMs: DAY_MS },
      { fromMs: 0, toMs },
    ].filter((part) => part.fromMs < part.toMs);
  });
  const windows: { fromMs: number; toMs: number }[] = [];
  const sorted = (parts.length === 0 ? [{ fromMs: 0, toMs: DAY_MS }] : parts).toSorted(
    (a, b) => a.fromMs - b.fromMs,
  );
  for (const part of sorted) {
    const last = windows.at(-1);
    if (last && part.fromMs <= last.toMs) last.toMs = Math.max(last.toMs, part.toMs);
    else windows.push({ ...part });
  }
  const perDayMs = windows.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0);
  return { windows, perDayMs, utcOffsetMs };
}

/** Milliseconds that so many bytes take at that speed. */
export function sendingMs(bytes: number, bitsPerSecond: number): number {
  return Math.ceil((bytes * 8000) / bitsPerSecond);
}

/** Milliseconds of the hours from `fromMs` to `toMs`, both since 1970. */
export function openMs(hours: Hours, fromMs: number, toMs: number): number {
  return openSinceEpoch(hours, toMs) - openSinceEpoch(hours, fromMs);
}

function openSinceEpoch({ windows, perDayMs, utcOffsetMs }: Hours, atMs: number): number {
  const day = Math.floor((atMs + utcOffsetMs) / DAY_MS);
  const timeMs = atMs + utcOffsetMs - day * DAY_MS;
  const today = windows.reduce(
    (sum, { fromMs, toMs }) => sum + Math.max(0, Math.min(timeMs, toMs) - fromMs),
    0,
  );
  return day * perDayMs + today;
}

/**
 * When so many milliseconds of sending are over, begun at `startMs`: the earliest moment, in milliseconds since 1970.
 * Undefined when that is more than a hundred years away.
 */
export function finishMs(hours: Hours, startMs: number, neededMs: number): number | undefined {
  if (neededMs <= 0) return startMs;
  const { windows, perDayMs, utcOffsetMs } = hours;
  if ((neededMs / perDayMs) * DAY_MS > FINISH_MS_MAX) return undefined;
  const wanted = openSinceEpoch(hours, startMs) + neededMs;
  // The last day has at least a millisecond of it, so an end at the end of a window stays there.
  const day = Math.ceil(wanted / perDayMs) - 1;
  let leftMs = wanted - day * perDayMs;
  for (const { fromMs, toMs } of windows) {
    if (leftMs <= toMs - fromMs) return day * DAY_MS + fromMs + leftMs - utcOffsetMs;
    leftMs -= toMs - fromMs;
  }
  return (day + 1) * DAY_MS - utcOffsetMs;
}

/**
 * In how many nights something is sent: rounds of 24 hours, each from when the longest of the hours begin. Where the
 * whole day is open, rounds from when it began.
 */
export function nightsOf(hours: Hours, startMs: number, endMs: number): number {
  const firstMs = finishMs(hours, startMs, 1) ?? startMs;
  const round = (atMs: number): number =>
    Math.floor((atMs - beginOfRound(hours, startMs)) / DAY_MS);
  return Math.max(1, round(Math.max(firstMs, endMs) - 1) - round(firstMs - 1) + 1);
}

/** When one of the rounds begins, it does not matter which. */
function beginOfRound({ windows, perDayMs, utcOffsetMs }: Hours, startMs: number): number {
  if (perDayMs === DAY_MS) return startMs;
  const [first, last] = [windows[0], windows.at(-1)];
  // What ends at midnight and goes on from there is one window.
  const joined = first && last && first !== last && first.fromMs === 0 && last.toMs === DAY_MS;
  const lengths = windows.map((window) => ({
    fromMs: window.fromMs,
    lengthMs:
      window.toMs -
      window.fromMs +
      (joined && window === last ? first.toMs : 0) -
      (joined && window === first ? window.toMs - window.fromMs : 0),
  }));
  const longest = lengths.reduce((best, one) => (one.lengthMs > best.lengthMs ? one : best));
  return longest.fromMs - utcOffsetMs;
}
