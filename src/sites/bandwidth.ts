/**
 * How much of a link may be used, by the hours of the day: "20 Mbit/s 08:00-18:00, else unlimited". The hours are those
 * of this machine's own clock and time zone, as who shares the link has them.
 */
import { setTimeout as delay } from "node:timers/promises";
import { ExclaveError } from "../errors.ts";
import { type DaySpan, parseBitRate, parseDaySpan } from "../platform/units.ts";
import type { CallOptions, Site } from "./site.ts";

/** Bytes a second; undefined: as many as go. */
export type Rate = number | undefined;

export type BandwidthRule = {
  /** The first that the time is in counts; one whose ends are the same is the whole day. */
  readonly spans: readonly { readonly hours: DaySpan; readonly rate: Rate }[];
  readonly otherwise: Rate;
};

/** What may pass at once after a pause, in time at the full rate. */
const BURST_SECONDS = 0.25;
/** A rule may change while somebody waits: it is looked at again after this long. */
const STEP_MS_MAX = 1000;
/** 1 Mbit/s. Sites cut off a body that comes at a crawl, and several bodies share this. */
const RATE_MIN = 125_000;

const UNLIMITED = "unlimited";

/** Reads a rule: clauses with commas between, each a speed with hours, or `else` with a speed. Throws `usage`. */
export function parseBandwidth(text: string, option: string): BandwidthRule {
  const spans: { hours: DaySpan; rate: Rate }[] = [];
  let otherwise: Rate;
  let hasElse = false;
  for (const clause of text.split(",").map((one) => one.trim())) {
    const [, speed, hours] =
      /^(.*?)\s+(\d{1,2}(?::\d\d)?\s*-\s*\d{1,2}(?::\d\d)?)$/.exec(clause) ?? [];
    if (hasElse) throw wrong(text, option);
    if (speed !== undefined && hours !== undefined) {
      spans.push({ hours: parseDaySpan(hours, option), rate: parseRate(speed, option) });
      continue;
    }
    hasElse = true;
    otherwise = parseRate(clause.replace(/^else\s+/, ""), option);
  }
  return { spans, otherwise };
}

function parseRate(text: string, option: string): Rate {
  if (text.trim() === UNLIMITED) return undefined;
  const rate = parseBitRate(text, option) / 8;
  if (rate >= RATE_MIN) return rate;
  throw new ExclaveError("usage", `${option} must leave at least ${(RATE_MIN * 8) / 1e6} Mbit/s`);
}

function wrong(text: string, option: string): ExclaveError {
  return new ExclaveError(
    "usage",
    `${option} takes speeds with hours, like "20mbit 08:00-18:00, else unlimited", not ${JSON.stringify(text)}`,
  );
}

/** What the rule allows at a time. */
export function rateAt({ spans, otherwise }: BandwidthRule, time: Date): Rate {
  const seconds = time.getHours() * 3600 + time.getMinutes() * 60 + time.getSeconds();
  const span = spans.find(({ hours: { fromSeconds, toSeconds } }) =>
    fromSeconds < toSeconds
      ? fromSeconds <= seconds && seconds < toSeconds
      : fromSeconds <= seconds || seconds < toSeconds,
  );
  return span ? span.rate : otherwise;
}

export type BandwidthOptions = {
  readonly now?: () => Date;
  /** How to wait; for tests. */
  readonly wait?: (ms: number) => Promise<unknown>;
};

type Waiting = { readonly bytes: number; readonly go: () => void };

/** A token bucket that all who share a link draw from, one after another. */
export class Bandwidth {
  readonly #rule: BandwidthRule;
  readonly #now: () => Date;
  readonly #wait: (ms: number) => Promise<unknown>;
  readonly #waiting = new Set<Waiting>();
  /** Bytes that may pass now; below zero when more has passed. */
  #tokens = 0;
  #filledAt: number;
  #isServing = false;

  constructor(
    rule: BandwidthRule,
    { now = () => new Date(), wait = delay }: BandwidthOptions = {},
  ) {
    this.#rule = rule;
    this.#now = now;
    this.#wait = wait;
    this.#filledAt = now().getTime();
  }

  /** Resolves when so many bytes may pass. Rejects with `site-unavailable` when the signal comes first. Needs no `this`. */
  readonly take = async (bytes: number, signal?: AbortSignal): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const one: Waiting = { bytes, go: resolve };
    const leave = (): void => {
      this.#waiting.delete(one);
      reject(new ExclaveError("site-unavailable", "it was not waited for any longer"));
    };
    this.#waiting.add(one);
    signal?.addEventListener("abort", leave, { once: true });
    if (signal?.aborted) leave();
    else void this.#serve();
    await promise.finally(() => signal?.removeEventListener("abort", leave));
  };

  async #serve(): Promise<void> {
    if (this.#isServing) return;
    this.#isServing = true;
    for (let [next] = this.#waiting; next; [next] = this.#waiting) {
      const rate = this.#fill();
      if (rate === undefined || this.#tokens > 0) {
        if (rate !== undefined) this.#tokens -= next.bytes;
        this.#waiting.delete(next);
        next.go();
        continue;
      }
      await this.#wait(Math.min(STEP_MS_MAX, Math.ceil((-this.#tokens / rate) * 1000) + 1));
    }
    this.#isServing = false;
  }

  #fill(): Rate {
    const time = this.#now();
    const rate = rateAt(this.#rule, time);
    // A clock that was set back gives nothing, and takes nothing.
    const seconds = Math.max(0, time.getTime() - this.#filledAt) / 1000;
    this.#filledAt = time.getTime();
    this.#tokens =
      rate === undefined ? 0 : Math.min(this.#tokens + seconds * rate, rate * BURST_SECONDS);
    return rate;
  }
}

/**
 * A site whose bodies wait for their turn on the link: each as a whole, before it goes. Where the site itself can
 * pace, as a remote one can, it is smoother to let it.
 */
export function paced(site: Site, { take }: Pick<Bandwidth, "take">): Site {
  return {
    identity: site.identity,
    async put(name, parts, options: CallOptions = {}) {
      const bytes = parts.reduce((sum, part) => sum + part.length, 0);
      await take(bytes, options.signal);
      await site.put(name, parts, options);
    },
    async read(name, offset, into, options: CallOptions = {}) {
      await take(into.length, options.signal);
      return site.read(name, offset, into, options);
    },
    stat: (name) => site.stat(name),
    list: (kind) => site.list(kind),
  };
}
