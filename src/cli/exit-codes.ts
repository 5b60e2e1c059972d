/** Exit codes; stable API, documented in docs/operations.md. */
import type { ErrorCode } from "../errors.ts";

export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  /** The work is done and kept, and some of it could not be done; each is named. */
  incomplete: 3,
  /** A check found something missing or damaged. */
  checkFailed: 4,
} as const;

export function exitCodeOf(code: ErrorCode): number {
  if (code === "usage" || code === "unknown-name") return EXIT.usage;
  if (code === "incomplete") return EXIT.incomplete;
  if (code === "check-failed") return EXIT.checkFailed;
  return EXIT.failed;
}
