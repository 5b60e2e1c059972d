/**
 * How fast one core codes, decodes and chunks: `node bench/erasure.ts [--json]`.
 *
 * Rates are gigabytes (10^9) a second of data: k * pieceBytes for coding, scanned bytes for chunking.
 */
import { loadKernel } from "../src/erasure/kernel.ts";
import { encode, type PlacedPiece, reconstruct } from "../src/erasure/reed-solomon.ts";
import { Chunker } from "../src/vault/chunker.ts";

export interface ErasureResult {
  readonly name: string;
  /** GB of data a second. */
  readonly gigabytesPerSecond: number;
}

const PIECE_BYTES = 4 << 20;
const PIECES = 12;

/** Measures each rate over at least `seconds`. Takes about five times as long. */
export function benchErasure(seconds = 1): ErasureResult[] {
  const kernel = loadKernel(PIECES * PIECE_BYTES + 4096);
  const buffer = kernel.alloc(PIECES * PIECE_BYTES);
  fillWithNoise(kernel.view(buffer, PIECES * PIECE_BYTES));
  const table = new Uint8Array(1024);
  fillWithNoise(table);
  const pieces = Array.from({ length: PIECES }, (_, i) => buffer + i * PIECE_BYTES);
  const placed = (index: number, at = index): PlacedPiece => ({ index, offset: pieces[at] ?? 0 });

  const encodeOf = (k: number, n: number) => () => {
    encode(kernel, { k, n, pieceBytes: PIECE_BYTES, pieces: pieces.slice(0, n) });
    return k * PIECE_BYTES;
  };
  const decodeTwoLost = () => {
    reconstruct(kernel, {
      k: 3,
      n: 5,
      pieceBytes: PIECE_BYTES,
      present: [placed(2), placed(3), placed(4)],
      wanted: [placed(0, 5), placed(1, 6)],
    });
    return 3 * PIECE_BYTES;
  };
  const chunker = new Chunker(kernel, table);
  const chunk = () => {
    const end = buffer + PIECES * PIECE_BYTES;
    let scanned = 0;
    for (let at = buffer; at < end; ) {
      const length = chunker.nextCut(at, end - at, true);
      scanned += Math.max(0, length - chunker.limits.minBytes);
      at += length;
    }
    return scanned;
  };
  const chunkAll = () => {
    chunk();
    return PIECES * PIECE_BYTES;
  };

  return [
    measure("encode 3-of-5", seconds, encodeOf(3, 5)),
    measure("decode 3-of-5, two data pieces lost", seconds, decodeTwoLost),
    measure("encode 6-of-9", seconds, encodeOf(6, 9)),
    measure("gear scan", seconds, chunk),
    measure("chunking, skipped bytes included", seconds, chunkAll),
  ];
}

/** Runs `work`, which returns the bytes it did, until the time is up. */
function measure(name: string, seconds: number, work: () => number): ErasureResult {
  work();
  const start = performance.now();
  let bytes = 0;
  let elapsedMs = 0;
  while (elapsedMs < seconds * 1000) {
    bytes += work();
    elapsedMs = performance.now() - start;
  }
  return { name, gigabytesPerSecond: bytes / elapsedMs / 1e6 };
}

function fillWithNoise(bytes: Uint8Array): void {
  let state = 1;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 0x915f77f5) + 1) | 0;
    bytes[i] = state >>> 24;
  }
}

if (import.meta.main) {
  const results = benchErasure();
  if (process.argv.includes("--json")) console.log(JSON.stringify(results));
  else {
    for (const { name, gigabytesPerSecond } of results) {
      console.log(`${name.padEnd(36)} ${gigabytesPerSecond.toFixed(2)} GB/s`);
    }
  }
}
