import assert from "node:assert/strict";
import { test } from "node:test";

import { divide, invert, multiply } from "./field.ts";

const elements = Array.from({ length: 256 }, (_, i) => i);

test("multiplication commutes, has 1 as unit and 0 as zero, and stays in the field", () => {
  for (const a of elements) {
    assert.equal(multiply(a, 1), a);
    assert.equal(multiply(a, 0), 0);
    for (const b of elements) {
      const product = multiply(a, b);
      assert.ok(product >= 0 && product < 256);
      assert.equal(product, multiply(b, a));
      assert.equal(product === 0, a === 0 || b === 0);
    }
  }
});

test("multiplication is associative and distributes over addition", () => {
  for (let a = 0; a < 256; a += 5) {
    for (const b of elements) {
      for (let c = 1; c < 256; c += 7) {
        assert.equal(multiply(multiply(a, b), c), multiply(a, multiply(b, c)));
        assert.equal(multiply(a, b ^ c), multiply(a, b) ^ multiply(a, c));
      }
    }
  }
});

test("every element but 0 has an inverse", () => {
  assert.equal(invert(0), 0);
  for (const a of elements.slice(1)) {
    assert.equal(multiply(a, invert(a)), 1);
    for (const b of elements) assert.equal(multiply(divide(b, a), a), b);
  }
});

test("2 generates all elements but 0, by the polynomial 0x11d", () => {
  const powers = new Set<number>();
  let power = 1;
  for (let i = 0; i < 255; i++) {
    powers.add(power);
    power = multiply(power, 2);
  }
  assert.equal(powers.size, 255);
  assert.equal(multiply(128, 2), 0x1d);
});
