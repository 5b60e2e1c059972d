/**
 * Every way in which Exclave refuses or fails, as a closed list. A code is stable API (it appears in
 * `--json` output and in docs/operations.md); the message is for people and says what happened, what
 * is safe and what to do next.
 */
export type ErrorCode =
  /** The command line or a setting is wrong; nothing was touched. */
  | "usage"
  /** This Node or its OpenSSL lacks something Exclave needs. */
  | "unsupported-runtime"
  /** `$EXCLAVE_HOME` holds no State yet, or already holds one. */
  | "no-home"
  | "home-exists"
  /** A passphrase does not open the key file. */
  | "wrong-passphrase"
  /** A key file is damaged, or of another kind or State. */
  | "bad-key"
  /** Bytes from outside do not have the form that docs/format.md demands. */
  | "malformed"
  /** Bytes have the right form and are not what their name, tag or signature says. */
  | "altered"
  /** A document is signed by a key that the State's charter does not name. */
  | "untrusted"
  /** A site, catalog or document belongs to another State. */
  | "foreign-state"
  /** A site does not answer, its directory is gone, or it is not what was admitted. */
  | "site-unavailable"
  /** No object of that name at a site. */
  | "not-found"
  /** An object of that name exists with other bytes; objects are written once. */
  | "exists"
  /** A site refuses it by the rules of the State's charter, or by what it was granted. */
  | "refused"
  /** The disk of home or of a site is full. */
  | "disk-full"
  /** Fewer than the write quorum of sites made the data durable; nothing was committed. */
  | "write-quorum"
  /** Fewer than k good shards of a pack could be had. */
  | "not-enough-shards"
  /** The placement would let one country, operator or hazard zone read or withhold. */
  | "unlawful-placement"
  /** Another process is at work on the same register. */
  | "busy"
  /** No register, site or recovery point of that name. */
  | "unknown-name"
  /** The dump command failed, so its output was not committed. */
  | "command-failed"
  /** A restore would overwrite what is there, or leave its target directory. */
  | "unsafe-target"
  /** The done work is kept, and some of it could not be done; named one by one. */
  | "incomplete"
  /** A check found shards missing or damaged. */
  | "check-failed"
  /** The user stopped it. */
  | "interrupted"
  /** A mistake in Exclave itself. */
  | "bug";

/** The one error type of Exclave. `cause` carries the underlying error, when there is one. */
export class ExclaveError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = "ExclaveError";
    this.code = code;
  }
}

/** Throws a `bug` where something that must hold does not. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new ExclaveError("bug", `internal invariant broken: ${what}`);
}

/** True for an ExclaveError, of the given code when one is named. */
export function isExclaveError(error: unknown, code?: ErrorCode): error is ExclaveError {
  return error instanceof ExclaveError && (code === undefined || error.code === code);
}
