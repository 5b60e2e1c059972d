import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { altered, noise, slow, tries } from "../../test/support/vault.ts";
import { KnownIds, newGeneration } from "./known-ids.ts";

const id = (seed: number): Uint8Array => noise(32, seed);

test("an id is claimed once, and its value is kept", () => {
  const known = new KnownIds([newGeneration(0, 2)]);
  assert.equal(known.has(id(1)), false);
  assert.equal(known.value(id(1)), undefined);
  assert.equal(known.claim(id(1), [7, -8]), true);
  assert.equal(known.claim(id(1), [9, 9]), false);
  assert.equal(known.has(id(1)), true);
  assert.deepEqual(known.value(id(1)), [7, -8]);
  assert.equal(known.size, 1);
});

test("claims are those of a set, whatever the ids", () => {
  // Few different first words make long probe sequences.
  const word = fc.constantFrom(0, 1, 2 ** 31 - 1, -1);
  const ids = fc.array(fc.tuple(word, word, word, word), { maxLength: 300 });
  fc.assert(
    fc.property(ids, (list) => {
      const known = new KnownIds([newGeneration(0, 0)]);
      const set = new Set<string>();
      for (const words of list) {
        const bytes = new Uint8Array(Int32Array.from([...words, 0, 0, 0, 0]).buffer);
        assert.equal(known.claim(bytes), !set.has(words.join()));
        set.add(words.join());
      }
      assert.equal(known.size, set.size);
    }),
    tries(50),
  );
});

test("ids are one when their first 128 bits are, and two when a single one of these differs", () => {
  const known = new KnownIds([newGeneration(0, 0)]);
  assert.equal(known.claim(id(1)), true);
  for (let bit = 128; bit < 256; bit++) {
    assert.equal(known.claim(altered(id(1), bit >> 3, 1 << (bit & 7))), false, `bit ${bit}`);
  }
  for (let bit = 0; bit < 128; bit++) {
    assert.equal(known.claim(altered(id(1), bit >> 3, 1 << (bit & 7))), true, `bit ${bit}`);
  }
  assert.equal(known.size, 129);
});

test("the table grows by generations that double, and forgets nothing", () => {
  const known = new KnownIds([newGeneration(0, 2)]);
  const count = slow ? 200_000 : 20_000;
  const ids = noise(count * 16, 2);
  let claimed = 0;
  for (let i = 0; i < count; i++) {
    if (known.claim(ids.subarray(i * 16, i * 16 + 16), [i, ~i])) claimed++;
    known.grow();
  }
  assert.equal(claimed, count);
  assert.equal(known.size, count);
  const slots = known.generations.map(({ words }) => words[1]!);
  assert.deepEqual(
    slots,
    slots.map((_, i) => 1024 * 2 ** i),
  );
  assert.ok(slots.at(-2)! < count, "no more generations than needed");
  for (let i = 0; i < count; i++) {
    assert.deepEqual(known.value(ids.subarray(i * 16, i * 16 + 16)), [i, ~i]);
    assert.equal(known.claim(ids.subarray(i * 16, i * 16 + 16)), false);
  }
});

test("a full generation has every chunk stored rather than searching without end", () => {
  const known = new KnownIds([newGeneration(0, 0)]);
  for (let i = 0; i < 3000; i++) assert.equal(known.claim(id(i)), true);
  assert.ok(known.size > 512 && known.size <= 0.85 * 1024 + 1, `${known.size} ids`);
  assert.equal(known.has(id(5000)), false);
  assert.equal(known.has(id(0)), true);
  assert.ok(known.grow());
  assert.equal(known.claim(id(5000)), true);
  assert.equal(known.claim(id(5000)), false);
});

const claimant = `
  const { workerData, parentPort } = require("node:worker_threads");
  const { module, worker, generation, ids, claims, gate, order } = workerData;
  import(module).then(({ KnownIds }) => {
    const known = new KnownIds([generation]);
    Atomics.add(gate, 0, 1);
    Atomics.notify(gate, 0);
    Atomics.wait(gate, 1, 0);
    for (const i of order) {
      if (known.claim(ids.subarray(i * 16, i * 16 + 16), [worker, i])) {
        Atomics.add(claims, i, 1);
        Atomics.store(claims, ids.length / 16 + i, worker);
      }
    }
    parentPort.postMessage("done");
  });
`;

/** Has several threads claim the same ids at once, and holds the table against what they report. */
async function contend(ids: Uint8Array, workers: number): Promise<void> {
  const count = ids.length / 16;
  const generation = newGeneration(count, 2);
  const shared = new Uint8Array(new SharedArrayBuffer(ids.length));
  shared.set(ids);
  const claims = new Int32Array(new SharedArrayBuffer(count * 8));
  const gate = new Int32Array(new SharedArrayBuffer(8));
  const threads = Array.from({ length: workers }, (_, worker) => {
    // Half of them run towards the other half.
    const order = Int32Array.from({ length: count }, (_, i) => (worker % 2 ? count - 1 - i : i));
    const module = new URL("known-ids.ts", import.meta.url).href;
    return new Worker(claimant, {
      eval: true,
      workerData: { module, worker, generation, ids: shared, claims, gate, order },
    });
  });
  const done = threads.map(
    (thread) =>
      new Promise<void>((resolve, reject) => {
        thread.once("message", () => resolve());
        thread.once("error", reject);
      }),
  );
  for (let ready = 0; ready < workers; ready = Atomics.load(gate, 0)) {
    const change = Atomics.waitAsync(gate, 0, ready);
    if (change.async) await Promise.race([change.value, ...done]);
  }
  Atomics.store(gate, 1, 1);
  Atomics.notify(gate, 1);
  await Promise.all(done);
  await Promise.all(threads.map((thread) => thread.terminate()));

  const known = new KnownIds([generation]);
  assert.equal(known.size, count);
  for (let i = 0; i < count; i++) {
    assert.equal(claims[i], 1, `id ${i} was claimed ${claims[i]} times`);
    assert.deepEqual(known.value(ids.subarray(i * 16, i * 16 + 16)), [claims[count + i]!, i]);
  }
}

test("threads that claim the same ids at once get each id exactly once", async () => {
  await contend(noise((slow ? 400_000 : 40_000) * 16, 3), 4);
});

test("that holds where all ids fight for the same slots", async () => {
  const ids = noise(3000 * 16, 4);
  for (let at = 0; at < ids.length; at += 16) ids.fill(0, at, at + 4);
  for (let round = 0; round < (slow ? 20 : 2); round++) await contend(ids, 4);
});
