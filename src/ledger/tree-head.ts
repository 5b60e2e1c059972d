/** The body of a checkpoint (C2SP tlog-checkpoint, "Note text"): whose tree, how large, and its root. */
import { toBase64, toHex, utf8 } from "../crypto/bytes.ts";
import { invariant } from "../errors.ts";
import { EMPTY_ROOT, HASH_BYTES } from "./merkle.ts";
import { malformed, parseDecimal, parseHash } from "./text.ts";

/** As a cosigned message has one byte for the length of an origin (C2SP tlog-cosignature). */
const ORIGIN_BYTES_MAX = 255;

export interface TreeHead {
  /** The ledger's name, 1 to 255 bytes of UTF-8 on one line. */
  readonly origin: string;
  /** Leaves, up to 2^53 - 1. */
  readonly size: number;
  /** 32 bytes. */
  readonly root: Uint8Array;
}

/** The three lines of a tree head. Throws `bug` for what `parseTreeHead` would refuse. */
export function formatTreeHead({ origin, size, root }: TreeHead): string {
  invariant(isOrigin(origin), "an origin is a line of 1 to 255 bytes");
  invariant(Number.isSafeInteger(size) && size >= 0, "a tree has up to 2^53 - 1 leaves");
  invariant(root.byteLength === HASH_BYTES, "a root has 32 bytes");
  invariant(isRootOf(size, root), "the empty tree has one root");
  return `${origin}\n${size}\n${toBase64(root)}\n`;
}

/**
 * The tree head of a note's text. Throws `malformed` for another form, for an empty tree with a root
 * that is not `EMPTY_ROOT`, and for extension lines: no ledger of Exclave has them, and an ML-DSA-44
 * signature would not cover them.
 */
export function parseTreeHead(text: string): TreeHead {
  const [origin, size, root, end, ...more] = text.split("\n");
  if (origin === undefined || size === undefined || root === undefined || end === undefined)
    throw malformed("a checkpoint does not have origin, size and root");
  if (end !== "" || more.length > 0) throw malformed("a checkpoint has extension lines");
  if (!isOrigin(origin)) throw malformed("the origin of a checkpoint is not 1 to 255 bytes");
  const head = { origin, size: parseDecimal(size), root: parseHash(root) };
  if (!isRootOf(head.size, head.root))
    throw malformed("a checkpoint gives the empty tree another root");
  return head;
}

/** Whether two tree heads say the same. */
export function isSameTreeHead(a: TreeHead, b: TreeHead): boolean {
  return a.origin === b.origin && a.size === b.size && Buffer.compare(a.root, b.root) === 0;
}

/** A head as people compare it. */
export function shownHead({ size, root }: TreeHead): string {
  return `${size} entries with root ${toHex(root)}`;
}

function isOrigin(origin: string): boolean {
  const bytes = utf8(origin).byteLength;
  return bytes > 0 && bytes <= ORIGIN_BYTES_MAX && !/[\x00-\x1f]/.test(origin);
}

function isRootOf(size: number, root: Uint8Array): boolean {
  return size > 0 || Buffer.compare(root, EMPTY_ROOT) === 0;
}
