/**
 * A wrapper that leaves a site alone for a while that has not answered again and again, so that not every call waits
 * for what the last one already waited for in vain.
 */
import { ExclaveError, isExclaveError } from "../errors.ts";
import type { CallOptions, ObjectKind, Site } from "./site.ts";

export type CircuitOptions = {
  /** Calls that failed one after another, none going well between, after which the site is left alone. */
  readonly failuresMax: number;
  /** For how long it is. Then one call is let through; by how that goes, the site is asked again, or not. */
  readonly pauseMs: number;
  readonly now?: () => Date;
  /** Milliseconds that only grow. */
  readonly clockMs?: () => number;
};

export const CIRCUIT: CircuitOptions = { failuresMax: 5, pauseMs: 60_000 };

/** Waiting for the names of one list, all together: enough for all that a site may hold on a poor link. */
const LIST_WAIT_MS_MAX = 30 * 60_000;

/** The cause of the error of a call that was not made. */
const LEFT_ALONE = Symbol("left alone");

/** True for the error of a call that was not made: it says nothing about what the site holds. */
export function isLeftAlone(error: unknown): boolean {
  return isExclaveError(error, "site-unavailable") && error.cause === LEFT_ALONE;
}

/**
 * Only `site-unavailable` counts: all else is an answer. A call that was aborted by who made it counts for nothing,
 * however it ended. One that is the last resort is made in any case, and counts: what is there can be read. A list ends
 * with `site-unavailable` when it has been waited for for half an hour: one that never ends must not stop a run.
 */
export function breaking(site: Site, options: CircuitOptions = CIRCUIT): Site {
  const {
    failuresMax,
    pauseMs,
    now = () => new Date(),
    clockMs = () => performance.now(),
  } = options;
  let failures = 0;
  let since = now();
  let until: Date | undefined;
  let isTried = false;

  /** True for the one call that tries after the pause. */
  const enter = (isLastResort: boolean): boolean => {
    if (!until || isLastResort) return false;
    if (now() < until || isTried) throw leftAlone(site.identity.name, failures, since, until);
    isTried = true;
    return true;
  };
  const count = (error?: unknown): void => {
    if (!isExclaveError(error, "site-unavailable")) {
      failures = 0;
      until = undefined;
      return;
    }
    if (failures === 0) since = now();
    failures++;
    if (failures >= failuresMax) until = new Date(now().getTime() + pauseMs);
  };
  const call = async <T>(work: () => Promise<T>, how: CallOptions = {}): Promise<T> => {
    const { signal, isLastResort = false } = how;
    const isTrial = enter(isLastResort);
    try {
      const result = await work();
      if (!signal?.aborted) count();
      return result;
    } catch (error) {
      if (!signal?.aborted) count(error);
      throw error;
    } finally {
      if (isTrial) isTried = false;
    }
  };

  return {
    identity: site.identity,
    put: (name, parts, how) => call(() => site.put(name, parts, how), how),
    read: (name, offset, into, how) => call(() => site.read(name, offset, into, how), how),
    stat: (name) => call(() => site.stat(name)),
    async *list(kind: ObjectKind) {
      const names = site.list(kind)[Symbol.asyncIterator]();
      let waitedMs = 0;
      try {
        for (;;) {
          const asked = clockMs();
          const { done, value } = await call(() => names.next());
          waitedMs += clockMs() - asked;
          if (done) return;
          if (waitedMs > LIST_WAIT_MS_MAX) throw endless(site.identity.name, kind);
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
    { cause: LEFT_ALONE },
  );
}

function endless(name: string, kind: ObjectKind): ExclaveError {
  return new ExclaveError(
    "site-unavailable",
    `site ${name} takes too long to name its objects of the kind ${kind}. Ask its operator why`,
  );
}

/** RFC 3339 in whole seconds, UTC. */
function second(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
