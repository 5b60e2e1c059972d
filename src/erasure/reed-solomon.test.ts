import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";

import fc from "fast-check";

import { isExclaveError } from "../errors.ts";
import { loadKernel } from "./kernel.ts";
import { decodeMatrix, encode, invertMatrix, parityMatrix, reconstruct } from "./reed-solomon.ts";

const bug = (error: unknown): boolean => isExclaveError(error, "bug");
const slow = Boolean(process.env.SLOW);

/** All subsets of `size` of the numbers below `n`. */
function* subsets(n: number, size: number, from = 0): Generator<number[]> {
  if (size === 0) yield [];
  else
    for (let i = from; i < n; i++)
      for (const rest of subsets(n, size - 1, i + 1)) yield [i, ...rest];
}

/** k pieces of n and their order, drawn by fast-check. */
const dispersal = fc
  .integer({ min: 1, max: 32 })
  .chain((n) => fc.record({ n: fc.constant(n), k: fc.integer({ min: 1, max: n }) }))
  .chain(({ k, n }) => {
    const indices = Array.from({ length: n }, (_, i) => i);
    const present = fc.shuffledSubarray(indices, { minLength: k, maxLength: k });
    return fc.record({ k: fc.constant(k), n: fc.constant(n), present });
  });

test("the first parity row and the first column are ones", () => {
  for (let n = 1; n <= 32; n++) {
    for (let k = 1; k <= n; k++) {
      const matrix = parityMatrix(k, n);
      assert.equal(matrix.length, (n - k) * k);
      assert.ok(matrix.subarray(0, k).every((entry) => entry === 1));
      for (let row = 0; row < n - k; row++) assert.equal(matrix[row * k], 1);
    }
  }
});

test("every k of n pieces determine the rest, exhaustively up to n = 8", () => {
  for (let n = 1; n <= 8; n++) {
    for (let k = 1; k <= n; k++) {
      for (const present of subsets(n, k)) decodeMatrix(k, n, present, [0]);
    }
  }
});

test("random k of n pieces determine the rest, for every k and n up to 32", () => {
  const runs = slow ? 50 : 2;
  for (let n = 9; n <= 32; n++) {
    for (let k = 1; k <= n; k++) {
      for (let run = 0; run < runs; run++) {
        const order = [...randomBytes(n)].map((key, i) => ({ key, i }));
        order.sort((a, b) => a.key - b.key);
        const present = order.slice(0, k).map(({ i }) => i);
        assert.doesNotThrow(
          () => decodeMatrix(k, n, present, []),
          `${k} of ${n}: ${present.join()}`,
        );
      }
    }
  }
});

test("a decode matrix gives present pieces as themselves", () => {
  fc.assert(
    fc.property(dispersal, ({ k, n, present }) => {
      const matrix = decodeMatrix(k, n, present, present);
      matrix.forEach((entry, at) => {
        assert.equal(entry, at % (k + 1) === 0 ? 1 : 0);
      });
    }),
  );
});

test("a singular matrix is refused", () => {
  assert.throws(() => invertMatrix(2, Uint8Array.of(1, 2, 1, 2)), bug);
  assert.deepEqual(invertMatrix(2, Uint8Array.of(0, 1, 1, 0)), Uint8Array.of(0, 1, 1, 0));
});

test("any k pieces rebuild every other piece bit for bit, data and parity", () => {
  const pieceBytesMax = 8320;
  const kernel = loadKernel(64 * pieceBytesMax);
  const offsets = Array.from({ length: 64 }, () => kernel.alloc(pieceBytesMax));
  const blocks = fc.integer({ min: 1, max: pieceBytesMax / 64 });
  fc.assert(
    fc.property(dispersal, blocks, ({ k, n, present }, count) => {
      const pieceBytes = count * 64;
      const pieces = offsets.slice(0, n);
      for (const offset of pieces.slice(0, k))
        kernel.view(offset, pieceBytes).set(randomBytes(pieceBytes));
      encode(kernel, { k, n, pieceBytes, pieces });
      reconstruct(kernel, {
        k,
        n,
        pieceBytes,
        present: present.map((index) => ({ index, offset: pieces[index]! })),
        wanted: pieces.map((_, index) => ({ index, offset: offsets[32 + index]! })),
      });
      pieces.forEach((offset, index) => {
        const rebuilt = kernel.view(offsets[32 + index]!, pieceBytes);
        assert.equal(Buffer.compare(rebuilt, kernel.view(offset, pieceBytes)), 0, `piece ${index}`);
      });
    }),
    { numRuns: slow ? 3000 : 150 },
  );
});

test("k = 1 is mirroring", () => {
  const kernel = loadKernel(4096);
  const pieces = [kernel.alloc(64), kernel.alloc(64), kernel.alloc(64)];
  const data = randomBytes(64);
  kernel.view(pieces[0]!, 64).set(data);
  encode(kernel, { k: 1, n: 3, pieceBytes: 64, pieces });
  for (const piece of pieces) assert.equal(Buffer.compare(kernel.view(piece, 64), data), 0);
});

test("requests that make no sense are refused, and nothing is written", () => {
  const kernel = loadKernel(64 * 1024);
  const pieces = Array.from({ length: 5 }, () => kernel.alloc(128));
  const request = { k: 3, n: 5, pieceBytes: 128, pieces };
  assert.throws(() => encode(kernel, { ...request, k: 0 }), bug);
  assert.throws(() => encode(kernel, { ...request, k: 6 }), bug);
  assert.throws(() => encode(kernel, { ...request, n: 33 }), bug);
  assert.throws(() => encode(kernel, { ...request, pieceBytes: 100 }), bug);
  assert.throws(() => encode(kernel, { ...request, pieces: pieces.slice(1) }), bug);
  assert.throws(() => encode(kernel, { ...request, pieces: pieces.with(4, pieces[0]! + 64) }), bug);
  assert.throws(() => decodeMatrix(3, 5, [0, 1], [2]), bug);
  assert.throws(() => decodeMatrix(3, 5, [0, 1, 1], [2]), bug);
  assert.throws(() => decodeMatrix(3, 5, [0, 1, 5], [2]), bug);
  assert.throws(() => decodeMatrix(3, 5, [0, 1, 2], [-1]), bug);
});
