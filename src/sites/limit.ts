/** A wrapper that lets only so many calls to a site run at once; the others wait their turn. */
import type { Site } from "./site.ts";

/** At most `callsMax` calls in flight. Listing is not counted: it is one call that lasts. */
export function limited(site: Site, callsMax: number): Site {
  const waiting: (() => void)[] = [];
  let running = 0;
  const run = async <T>(call: () => Promise<T>): Promise<T> => {
    if (running >= callsMax) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      return await call();
    } finally {
      // The place is handed on, not given back, so nobody can slip in between.
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
  return {
    identity: site.identity,
    put: (name, parts) => run(() => site.put(name, parts)),
    read: (name, offset, into) => run(() => site.read(name, offset, into)),
    stat: (name) => run(() => site.stat(name)),
    list: (kind) => site.list(kind),
  };
}
