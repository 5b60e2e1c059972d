import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { multiply } from "../src/erasure/field.ts";
import { loadKernel } from "../src/erasure/kernel.ts";
import { encode, parityMatrix } from "../src/erasure/reed-solomon.ts";
import { combine, split } from "../src/erasure/shamir.ts";

interface Vectors {
  readonly products: readonly (readonly [number, number, number])[];
  readonly matrices: readonly { k: number; n: number; rows: readonly string[] }[];
  readonly encodings: readonly {
    k: number;
    n: number;
    pieceBytes: number;
    data: readonly string[];
    parity: readonly string[];
  }[];
  readonly sharings: readonly {
    k: number;
    n: number;
    secret: string;
    coefficients: string;
    shares: readonly string[];
  }[];
}

const path = new URL("vectors/erasure.json", import.meta.url);
const vectors = JSON.parse(readFileSync(path, "utf8")) as Vectors;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"));

test("products in the field are those of the vectors", () => {
  for (const [a, b, product] of vectors.products) assert.equal(multiply(a, b), product);
});

test("parity matrices are those of the vectors", () => {
  for (const { k, n, rows } of vectors.matrices) {
    assert.equal(hex(parityMatrix(k, n)), rows.join(""), `${k} of ${n}`);
  }
});

test("parity pieces are those of the vectors", () => {
  for (const { k, n, pieceBytes, data, parity } of vectors.encodings) {
    const kernel = loadKernel(n * pieceBytes);
    const pieces = Array.from({ length: n }, () => kernel.alloc(pieceBytes));
    for (const [i, piece] of data.entries()) {
      kernel.view(pieces[i]!, pieceBytes).set(bytes(piece));
    }
    encode(kernel, { k, n, pieceBytes, pieces });
    assert.deepEqual(
      pieces.slice(k).map((offset) => hex(kernel.view(offset, pieceBytes))),
      parity,
    );
  }
});

test("secret shares are those of the vectors", () => {
  for (const { k, n, secret, coefficients, shares } of vectors.sharings) {
    const made = split(bytes(secret), k, n, () => bytes(coefficients));
    assert.deepEqual(made.map(hex), shares);
    const last = shares.map((share, index) => ({ index, share: bytes(share) })).slice(n - k);
    assert.equal(hex(combine(last, k)), secret);
  }
});
