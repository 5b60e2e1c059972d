import assert from "node:assert/strict";
import { test } from "node:test";
import { code } from "./conformance.ts";
import { CallWindow } from "./remote-window.ts";

/** Bytes of a call that waits for its turn. */
const LARGE = 4_000_000;

/** A site in a time of its own: each call takes a while, and only so many are worked at together. */
class SlowSite {
  readonly #latencyMs: number;
  readonly #workMs: number;
  #now = 0;
  #freeAt = 0;
  readonly #pending: { readonly at: number; readonly done: () => void }[] = [];

  constructor(site: { readonly latencyMs: number; readonly workMs: number }) {
    this.#latencyMs = site.latencyMs;
    this.#workMs = site.workMs;
  }

  readonly clock = (): number => this.#now;

  /** One after another it works, and the way there and back is everybody's own. */
  call(): Promise<void> {
    this.#freeAt = Math.max(this.#freeAt, this.#now) + this.#workMs;
    return new Promise((done) => {
      this.#pending.push({ at: this.#freeAt + this.#latencyMs, done });
    });
  }

  /** Lets time pass until so many calls are done; resolves with how long that was, in ms. */
  async finish(calls: number): Promise<number> {
    const began = this.#now;
    for (let i = 0; i < calls; i++) {
      this.#pending.sort((a, b) => a.at - b.at);
      const next = this.#pending.shift();
      if (!next) break;
      this.#now = next.at;
      next.done();
      // Whoever waited for this gets to run.
      for (let turn = 0; turn < 8; turn++) await Promise.resolve();
    }
    return this.#now - began;
  }
}

function windowAt(site: SlowSite, callsMax = 64): CallWindow {
  return new CallWindow({ site: "kn", callsAtFirst: 4, callsMax, clock: site.clock });
}

test("to a far site there go many calls at once: as many as its distance hides", async () => {
  const site = new SlowSite({ latencyMs: 80, workMs: 0.5 });
  const window = windowAt(site);
  for (let i = 0; i < 3000; i++) void window.run(() => site.call(), 4096);
  await site.finish(1000);
  assert.equal(window.size, 64);
  const ms = await site.finish(1000);
  assert.ok(ms < (1000 / 64) * 80 * 1.1, `1000 small calls in ${ms} ms`);
});

test("to a site that is as busy as it can be, no more calls go than keep it busy", async () => {
  const site = new SlowSite({ latencyMs: 0.1, workMs: 5 });
  const window = windowAt(site);
  for (let i = 0; i < 3000; i++) void window.run(() => site.call(), 1_000_000);
  const sizes = new Set<number>();
  for (let i = 0; i < 100; i++) {
    await site.finish(20);
    sizes.add(window.size);
  }
  assert.deepEqual(
    [...sizes].sort((a, b) => a - b),
    [4, 8],
    "a step up is tried now and then, and taken back",
  );
});

test("a site in trouble is asked less, down to what it is asked at first, and later more again", async () => {
  const site = new SlowSite({ latencyMs: 80, workMs: 0.1 });
  const window = windowAt(site);
  for (let i = 0; i < 9000; i++) void window.run(() => site.call(), 0);
  await site.finish(1000);
  assert.equal(window.size, 64);
  for (const size of [32, 16, 8, 4, 4]) {
    window.trouble();
    assert.equal(window.size, size);
  }
  await site.finish(3000);
  assert.equal(window.size, 64);
});

test("no more calls run at once than the window has, and each one gets its turn", async () => {
  const site = new SlowSite({ latencyMs: 10, workMs: 0 });
  const window = windowAt(site, 6);
  let [running, most, done] = [0, 0, 0];
  for (let i = 0; i < 500; i++) {
    void window.run(async () => {
      most = Math.max(most, ++running);
      await site.call();
      running--;
      done++;
    }, LARGE);
  }
  await site.finish(500);
  assert.equal(most, 6);
  assert.equal(done, 500);
});

test("a few small calls wait for no large ones, and no more than a few", async () => {
  const site = new SlowSite({ latencyMs: 1000, workMs: 0 });
  const window = windowAt(site, 4);
  for (let i = 0; i < 8; i++) void window.run(() => site.call(), LARGE);
  let begun = 0;
  for (let i = 0; i < 9; i++) {
    void window.run(() => {
      begun++;
      return site.call();
    }, 20_000);
  }
  assert.equal(begun, 4);
  await site.finish(17);
  assert.equal(begun, 9);
});

test("a few calls now and then do not make the window larger", async () => {
  const site = new SlowSite({ latencyMs: 80, workMs: 0 });
  const window = windowAt(site);
  for (let i = 0; i < 300; i++) {
    const calls = [1, 2, 3].map(() => window.run(() => site.call(), 1000));
    await site.finish(3);
    await Promise.all(calls);
  }
  assert.equal(window.size, 4);
});

test("a call that fails gives its place back; one that is given up while it waits takes none", async () => {
  const site = new SlowSite({ latencyMs: 1, workMs: 0 });
  const window = new CallWindow({ site: "kn", callsAtFirst: 1, callsMax: 1, clock: site.clock });
  await assert.rejects(
    window.run(() => Promise.reject(new Error("no")), LARGE),
    /no/,
  );
  const first = window.run(() => site.call(), LARGE);
  const abort = new AbortController();
  const given = window.run(() => site.call(), LARGE, abort.signal);
  const refused = assert.rejects(given, code("site-unavailable"));
  const third = window.run(() => site.call(), LARGE);
  abort.abort();
  await refused;
  await site.finish(1);
  await first;
  await site.finish(1);
  await third;
});
