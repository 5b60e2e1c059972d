/**
 * Pages of shards, fetched and kept on home's disk until something else needs the room; as they came: nothing here
 * believes or opens them.
 */
import { release } from "../crypto/bytes.ts";
import { invariant } from "../errors.ts";
import type { DispersedRef } from "../vault/gather.ts";
import { shardBytes } from "../vault/shard.ts";
import type { PageFile } from "./page-file.ts";
import { FETCH_DONE, FETCH_LATE, FETCH_LEFT_ALONE } from "./read-messages.ts";
import type { How, ShardSource } from "./shard-source.ts";

/** The least that is fetched. */
export const PAGE_BYTES = 256 * 1024;

/** Pages of one shard that follow each other. */
export type PageRun = {
  readonly ref: DispersedRef;
  readonly index: number;
  readonly first: number;
  readonly count: number;
};

export type PageEvents = {
  /** These are asked for now. */
  readonly onAsked: (run: PageRun) => void;
  /** Before who waits is told: with a `FETCH_*`, or undefined when the disk did not take them. */
  readonly onFailed: (run: PageRun, outcome: number | undefined) => void;
  /** The disk is full, or broken; that is no reason to stop. Nothing is kept from here on. */
  readonly onOver: () => void;
};

/** Pages on their way. */
type Request = {
  readonly index: number;
  /** Gives a `FETCH_*`; undefined when the disk did not take them. */
  readonly arrived: Promise<number | undefined>;
  /** The reason is the `FETCH_*` that it ends with. */
  readonly stop: AbortController;
  /** Who waits for it and has nobody else to ask. */
  patient: number;
};

/** Asked for, or here. */
type Page = {
  readonly request: Request;
  /** In the file. */
  place: number | undefined;
  /** Who waits for it or reads it: until then it is kept. */
  readers: number;
  /** It was fetched ahead, and nobody has asked for it yet. */
  isUnread: boolean;
};

export class ShardPages {
  readonly #source: ShardSource;
  readonly #file: PageFile;
  readonly #events: PageEvents;
  /** The one that was asked for last is last. */
  readonly #pages = new Map<string, Page>();
  readonly #requests = new Set<Request>();
  readonly #underWay = new Set<Promise<unknown>>();
  #bytesUnderWay = 0;
  #unread = 0;
  #isOver = false;
  #closed: Promise<void> | undefined;

  constructor(source: ShardSource, file: PageFile, events: PageEvents) {
    this.#source = source;
    this.#file = file;
    this.#events = events;
  }

  /** True when it was closed, or the disk has failed. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Bytes that were asked for and are not here. */
  get bytesUnderWay(): number {
    return this.#bytesUnderWay;
  }

  /** Of all that can be kept, what was fetched ahead and nobody has asked for yet. */
  get unreadShare(): number {
    return this.#unread / this.#file.pagesMax;
  }

  has(ref: DispersedRef, index: number, page: number): boolean {
    return this.#pages.has(keyOf(ref, index, page));
  }

  /**
   * Fills `into` from a shard's `offset` on; what is not here is fetched, in whole pages. Gives a `FETCH_*`; undefined
   * when the sites are to be asked.
   */
  async read(
    ref: DispersedRef,
    { index, offset }: { readonly index: number; readonly offset: number },
    into: Uint8Array,
    how: How,
  ): Promise<number | undefined> {
    const reading = this.#read(ref, { index, offset }, into, how);
    this.#underWay.add(reading);
    return reading.finally(() => this.#underWay.delete(reading));
  }

  /** Fetches pages, none of which was asked for. Settles when that has. */
  async fetchAhead(run: PageRun): Promise<void> {
    await this.#request(run, { isAhead: true, isLastResort: run.ref.n <= run.ref.k });
  }

  /** Forgets those of a shard's pages that nobody waits for or reads. */
  forget(ref: DispersedRef, index: number, pages: Iterable<number>): void {
    for (const page of pages) {
      const key = keyOf(ref, index, page);
      if (this.#pages.get(key)?.readers === 0) this.#drop(key);
    }
  }

  /** Stops what was asked for of an index, as left alone, unless somebody waits for it who has nobody else to ask. */
  giveUp(index: number): void {
    for (const { index: where, patient, stop } of this.#requests) {
      if (where === index && patient === 0) stop.abort(FETCH_LEFT_ALONE);
    }
  }

  /** What is still waited for ends as late. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#isOver = true;
    for (const { stop } of this.#requests) stop.abort(FETCH_LATE);
    await Promise.allSettled(this.#underWay);
    await this.#file.close();
  }

  async #read(
    ref: DispersedRef,
    { index, offset }: { readonly index: number; readonly offset: number },
    into: Uint8Array,
    how: How,
  ): Promise<number | undefined> {
    const first = Math.floor(offset / PAGE_BYTES);
    const count = Math.floor((offset + into.length - 1) / PAGE_BYTES) + 1 - first;
    const pages = this.#hold({ ref, index, first, count }, how);
    try {
      const outcome = await this.#arrival(index, pages, how);
      // It was asked for ahead, where others could have been asked instead: who has nobody else asks the sites.
      if (isSlow(outcome) && !how.mayBeLate && !this.#isOver) return undefined;
      if (outcome !== FETCH_DONE) return outcome;
      return (await this.#copy(pages, offset - first * PAGE_BYTES, into)) ? FETCH_DONE : undefined;
    } finally {
      for (const page of pages) page.readers--;
    }
  }

  /** From so many bytes behind the beginning of these pages. False when the disk does not give it. */
  async #copy(pages: readonly Page[], offset: number, into: Uint8Array): Promise<boolean> {
    return this.#onDisk(async () => {
      let [at, within] = [0, offset];
      for (const { place } of pages) {
        invariant(place !== undefined, "a page that arrived has a place");
        const bytes = Math.min(PAGE_BYTES - within, into.length - at);
        await this.#file.read(place, within, into.subarray(at, at + bytes));
        [at, within] = [at + bytes, 0];
      }
      return true;
    });
  }

  /** The pages of a run, held fast until they are let go of; those that are not here are asked for. */
  #hold({ ref, index, first, count }: PageRun, { isLastResort }: How): readonly Page[] {
    const missing: { first: number; count: number }[] = [];
    for (let page = first; page < first + count; page++) {
      if (this.has(ref, index, page)) continue;
      const last = missing.at(-1);
      if (last && last.first + last.count === page) last.count++;
      else missing.push({ first: page, count: 1 });
    }
    for (const run of missing) {
      void this.#request({ ref, index, ...run }, { isAhead: false, isLastResort });
    }
    return Array.from({ length: count }, (_, i) => {
      const key = keyOf(ref, index, first + i);
      const page = this.#pages.get(key);
      invariant(page, "it was asked for");
      page.readers++;
      this.#markRead(page);
      this.#pages.delete(key);
      this.#pages.set(key, page);
      return page;
    });
  }

  /** Waits until all are here: gives what went wrong with one of them. What is late, and may be, is given up. */
  async #arrival(
    index: number,
    pages: readonly Page[],
    { mayBeLate }: How,
  ): Promise<number | undefined> {
    const requests = new Set(pages.map(({ request }) => request));
    const all = Promise.all([...requests].map(({ arrived }) => arrived)).then((outcomes) => {
      const wrong = outcomes.findIndex((outcome) => outcome !== FETCH_DONE);
      return wrong < 0 ? FETCH_DONE : outcomes[wrong];
    });
    if (mayBeLate) return this.#unlessLate(index, requests, all);
    for (const request of requests) request.patient++;
    try {
      return await all;
    } finally {
      for (const request of requests) request.patient--;
    }
  }

  /** Waits no longer than is usual; what has to be waited for by somebody else goes on. */
  async #unlessLate(
    index: number,
    requests: ReadonlySet<Request>,
    all: Promise<number | undefined>,
  ): Promise<number | undefined> {
    const late = Promise.withResolvers<number>();
    const forget = this.#source.speeds.whenLate(index, () => {
      for (const { patient, stop } of requests) if (patient === 0) stop.abort(FETCH_LATE);
      late.resolve(FETCH_LATE);
    });
    try {
      return await Promise.race([all, late.promise]);
    } finally {
      forget();
    }
  }

  async #request(
    run: PageRun,
    { isAhead, isLastResort }: { readonly isAhead: boolean; readonly isLastResort: boolean },
  ): Promise<void> {
    const { ref, index, first, count } = run;
    const keys = Array.from({ length: count }, (_, i) => keyOf(ref, index, first + i));
    const stop = new AbortController();
    const { promise: arrived, resolve } = Promise.withResolvers<number | undefined>();
    const request: Request = { index, arrived, stop, patient: 0 };
    this.#requests.add(request);
    const pages = keys.map((key): Page => {
      const page = { request, place: undefined, readers: 1, isUnread: isAhead };
      this.#pages.set(key, page);
      return page;
    });
    if (isAhead) this.#unread += count;
    this.#events.onAsked(run);
    const fetching = this.#fetch(run, pages, { signal: stop.signal, isLastResort });
    this.#underWay.add(fetching);
    const outcome = await fetching;
    this.#underWay.delete(fetching);
    this.#requests.delete(request);
    for (const page of pages) page.readers--;
    if (outcome !== FETCH_DONE) {
      for (const key of keys) this.#drop(key);
      this.#events.onFailed(run, outcome);
    }
    resolve(outcome);
  }

  async #fetch(
    { ref, index, first, count }: PageRun,
    pages: readonly Page[],
    how: { readonly signal: AbortSignal; readonly isLastResort: boolean },
  ): Promise<number | undefined> {
    const offset = first * PAGE_BYTES;
    const bytes = new Uint8Array(Math.min(count * PAGE_BYTES, shardBytes(ref) - offset));
    this.#bytesUnderWay += bytes.length;
    try {
      const outcome = await this.#source.readUntil({ id: ref.id, index, offset }, bytes, how);
      if (outcome !== FETCH_DONE) return outcome;
      return (await this.#keep(pages, bytes)) ? FETCH_DONE : undefined;
    } finally {
      this.#bytesUnderWay -= bytes.length;
      release(bytes);
    }
  }

  /** False when the disk does not take it. */
  async #keep(pages: readonly Page[], bytes: Uint8Array): Promise<boolean> {
    return this.#onDisk(async () => {
      for (const [i, page] of pages.entries()) {
        page.place = this.#file.take() ?? this.#takeOldest();
        if (page.place === undefined) return false;
        await this.#file.write(page.place, bytes.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES));
      }
      return true;
    });
  }

  async #onDisk(work: () => Promise<boolean>): Promise<boolean> {
    try {
      return await work();
    } catch (error) {
      if (!isOfDisk(error)) throw error;
      this.#isOver = true;
      this.#events.onOver();
      return false;
    }
  }

  /** The place of the page that nobody has asked for for longest. */
  #takeOldest(): number | undefined {
    for (const [key, page] of this.#pages) {
      if (page.place === undefined || page.readers > 0) continue;
      this.#drop(key);
      return this.#file.take();
    }
    return undefined;
  }

  #drop(key: string): void {
    const page = this.#pages.get(key);
    if (!page) return;
    this.#pages.delete(key);
    this.#markRead(page);
    if (page.place !== undefined) this.#file.giveBack(page.place);
  }

  #markRead(page: Page): void {
    if (page.isUnread) this.#unread--;
    page.isUnread = false;
  }
}

export function isOfDisk(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).syscall !== undefined;
}

/** It says nothing about the shard. */
export function isSlow(outcome: number | undefined): boolean {
  return outcome === FETCH_LATE || outcome === FETCH_LEFT_ALONE;
}

function keyOf({ id }: DispersedRef, index: number, page: number): string {
  return `${id}/${index}/${page}`;
}
