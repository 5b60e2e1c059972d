/**
 * The WebAssembly kernel (assembly/kernel.ts) with a memory of its own.
 *
 * Data for the kernel lives in that memory and is named by byte offsets into it; a caller reads
 * files straight into `view(offset, length)`, so nothing is copied on the way.
 */
import { readFileSync } from "node:fs";

import { ExclaveError, invariant } from "../errors.ts";

/** The most inputs, or outputs, that one matrix product takes. */
export const KERNEL_PIECES_MAX = 32;

/** Kernel work on pieces is in units of this many bytes. */
export const PIECE_ALIGN_BYTES = 64;

const PAGE_BYTES = 65_536;

/** Scratch for arguments and tables at the bottom of the memory; offsets as in assembly/kernel.ts. */
const SCRATCH_BYTES = PAGE_BYTES;
const INPUTS_AT = 0;
const OUTPUTS_AT = 128;
const COEFFICIENTS_AT = 256;

interface KernelExports {
  multiplyMatrix(inputs: number, outputs: number, length: number): void;
  gearScan(table: number, data: number, from: number, to: number, limit: number): number;
}

/** One instance of the kernel, its memory, and an arena on it. Belongs to one thread. */
export interface Kernel {
  /** The whole memory. It never grows, so views stay valid. */
  readonly memory: Uint8Array;

  /**
   * Reserves `bytes` bytes for as long as the kernel lives and returns their offset, a multiple of
   * `align` (a power of two, 64 by default). There is no free. Throws `bug` when the arena is used up.
   */
  alloc(bytes: number, align?: number): number;

  /** The `length` bytes at `offset`, not copied. Throws `bug` outside the memory. */
  view(offset: number, length: number): Uint8Array;

  /**
   * outputs[j] = sum over i of coefficients[j * inputs.length + i] * inputs[i] in GF(2^8), over
   * `length` bytes. `inputs` and `outputs` are offsets of 1 to 32 pieces each; no output may overlap
   * an input or another output; `length` is a multiple of 64. Throws `bug` on anything else, except
   * that overlap is the caller's to avoid.
   */
  multiplyMatrix(
    inputs: readonly number[],
    outputs: readonly number[],
    coefficients: Uint8Array,
    length: number,
  ): void;

  /**
   * The first p with from < p <= to at which the gear hash of the 32 bytes before `data + p` has
   * its top `zeroBits` bits (1 to 31) zero, or 0 when there is none. `table` is the offset of 256 u32,
   * little endian; `from` is at least 32. Throws `bug` outside the memory.
   */
  gearScan(table: number, data: number, from: number, to: number, zeroBits: number): number;
}

/** Compiles the kernel. A module may be posted to worker threads, so one compilation serves all. */
export function compileKernel(): WebAssembly.Module {
  let code: Uint8Array<ArrayBuffer>;
  try {
    code = new Uint8Array(readFileSync(new URL("kernel.wasm", import.meta.url)));
  } catch (cause) {
    const message = "kernel.wasm is missing beside the program; run `npm run build:kernel`";
    throw new ExclaveError("unsupported-runtime", message, { cause });
  }
  try {
    return new WebAssembly.Module(code);
  } catch (cause) {
    const message = "this Node cannot run the kernel: it needs WebAssembly with relaxed SIMD";
    throw new ExclaveError("unsupported-runtime", message, { cause });
  }
}

/**
 * A kernel on which at least `memoryBytes` bytes can be allocated (in 64-byte steps), from `module` when
 * one is given. Memory is reserved at once and touched only when used. Throws `unsupported-runtime`
 * when Node cannot run it, `bug` for more than 4 GiB.
 */
export function loadKernel(memoryBytes: number, module = compileKernel()): Kernel {
  const pages = Math.ceil((SCRATCH_BYTES + memoryBytes) / PAGE_BYTES);
  invariant(memoryBytes >= 0 && pages <= 65_536, `a kernel memory of ${memoryBytes} bytes`);
  const wasmMemory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const instance = new WebAssembly.Instance(module, { env: { memory: wasmMemory, abort } });
  const raw = instance.exports as unknown as KernelExports;

  const memory = new Uint8Array(wasmMemory.buffer);
  const inputOffsets = new Uint32Array(wasmMemory.buffer, INPUTS_AT, KERNEL_PIECES_MAX);
  const outputOffsets = new Uint32Array(wasmMemory.buffer, OUTPUTS_AT, KERNEL_PIECES_MAX);
  let used = SCRATCH_BYTES;

  function checkRange(offset: number, length: number): void {
    const inside =
      Number.isSafeInteger(offset) &&
      Number.isSafeInteger(length) &&
      offset >= SCRATCH_BYTES &&
      length >= 0 &&
      offset + length <= memory.length;
    if (!inside) {
      throw new ExclaveError("bug", `bytes ${offset}+${length} are outside the kernel memory`);
    }
  }

  return {
    memory,

    alloc(bytes, align = 64) {
      invariant(Number.isSafeInteger(bytes) && bytes >= 0, `an allocation of ${bytes} bytes`);
      invariant(align > 0 && (align & (align - 1)) === 0, `an alignment of ${align}`);
      const offset = Math.ceil(used / align) * align;
      if (offset + bytes > memory.length) {
        throw new ExclaveError("bug", `the kernel memory has no room for ${bytes} more bytes`);
      }
      used = offset + bytes;
      return offset;
    },

    view(offset, length) {
      checkRange(offset, length);
      return memory.subarray(offset, offset + length);
    },

    multiplyMatrix(inputs, outputs, coefficients, length) {
      invariant(
        inputs.length >= 1 && inputs.length <= KERNEL_PIECES_MAX,
        `a product of ${inputs.length} inputs`,
      );
      invariant(
        outputs.length >= 1 && outputs.length <= KERNEL_PIECES_MAX,
        `a product of ${outputs.length} outputs`,
      );
      invariant(coefficients.length === inputs.length * outputs.length, "a matrix of that shape");
      invariant(length % PIECE_ALIGN_BYTES === 0, `pieces of ${length} bytes`);
      for (const offset of inputs) checkRange(offset, length);
      for (const offset of outputs) checkRange(offset, length);
      inputOffsets.set(inputs);
      outputOffsets.set(outputs);
      memory.set(coefficients, COEFFICIENTS_AT);
      raw.multiplyMatrix(inputs.length, outputs.length, length);
    },

    gearScan(table, data, from, to, zeroBits) {
      invariant(from >= 32 && from <= to, `a gear scan from ${from} to ${to}`);
      invariant(zeroBits >= 1 && zeroBits <= 31, `a gear scan for ${zeroBits} zero bits`);
      checkRange(table, 1024);
      checkRange(data, to);
      return raw.gearScan(table, data, from, to, 2 ** (32 - zeroBits)) >>> 0;
    },
  };
}

function abort(): never {
  throw new ExclaveError("bug", "the kernel aborted");
}
