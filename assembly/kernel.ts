/**
 * The erasure and chunking kernel (AssemblyScript, WebAssembly with SIMD and relaxed SIMD).
 *
 * Field: GF(2^8), polynomial 0x11d. A product of a byte with a constant c is two look-ups in
 * 16-entry tables, c * low nibble and c * high nibble, sixteen bytes at a time (Plank, Greenan and
 * Miller, "Screaming fast Galois field arithmetic using Intel SIMD instructions", FAST 2013).
 *
 * The lowest 64 KiB of the memory are scratch for arguments and tables; src/erasure/kernel.ts
 * names the same offsets and hands out memory above them.
 */

/** u32[32]: where each input piece begins. */
const INPUTS: usize = 0;
/** u32[32]: where each output piece begins. */
const OUTPUTS: usize = 128;
/** u8[outputs][inputs]: the coefficients, row by row. */
const COEFFICIENTS: usize = 256;
/** 32 bytes for each coefficient: products of the sixteen low nibbles, then of the high ones. */
const TABLES: usize = 4096;

/** u8[16]: fifteens; loaded from here because V8 would build a constant anew in every round. */
const NIBBLES: usize = 0xe000;

/** u32[256]: the gear table of the scan under way. */
const GEAR_TABLE: usize = 0xf000;

/** Bytes of each of the four lanes of a gear scan. */
const LANE: usize = 2048;

/** Bytes of each piece worked on before the next rows of the matrix: all inputs' strips fit L1/L2. */
const STRIP: usize = 4096;

// @ts-ignore: decorator
@inline
function times2(x: u32): u32 {
  return ((x << 1) ^ ((x >> 7) * 0x11d)) & 0xff;
}

function buildTable(c: u32, at: usize): void {
  for (let half: usize = 0; half < 2; half++) {
    store<u8>(at, 0);
    for (let bit: usize = 1; bit < 16; bit <<= 1) {
      for (let i: usize = 0; i < bit; i++) {
        store<u8>(at + bit + i, load<u8>(at + i) ^ (c as u8));
      }
      c = times2(c);
    }
    at += 16;
  }
}

// @ts-ignore: decorator
@inline
function low(x: v128, mask: v128): v128 {
  return v128.and(x, mask);
}

// @ts-ignore: decorator
@inline
function high(x: v128, mask: v128): v128 {
  return v128.and(i16x8.shr_u(x, 4), mask);
}

// @ts-ignore: decorator
@inline
function product(tableLow: v128, tableHigh: v128, lowNibbles: v128, highNibbles: v128): v128 {
  return v128.xor(
    i8x16.relaxed_swizzle(tableLow, lowNibbles),
    i8x16.relaxed_swizzle(tableHigh, highNibbles),
  );
}

/** One output: any coefficients. */
function oneRow(inputs: usize, output: usize, tables: usize, from: usize, to: usize): void {
  const out = load<u32>(output) as usize;
  const inputsEnd = INPUTS + inputs * 4;
  const mask = v128.load(NIBBLES);
  for (let at = from; at < to; at += 64) {
    let a0 = i64x2.splat(0);
    let a1 = a0;
    let a2 = a0;
    let a3 = a0;
    let table = tables;
    for (let input = INPUTS; input < inputsEnd; input += 4) {
      const p = (load<u32>(input) as usize) + at;
      const tl = v128.load(table);
      const th = v128.load(table, 16);
      const x0 = v128.load(p);
      const x1 = v128.load(p, 16);
      const x2 = v128.load(p, 32);
      const x3 = v128.load(p, 48);
      a0 = v128.xor(a0, product(tl, th, low(x0, mask), high(x0, mask)));
      a1 = v128.xor(a1, product(tl, th, low(x1, mask), high(x1, mask)));
      a2 = v128.xor(a2, product(tl, th, low(x2, mask), high(x2, mask)));
      a3 = v128.xor(a3, product(tl, th, low(x3, mask), high(x3, mask)));
      table += 32;
    }
    const q = out + at;
    v128.store(q, a0);
    v128.store(q, a1, 16);
    v128.store(q, a2, 32);
    v128.store(q, a3, 48);
  }
}

/** Two outputs: any coefficients; the nibbles of each input are split once for both. */
function twoRows(inputs: usize, output: usize, tables: usize, from: usize, to: usize): void {
  const outA = load<u32>(output) as usize;
  const outB = load<u32>(output, 4) as usize;
  const inputsEnd = INPUTS + inputs * 4;
  const stride = inputs * 32;
  const mask = v128.load(NIBBLES);
  for (let at = from; at < to; at += 32) {
    let a0 = i64x2.splat(0);
    let a1 = a0;
    let b0 = a0;
    let b1 = a0;
    let table = tables;
    for (let input = INPUTS; input < inputsEnd; input += 4) {
      const p = (load<u32>(input) as usize) + at;
      const x0 = v128.load(p);
      const x1 = v128.load(p, 16);
      const l0 = low(x0, mask);
      const h0 = high(x0, mask);
      const l1 = low(x1, mask);
      const h1 = high(x1, mask);
      const al = v128.load(table);
      const ah = v128.load(table, 16);
      a0 = v128.xor(a0, product(al, ah, l0, h0));
      a1 = v128.xor(a1, product(al, ah, l1, h1));
      const bl = v128.load(table + stride);
      const bh = v128.load(table + stride, 16);
      b0 = v128.xor(b0, product(bl, bh, l0, h0));
      b1 = v128.xor(b1, product(bl, bh, l1, h1));
      table += 32;
    }
    v128.store(outA + at, a0);
    v128.store(outA + at, a1, 16);
    v128.store(outB + at, b0);
    v128.store(outB + at, b1, 16);
  }
}

/** One output whose coefficients are all one. */
function sumRow(inputs: usize, output: usize, from: usize, to: usize): void {
  const out = load<u32>(output) as usize;
  const inputsEnd = INPUTS + inputs * 4;
  const first = load<u32>(INPUTS) as usize;
  for (let at = from; at < to; at += 64) {
    let a0 = v128.load(first + at);
    let a1 = v128.load(first + at, 16);
    let a2 = v128.load(first + at, 32);
    let a3 = v128.load(first + at, 48);
    for (let input = INPUTS + 4; input < inputsEnd; input += 4) {
      const p = (load<u32>(input) as usize) + at;
      a0 = v128.xor(a0, v128.load(p));
      a1 = v128.xor(a1, v128.load(p, 16));
      a2 = v128.xor(a2, v128.load(p, 32));
      a3 = v128.xor(a3, v128.load(p, 48));
    }
    const q = out + at;
    v128.store(q, a0);
    v128.store(q, a1, 16);
    v128.store(q, a2, 32);
    v128.store(q, a3, 48);
  }
}

/**
 * Two outputs as at the head of every encoding: the first row all ones, the second row one in
 * its first column.
 */
function sumAndRow(inputs: usize, output: usize, tables: usize, from: usize, to: usize): void {
  const outA = load<u32>(output) as usize;
  const outB = load<u32>(output, 4) as usize;
  const inputsEnd = INPUTS + inputs * 4;
  const first = load<u32>(INPUTS) as usize;
  const mask = v128.load(NIBBLES);
  for (let at = from; at < to; at += 32) {
    let a0 = v128.load(first + at);
    let a1 = v128.load(first + at, 16);
    let b0 = a0;
    let b1 = a1;
    let table = tables + 32;
    for (let input = INPUTS + 4; input < inputsEnd; input += 4) {
      const p = (load<u32>(input) as usize) + at;
      const x0 = v128.load(p);
      const x1 = v128.load(p, 16);
      const tl = v128.load(table);
      const th = v128.load(table, 16);
      a0 = v128.xor(a0, x0);
      a1 = v128.xor(a1, x1);
      b0 = v128.xor(b0, product(tl, th, low(x0, mask), high(x0, mask)));
      b1 = v128.xor(b1, product(tl, th, low(x1, mask), high(x1, mask)));
      table += 32;
    }
    v128.store(outA + at, a0);
    v128.store(outA + at, a1, 16);
    v128.store(outB + at, b0);
    v128.store(outB + at, b1, 16);
  }
}

function isSumRow(inputs: usize, row: usize): bool {
  for (let i: usize = 0; i < inputs; i++) {
    if (load<u8>(COEFFICIENTS + row * inputs + i) != 1) return false;
  }
  return true;
}

/**
 * out[j] = sum over i of coefficient[j][i] * in[i], over `length` bytes (a multiple of 64), with
 * the arguments in the scratch area. Outputs must not overlap inputs.
 */
export function multiplyMatrix(inputs: usize, outputs: usize, length: usize): void {
  for (let i: usize = 0; i < inputs * outputs; i++) {
    buildTable(load<u8>(COEFFICIENTS + i), TABLES + i * 32);
  }
  v128.store(NIBBLES, i8x16.splat(15));
  const firstIsSum = isSumRow(inputs, 0);
  const pairWithSum = firstIsSum && outputs > 1 && load<u8>(COEFFICIENTS + inputs) == 1;
  for (let from: usize = 0; from < length; from += STRIP) {
    const to = min(from + STRIP, length);
    let row: usize = 0;
    if (pairWithSum) {
      sumAndRow(inputs, OUTPUTS, TABLES + inputs * 32, from, to);
      row = 2;
    } else if (firstIsSum) {
      sumRow(inputs, OUTPUTS, from, to);
      row = 1;
    }
    for (; row + 1 < outputs; row += 2) {
      twoRows(inputs, OUTPUTS + row * 4, TABLES + row * inputs * 32, from, to);
    }
    if (row < outputs) {
      oneRow(inputs, OUTPUTS + row * 4, TABLES + row * inputs * 32, from, to);
    }
  }
}

// @ts-ignore: decorator
@inline
function roll(hash: u32, byte: u8): u32 {
  return (hash << 1) + load<u32>((byte as usize) << 2, GEAR_TABLE);
}

// @ts-ignore: decorator
@inline
function gear(byte: u8): usize {
  return (byte as usize) << 2;
}

/** Four hashes at once, of four bytes LANE apart (shift, four table loads into one vector, add). */
// @ts-ignore: decorator
@inline
function rollLanes(hashes: v128, at: usize): v128 {
  let next = v128.load32_zero(gear(load<u8>(at)), GEAR_TABLE);
  next = v128.load_lane<u32>(gear(load<u8>(at, LANE)), next, 1, GEAR_TABLE);
  next = v128.load_lane<u32>(gear(load<u8>(at, 2 * LANE)), next, 2, GEAR_TABLE);
  next = v128.load_lane<u32>(gear(load<u8>(at, 3 * LANE)), next, 3, GEAR_TABLE);
  return i32x4.add(i32x4.shl(hashes, 1), next);
}

/** The first position of [at, end) after whose byte the rolled hash is below `limit`; 0 for none. */
function scanLane(at: usize, end: usize, limit: u32): usize {
  let hash: u32 = 0;
  for (let before = at - 32; before < at; before++) hash = roll(hash, load<u8>(before));
  for (; at < end; at++) {
    hash = roll(hash, load<u8>(at));
    if (hash < limit) return at + 1;
  }
  return 0;
}

/**
 * The first position p with from < p <= to at which the gear hash of the 32 bytes before p is
 * below `limit`, or 0 when there is none. `from` is at least 32.
 *
 * A hash depends on 32 bytes alone, so four lanes of a block are hashed side by side, each after a
 * warm-up, keeping just the smallest hash; a block that holds a cut is scanned again in order.
 */
export function gearScan(table: usize, data: usize, from: usize, to: usize, limit: u32): usize {
  memory.copy(GEAR_TABLE, table, 1024);
  const limits = i32x4.splat(limit);
  let at = data + from;
  const end = data + to;
  for (; at + 4 * LANE <= end; at += 4 * LANE) {
    let hashes = i32x4.splat(0);
    let p = at - 32;
    for (; p < at; p++) hashes = rollLanes(hashes, p);
    let least = i32x4.splat(-1);
    for (const laneEnd = at + LANE; p < laneEnd; p += 8) {
      hashes = rollLanes(hashes, p);
      least = i32x4.min_u(least, hashes);
      hashes = rollLanes(hashes, p + 1);
      least = i32x4.min_u(least, hashes);
      hashes = rollLanes(hashes, p + 2);
      least = i32x4.min_u(least, hashes);
      hashes = rollLanes(hashes, p + 3);
      least = i32x4.min_u(least, hashes);
      hashes = rollLanes(hashes, p + 4);
      least = i32x4.min_u(least, hashes);
      hashes = rollLanes(hashes, p + 5);
      least = i32x4.min_u(least, hashes);
      hashes = rollLanes(hashes, p + 6);
      least = i32x4.min_u(least, hashes);
      hashes = rollLanes(hashes, p + 7);
      least = i32x4.min_u(least, hashes);
    }
    if (v128.any_true(i32x4.lt_u(least, limits))) break;
  }
  const cut = scanLane(at, end, limit);
  return cut == 0 ? 0 : cut - data;
}
