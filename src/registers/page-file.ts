/** Pages of a fixed size in a file of home's that has no name any more: it is gone with the process. */
import { close, openSync, read, rmSync, statfsSync, write } from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { invariant } from "../errors.ts";

const [readAt, writeAt, closeFile] = [promisify(read), promisify(write), promisify(close)];

export type PageFileLimits = {
  readonly pageBytes: number;
  readonly bytesMax: number;
  /** Of what is free on the disk, which it takes at most. */
  readonly diskShare: number;
};

export class PageFile {
  readonly pagesMax: number;
  readonly #path: string;
  readonly #file: number;
  readonly #pageBytes: number;
  readonly #free: number[] = [];
  #made = 0;

  /** Makes the file, over what has its name. Throws what the file system says. */
  constructor(path: string, { pageBytes, bytesMax, diskShare }: PageFileLimits) {
    rmSync(path, { force: true });
    const { bavail, bsize } = statfsSync(dirname(path));
    this.#path = path;
    this.#file = openSync(path, "wx+", 0o600);
    this.#removeName();
    this.#pageBytes = pageBytes;
    this.pagesMax = Math.floor(Math.min(bytesMax, bavail * bsize * diskShare) / pageBytes);
  }

  /** The number of a page that is free; undefined when there is none. */
  take(): number | undefined {
    return this.#free.pop() ?? (this.#made < this.pagesMax ? this.#made++ : undefined);
  }

  giveBack(page: number): void {
    this.#free.push(page);
  }

  /** Writes a page, or its beginning. Rejects with what the file system says. */
  async write(page: number, bytes: Uint8Array): Promise<void> {
    const from = page * this.#pageBytes;
    for (let at = 0; at < bytes.length; ) {
      at += (await writeAt(this.#file, bytes, at, bytes.length - at, from + at)).bytesWritten;
    }
  }

  /** Fills `into` with what was written to a page, from `offset` on. Rejects with what the file system says. */
  async read(page: number, offset: number, into: Uint8Array): Promise<void> {
    const from = page * this.#pageBytes + offset;
    for (let at = 0; at < into.length; ) {
      const { bytesRead } = await readAt(this.#file, into, at, into.length - at, from + at);
      invariant(bytesRead > 0, "only what was written to a page is read");
      at += bytesRead;
    }
  }

  async close(): Promise<void> {
    await closeFile(this.#file);
    rmSync(this.#path, { force: true });
  }

  /** Where a file that is open can lose its name. Else it has one until it is closed. */
  #removeName(): void {
    try {
      rmSync(this.#path);
    } catch {
      // What a killed process left is written over by the next with its number.
    }
  }
}
