/**
 * Files that are open to be read: whoever reads a shard comes back for its next block, and to open it each time costs
 * more than to read it.
 */
import { close, open, read } from "node:fs";

type Entry = {
  readonly fd: Promise<number>;
  users: number;
  /** Closed when the last user has left. */
  isDropped: boolean;
};

export class OpenFiles {
  readonly #filesMax: number;
  /** By path; the one used longest ago first. */
  readonly #entries = new Map<string, Entry>();

  constructor(filesMax: number) {
    this.#filesMax = filesMax;
  }

  /**
   * Fills `into` from a position of the file; less only at its end. Rejects with what the system says, `ENOENT` for one.
   */
  async read(path: string, position: number, into: Uint8Array): Promise<number> {
    const entry = this.#enter(path);
    try {
      const fd = await entry.fd;
      let at = 0;
      while (at < into.length) {
        const bytes = await readOnce(fd, into, at, position + at);
        if (bytes === 0) break;
        at += bytes;
      }
      return at;
    } finally {
      entry.users--;
      closeUnused(entry);
    }
  }

  /** For a file that is removed, or has another in its place. */
  drop(path: string): void {
    const entry = this.#entries.get(path);
    if (!entry) return;
    this.#entries.delete(path);
    entry.isDropped = true;
    closeUnused(entry);
  }

  /** For a folder that is not read any more. */
  dropBelow(folder: string): void {
    for (const path of this.#entries.keys()) if (path.startsWith(folder)) this.drop(path);
  }

  #enter(path: string): Entry {
    const known = this.#entries.get(path);
    const entry = known ?? { fd: openOnce(path), users: 0, isDropped: false };
    entry.users++;
    this.#entries.delete(path);
    this.#entries.set(path, entry);
    if (!known) {
      entry.fd.catch(() => {
        if (this.#entries.get(path) === entry) this.#entries.delete(path);
      });
      const [oldest] = this.#entries.keys();
      if (this.#entries.size > this.#filesMax && oldest !== undefined) this.drop(oldest);
    }
    return entry;
  }
}

function closeUnused({ fd, users, isDropped }: Entry): void {
  if (users > 0 || !isDropped) return;
  fd.then(
    (one) => close(one, () => undefined),
    () => undefined,
  );
}

function openOnce(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, "r", (error, fd) => (error ? reject(error) : resolve(fd)));
  });
}

function readOnce(fd: number, into: Uint8Array, at: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, into, at, into.length - at, position, (error, bytes) =>
      error ? reject(error) : resolve(bytes),
    );
  });
}
