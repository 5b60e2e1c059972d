/** A wrapper that tries again what may pass: a site that does not answer. */
import { setTimeout as delay } from "node:timers/promises";
import { isExclaveError } from "../errors.ts";
import type { Site } from "./site.ts";

export type RetryOptions = {
  /** Calls in all, the first included. */
  readonly attemptsMax: number;
  /** Before the second call; doubled before each further one. */
  readonly firstDelayMs: number;
  /** How to wait; for tests. */
  readonly wait?: (ms: number) => Promise<unknown>;
};

const DEFAULT: RetryOptions = { attemptsMax: 3, firstDelayMs: 50 };

/**
 * Repeats a call that ended with `site-unavailable`. Everything else is final: a full disk stays full,
 * and what is absent stays absent. Repeating a `put` that failed and yet took effect is safe, because
 * storing the same bytes again is no error. A call that was aborted is not repeated.
 */
export function retrying(site: Site, options: RetryOptions = DEFAULT): Site {
  const { wait = delay } = options;
  const attempt = async <T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> => {
    for (let tried = 1, waitMs = options.firstDelayMs; ; tried++, waitMs *= 2) {
      try {
        return await call();
      } catch (error) {
        const isFinal = tried >= options.attemptsMax || signal?.aborted === true;
        if (isFinal || !isExclaveError(error, "site-unavailable")) throw error;
        await wait(waitMs);
        if (signal?.aborted) throw error;
      }
    }
  };
  return {
    identity: site.identity,
    put: (name, parts, how) => attempt(() => site.put(name, parts, how), how?.signal),
    read: (name, offset, into, how) =>
      attempt(() => site.read(name, offset, into, how), how?.signal),
    stat: (name) => attempt(() => site.stat(name)),
    list: (kind) => site.list(kind),
  };
}
