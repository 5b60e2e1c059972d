import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { isExclaveError } from "../errors.ts";
import { multiply } from "./field.ts";
import { compileKernel, loadKernel } from "./kernel.ts";

const bug = (error: unknown): boolean => isExclaveError(error, "bug");

test("the arena hands out aligned, disjoint bytes until it is used up", () => {
  const kernel = loadKernel(100_000);
  const first = kernel.alloc(100);
  const second = kernel.alloc(1, 4096);
  const third = kernel.alloc(64);
  assert.equal(first % 64, 0);
  assert.equal(second % 4096, 0);
  assert.ok(second >= first + 100 && third > second && third % 64 === 0);
  assert.throws(() => kernel.alloc(1 << 20), bug);
  assert.throws(() => kernel.alloc(8, 3), bug);
  assert.throws(() => kernel.alloc(-1), bug);
});

test("as many bytes can be allocated as were asked for", () => {
  for (const bytes of [0, 64, 65_536, 1 << 20]) {
    const kernel = loadKernel(bytes);
    assert.equal(kernel.view(kernel.alloc(bytes), bytes).length, bytes);
  }
});

test("a view is the memory itself and stays inside it", () => {
  const kernel = loadKernel(1024);
  const offset = kernel.alloc(16);
  kernel.view(offset, 16).fill(7);
  assert.equal(kernel.memory[offset + 15], 7);
  assert.throws(() => kernel.view(offset, kernel.memory.length), bug);
  assert.throws(() => kernel.view(0, 16), bug, "the scratch area is not handed out");
});

test("one compiled module serves several kernels, each with a memory of its own", () => {
  const module = structuredClone(compileKernel());
  const [a, b] = [loadKernel(64, module), loadKernel(64, module)];
  a.view(a.alloc(64), 64).fill(1);
  assert.ok(b.view(b.alloc(64), 64).every((byte) => byte === 0));
});

test("the matrix product agrees with the field, for every coefficient and byte", () => {
  const kernel = loadKernel(64 * 1024);
  const input = kernel.alloc(256);
  kernel.view(input, 256).set(Uint8Array.from({ length: 256 }, (_, i) => i));
  const outputs = Array.from({ length: 32 }, () => kernel.alloc(256));
  for (let base = 0; base < 256; base += 32) {
    kernel.multiplyMatrix(
      [input],
      outputs,
      Uint8Array.from(outputs, (_, i) => base + i),
      256,
    );
    outputs.forEach((output, i) => {
      const expected = Uint8Array.from({ length: 256 }, (_, byte) => multiply(base + i, byte));
      assert.deepEqual(kernel.view(output, 256), expected);
    });
  }
});

test("the matrix product agrees with the field for any shape, with zeros and ones", () => {
  const kernel = loadKernel(64 * 12_352 + 4096);
  const offsets = Array.from({ length: 64 }, () => kernel.alloc(12_352));
  const coefficient = fc.oneof(fc.constant(0), fc.constant(1), fc.integer({ min: 0, max: 255 }));
  const shape = fc.record({
    inputs: fc.integer({ min: 1, max: 32 }),
    outputs: fc.integer({ min: 1, max: 32 }),
    length: fc.constantFrom(0, 64, 128, 4096, 4160, 12_288),
    onesInRow: fc.constantFrom(-1, 0, 1),
    seed: fc.integer(),
  });
  const matrix = fc.array(coefficient, { minLength: 1024, maxLength: 1024 });
  fc.assert(
    fc.property(shape, matrix, ({ inputs, outputs, length, onesInRow, seed }, values) => {
      const coefficients = Uint8Array.from(values.slice(0, inputs * outputs));
      if (onesInRow >= 0) coefficients.fill(1, onesInRow * inputs, (onesInRow + 1) * inputs);
      const ins = offsets.slice(0, inputs);
      const outs = offsets.slice(32, 32 + outputs);
      ins.forEach((offset, i) => {
        kernel.view(offset, length).forEach((_, b, view) => {
          view[b] = Math.imul(seed ^ (i * 40_503 + b), 0x9e3779b1) >>> 24;
        });
      });
      for (const out of outs) kernel.view(out, length + 64).fill(0xa5);
      kernel.multiplyMatrix(ins, outs, coefficients, length);
      outs.forEach((out, j) => {
        for (let at = 0; at < length; at += at % 4096 === 0 ? 1 : 61) {
          const expected = ins.reduce(
            (sum, offset, i) =>
              sum ^ multiply(coefficients[j * inputs + i]!, kernel.memory[offset + at]!),
            0,
          );
          assert.equal(kernel.memory[out + at], expected);
        }
        assert.ok(kernel.view(out + length, 64).every((byte) => byte === 0xa5));
      });
    }),
    { numRuns: process.env.SLOW ? 2000 : 100 },
  );
});

test("a product of a wrong shape is refused", () => {
  const kernel = loadKernel(4096);
  const [a, b] = [kernel.alloc(64), kernel.alloc(64)];
  assert.throws(() => kernel.multiplyMatrix([a], [b], new Uint8Array(2), 64), bug);
  assert.throws(() => kernel.multiplyMatrix([a], [b], new Uint8Array(1), 63), bug);
  assert.throws(() => kernel.multiplyMatrix([], [b], new Uint8Array(0), 64), bug);
  assert.throws(() => kernel.multiplyMatrix([a], [0], new Uint8Array(1), 64), bug);
  assert.throws(() => kernel.multiplyMatrix([a], [b], new Uint8Array(1), 1 << 20), bug);
});
