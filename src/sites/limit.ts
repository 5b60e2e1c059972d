/** A wrapper that lets only so many calls to a site run at once; the others wait their turn. */
import { ExclaveError } from "../errors.ts";
import type { Site } from "./site.ts";

/** At most `callsMax` calls in flight. Listing is not counted: it is one call that lasts. */
export function limited(site: Site, callsMax: number): Site {
  const waiting = new Set<() => void>();
  let running = 0;
  const turn = async (signal: AbortSignal | undefined): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = (): void => {
      waiting.delete(resolve);
      const { name } = site.identity;
      reject(new ExclaveError("site-unavailable", `site ${name} was not waited for any longer`));
    };
    waiting.add(resolve);
    signal?.addEventListener("abort", leave, { once: true });
    if (signal?.aborted) leave();
    await promise.finally(() => signal?.removeEventListener("abort", leave));
  };
  const run = async <T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> => {
    if (running >= callsMax) await turn(signal);
    else running++;
    try {
      return await call();
    } finally {
      // The place is handed on, not given back, so nobody can slip in between.
      const [next] = waiting;
      if (next) {
        waiting.delete(next);
        next();
      } else running--;
    }
  };
  return {
    identity: site.identity,
    put: (name, parts, options) => run(() => site.put(name, parts, options), options?.signal),
    read: (name, offset, into, options) =>
      run(() => site.read(name, offset, into, options), options?.signal),
    stat: (name) => run(() => site.stat(name)),
    list: (kind) => site.list(kind),
  };
}
