/**
 * Systematic Reed–Solomon dispersal, k of n, on pieces in kernel memory.
 *
 * Pieces 0 to k-1 are the data, pieces k to n-1 are parity. The matrix is a Cauchy matrix (Blömer et
 * al., "An XOR-based erasure-resilient coding scheme", 1995) scaled so that its first row and first
 * column are ones (Plank and Xu, "Optimizing Cauchy Reed-Solomon codes", NCA 2006): scaling rows and
 * columns keeps every square submatrix invertible, and k = 1 becomes plain mirroring. Field, matrix and
 * order of pieces are normative, so that a rebuilt piece is bit for bit the lost one.
 */
import { ExclaveError, invariant } from "../errors.ts";
import { divide, invert, multiply } from "./field.ts";
import { type Kernel, PIECE_ALIGN_BYTES } from "./kernel.ts";

/** The most pieces of one dispersal. */
export const PIECES_MAX = 32;

/** A piece by its index (0 to n-1) and the offset of its bytes in kernel memory. */
export interface PlacedPiece {
  readonly index: number;
  readonly offset: number;
}

export interface EncodeRequest {
  readonly k: number;
  readonly n: number;
  /** Bytes of each piece, a multiple of 64. */
  readonly pieceBytes: number;
  /** n offsets: k of data, then n - k of parity to be written. None may overlap another. */
  readonly pieces: readonly number[];
}

export interface ReconstructRequest {
  readonly k: number;
  readonly n: number;
  /** Bytes of each piece, a multiple of 64. */
  readonly pieceBytes: number;
  /** Exactly k different pieces. */
  readonly present: readonly PlacedPiece[];
  /** Pieces to be written, data or parity, at offsets that overlap no other. */
  readonly wanted: readonly PlacedPiece[];
}

/**
 * The (n-k) x k parity matrix, row by row: row j gives piece k + j from the data pieces. Entry (r, c),
 * for the piece r and the column c, is 1 / (r XOR c), then each column is divided by its entry in the
 * first row, then each row by its entry in the first column. Throws `bug` unless 1 <= k <= n <= 32.
 */
export function parityMatrix(k: number, n: number): Uint8Array {
  checkShape(k, n);
  const matrix = new Uint8Array((n - k) * k);
  for (let row = k; row < n; row++) {
    const scale = divide(k, row);
    for (let column = 0; column < k; column++) {
      const entry = divide(k ^ column, row ^ column);
      matrix[(row - k) * k + column] = divide(entry, scale);
    }
  }
  return matrix;
}

/**
 * The wanted.length x k matrix, row by row, that gives the wanted pieces from the present ones, in
 * the order of both lists of indices. Throws `bug` unless `present` are exactly k different indices and
 * all are below n.
 */
export function decodeMatrix(
  k: number,
  n: number,
  present: readonly number[],
  wanted: readonly number[],
): Uint8Array {
  checkShape(k, n);
  invariant(present.length === k, `reconstruction from ${present.length} pieces, not ${k}`);
  invariant(new Set(present).size === k, "a piece is given twice");
  for (const index of [...present, ...wanted]) {
    invariant(Number.isInteger(index) && index >= 0 && index < n, `piece ${index} of ${n}`);
  }
  const parity = parityMatrix(k, n);
  const generatorRow = (index: number): Uint8Array => {
    if (index >= k) return parity.subarray((index - k) * k, (index - k + 1) * k);
    const unit = new Uint8Array(k);
    unit[index] = 1;
    return unit;
  };
  const inverse = invertMatrix(k, Uint8Array.from(present.flatMap((i) => [...generatorRow(i)])));
  const matrix = new Uint8Array(wanted.length * k);
  wanted.forEach((index, w) => {
    generatorRow(index).forEach((factor, i) => {
      for (let column = 0; column < k; column++) {
        const at = w * k + column;
        matrix[at] = at8(matrix, at) ^ multiply(factor, at8(inverse, i * k + column));
      }
    });
  });
  return matrix;
}

/**
 * The inverse of a size x size matrix, row by row, by Gauss–Jordan elimination. Throws `bug` when
 * it has none.
 */
export function invertMatrix(size: number, matrix: Uint8Array): Uint8Array {
  invariant(matrix.length === size * size, `a square matrix of ${size}`);
  const width = 2 * size;
  const rows = Array.from({ length: size }, (_, i) => {
    const row = new Uint8Array(width);
    row.set(matrix.subarray(i * size, (i + 1) * size));
    row[size + i] = 1;
    return row;
  });
  for (let column = 0; column < size; column++) {
    const pivot = rows.findIndex((row, i) => i >= column && at8(row, column) !== 0);
    const pivotRow = rows[pivot];
    const swapped = rows[column];
    if (pivotRow === undefined || swapped === undefined) {
      throw new ExclaveError("bug", "the matrix has no inverse");
    }
    rows[pivot] = swapped;
    rows[column] = pivotRow;
    const scale = invert(at8(pivotRow, column));
    for (let i = 0; i < width; i++) pivotRow[i] = multiply(at8(pivotRow, i), scale);
    for (const row of rows) {
      const factor = at8(row, column);
      if (row === pivotRow || factor === 0) continue;
      for (let i = 0; i < width; i++) row[i] = at8(row, i) ^ multiply(at8(pivotRow, i), factor);
    }
  }
  return Uint8Array.from(rows.flatMap((row) => [...row.subarray(size)]));
}

/** Computes the parity pieces from the data pieces. Throws `bug` on a request of another form. */
export function encode(kernel: Kernel, request: EncodeRequest): void {
  const { k, n, pieceBytes, pieces } = request;
  checkShape(k, n);
  checkPieceBytes(pieceBytes);
  invariant(pieces.length === n, `${pieces.length} piece offsets for ${n} pieces`);
  checkApart(pieces, pieces.slice(k), pieceBytes);
  if (n === k) return;
  kernel.multiplyMatrix(pieces.slice(0, k), pieces.slice(k), parityMatrix(k, n), pieceBytes);
}

/**
 * Computes any pieces, data or parity, from any k. A wanted piece that is also present is copied.
 * Throws `bug` on a request of another form.
 */
export function reconstruct(kernel: Kernel, request: ReconstructRequest): void {
  const { k, n, pieceBytes, present, wanted } = request;
  checkPieceBytes(pieceBytes);
  const matrix = decodeMatrix(
    k,
    n,
    present.map((piece) => piece.index),
    wanted.map((piece) => piece.index),
  );
  const inputs = present.map((piece) => piece.offset);
  const outputs = wanted.map((piece) => piece.offset);
  checkApart([...inputs, ...outputs], outputs, pieceBytes);
  if (wanted.length === 0) return;
  kernel.multiplyMatrix(inputs, outputs, matrix, pieceBytes);
}

function checkShape(k: number, n: number): void {
  const lawful = Number.isInteger(k) && Number.isInteger(n) && 1 <= k && k <= n && n <= PIECES_MAX;
  if (!lawful) throw new ExclaveError("bug", `a dispersal of ${k} of ${n} pieces`);
}

function checkPieceBytes(pieceBytes: number): void {
  invariant(
    Number.isSafeInteger(pieceBytes) && pieceBytes > 0 && pieceBytes % PIECE_ALIGN_BYTES === 0,
    `pieces of ${pieceBytes} bytes`,
  );
}

/** No written piece may overlap another piece; pieces that are only read may. */
function checkApart(all: readonly number[], written: readonly number[], pieceBytes: number): void {
  for (const offset of written) {
    const near = all.filter((other) => Math.abs(other - offset) < pieceBytes);
    invariant(near.length === 1, `the piece to be written at ${offset} overlaps another`);
  }
}

function at8(bytes: Uint8Array, index: number): number {
  return bytes[index] ?? 0;
}
