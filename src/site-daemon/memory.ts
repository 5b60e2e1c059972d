/** Keeps the process small while gigabytes pass through it. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

type Collect = (options: { readonly type: "major"; readonly flavor: "last-resort" }) => void;

/**
 * Gives back what starting took, and keeps the young generation as small as that makes it. Flags that V8 does not know
 * change nothing.
 */
export function settleMemory(): void {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("globalThis.gc");
  if (!isCollect(collect)) return;
  setFlagsFromString("--semi-space-growth-factor=1");
  collect({ type: "major", flavor: "last-resort" });
}

/**
 * Gives the memory of bytes back at once, where they are all of a buffer, which nobody else may hold; they are empty
 * from then on. Other than `release` of crypto/bytes.ts it is for small ones: what comes and goes over TLS is a buffer
 * of 16 KiB each time, which weighs little in the heap itself. Left to V8, a hundred megabytes pile up before it looks,
 * and then it looks through all of the heap. Given back, the next one has the same memory, which the processor still
 * has at hand.
 */
export function giveBack({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

function isCollect(value: unknown): value is Collect {
  return typeof value === "function";
}
