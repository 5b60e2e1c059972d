/** Reads the cached entry stream of the snapshot before, in step with the walk. */
import { closeSync, openSync, readSync } from "node:fs";
import {
  compareEntryPaths,
  type Entry,
  EntryDecoder,
  type EntryRecord,
} from "../../vault/entries.ts";

const BLOCK_BYTES = 1024 * 1024;

export class ParentEntries {
  readonly #fd: number;
  readonly #records: Iterator<EntryRecord>;
  #entry: Entry | undefined;
  #next: EntryRecord | undefined;

  /** Throws as `node:fs` does when the file is not there. */
  constructor(file: string) {
    this.#fd = openSync(file, "r");
    this.#records = this.#read();
    this.#next = this.#advance();
  }

  /**
   * The entry of this path, if there was one. Paths must be sought in the order of the stream; what
   * lies before is passed over.
   */
  seek(path: string): Entry | undefined {
    while (
      this.#next &&
      (this.#next.type === "content" || compareEntryPaths(this.#next.entry.path, path) <= 0)
    ) {
      if (this.#next.type === "entry") this.#entry = this.#next.entry;
      this.#next = this.#advance();
      if (this.#entry?.path === path) return this.#entry;
    }
    return undefined;
  }

  /** The content records of the entry that was just sought. */
  *content(): Generator<Uint8Array, void, undefined> {
    while (this.#next?.type === "content") {
      // Copied, because the block they lie in is read over.
      yield Uint8Array.from(this.#next.items);
      this.#next = this.#advance();
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #advance(): EntryRecord | undefined {
    const { done, value } = this.#records.next();
    return done ? undefined : value;
  }

  *#read(): Generator<EntryRecord, void, undefined> {
    const decoder = new EntryDecoder();
    const block = Buffer.alloc(BLOCK_BYTES);
    for (;;) {
      const got = readSync(this.#fd, block);
      if (got === 0) break;
      yield* decoder.push(block.subarray(0, got));
    }
    decoder.end();
  }
}
