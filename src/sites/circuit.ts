/**
 * A wrapper that leaves a site alone for a while that has not answered again and again, so that not every call waits
 * for what the last one already waited for in vain.
 */
import { ExclaveError, isExclaveError } from "../errors.ts";
import type { ObjectKind, Site } from "./site.ts";

export type CircuitOptions = {
  /** Calls that failed one after another, none going well between, after which the site is left alone. */
  readonly failuresMax: number;
  /** For how long it is. Then one call is let through; by how that goes, the site is asked again, or not. */
  readonly pauseMs: number;
  readonly now?: () => Date;
};

export const CIRCUIT: CircuitOptions = { failuresMax: 5, pauseMs: 60_000 };

/** Only `site-unavailable` counts, a call that was given up for being late with it: all else is an answer. */
export function breaking(site: Site, options: CircuitOptions = CIRCUIT): Site {
  const { failuresMax, pauseMs, now = () => new Date() } = options;
  let failures = 0;
  let since = now();
  let until: Date | undefined;
  let isTried = false;

  const enter = (): void => {
    if (!until) return;
    if (now() < until || isTried) throw leftAlone(site.identity.name, failures, since, until);
    isTried = true;
  };
  const leave = (error?: unknown): void => {
    isTried = false;
    if (!isExclaveError(error, "site-unavailable")) {
      failures = 0;
      until = undefined;
      return;
    }
    if (failures === 0) since = now();
    failures++;
    if (failures >= failuresMax) until = new Date(now().getTime() + pauseMs);
  };
  const call = async <T>(work: () => Promise<T>): Promise<T> => {
    enter();
    try {
      const result = await work();
      leave();
      return result;
    } catch (error) {
      leave(error);
      throw error;
    }
  };

  return {
    identity: site.identity,
    put: (name, parts, how) => call(() => site.put(name, parts, how)),
    read: (name, offset, into, how) => call(() => site.read(name, offset, into, how)),
    stat: (name) => call(() => site.stat(name)),
    async *list(kind: ObjectKind) {
      const names = site.list(kind)[Symbol.asyncIterator]();
      try {
        for (;;) {
          const { done, value } = await call(() => names.next());
          if (done) return;
          yield value;
        }
      } finally {
        await names.return?.();
      }
    },
  };
}

function leftAlone(name: string, failures: number, since: Date, until: Date): ExclaveError {
  return new ExclaveError(
    "site-unavailable",
    `site ${name} has not answered since ${second(since)} (${failures} calls one after another); it is not asked again before ${second(until)}`,
  );
}

/** RFC 3339 in whole seconds, UTC. */
function second(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
