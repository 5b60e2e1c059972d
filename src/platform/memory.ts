/** How the process treats memory. */
import { setFlagsFromString } from "node:v8";

/**
 * From here on, collect garbage early rather than let heaps grow: for long work, which native code does
 * while our own objects only pass through. Short work is better off without. It holds for the whole
 * process, and V8 heeds it at each collection.
 */
export function favourSmallHeaps(): void {
  setFlagsFromString("--optimize-for-size");
}
