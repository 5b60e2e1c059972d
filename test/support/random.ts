/** Randomness that a seed repeats. */
import { createCipheriv, createHash } from "node:crypto";

/** So many bytes that do not compress, the same for the same seed. */
export function randomBytes(seed: string, bytes: number): Buffer {
  const key = createHash("sha256").update(seed).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}

/** Numbers from 0 (included) to 1 (excluded), the same for the same seed. */
export function randomNumbers(seed: string): () => number {
  const bytes = randomBytes(`numbers ${seed}`, 64 * 1024);
  let at = 0;
  return () => {
    at = (at + 4) % bytes.length;
    return bytes.readUInt32LE(at) / 2 ** 32;
  };
}

/** The seed of a run: from the environment when a failure is repeated, else new. Print it. */
export function seedOf(variable: string): string {
  return process.env[variable] ?? `${Date.now()}`;
}
