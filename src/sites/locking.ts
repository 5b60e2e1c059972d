/** Places that lock what they store, and for how long: S3 engines with Object Lock. */
import type { Site } from "./site.ts";

export type Locking = {
  /** True when what is put is locked. */
  readonly locks: boolean;
  /** Until when an object is locked; undefined for one that is not. Rejects as `Site.stat` does. */
  retainedUntil(name: string): Promise<Date | undefined>;
  /** Has it locked until then, or longer; never for less. Rejects with `not-found` and `site-unavailable`. */
  extend(name: string, until: Date): Promise<void>;
};

/** The site as one that locks; undefined for one that does not. */
export function asLocking(site: Site): (Site & Locking) | undefined {
  return "extend" in site && "locks" in site && site.locks === true
    ? (site as Site & Locking)
    : undefined;
}

/** A wrapped site, with the locks of what is wrapped. */
export function keepLocks(site: Site, inner: Locking): Site & Locking {
  return {
    ...site,
    locks: inner.locks,
    retainedUntil: (name) => inner.retainedUntil(name),
    extend: (name, until) => inner.extend(name, until),
  };
}
