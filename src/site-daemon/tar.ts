/** Writes tar archives (POSIX.1-1988 ustar) whose bytes follow from names and contents alone. */
import { concat, utf8 } from "../crypto/bytes.ts";
import { ExclaveError } from "../errors.ts";

export type TarFile = {
  /** Relative, with "/". */
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly isExecutable: boolean;
};

const BLOCK_BYTES = 512;
const NAME_BYTES_MAX = 100;
const PREFIX_BYTES_MAX = 155;
/** The moment that npm gives every file too: before 1980 some unpackers object. */
const MTIME_SECONDS = 499_162_500;
const TRAILER_BYTES = 2 * BLOCK_BYTES;

/** An archive of the files, in the order of their paths. Throws `bug` for a path that ustar cannot hold. */
export function tarOf(files: readonly TarFile[]): Uint8Array {
  const sorted = files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  return concat(
    ...sorted.flatMap((file) => [headerOf(file), file.bytes, paddingOf(file.bytes.length)]),
    new Uint8Array(TRAILER_BYTES),
  );
}

function paddingOf(bytes: number): Uint8Array {
  return new Uint8Array((BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES);
}

function headerOf({ path, bytes, isExecutable }: TarFile): Uint8Array {
  const header = new Uint8Array(BLOCK_BYTES);
  const { prefix, name } = splitPath(path);
  const put = (at: number, text: string): void => header.set(utf8(text), at);
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, "0");
  put(0, name);
  put(100, `${octal(isExecutable ? 0o755 : 0o644, 7)}\0`);
  put(108, `${octal(0, 7)}\0`);
  put(116, `${octal(0, 7)}\0`);
  put(124, `${octal(bytes.length, 11)}\0`);
  put(136, `${octal(MTIME_SECONDS, 11)}\0`);
  // While the sum is taken, its own field is spaces.
  put(148, " ".repeat(8));
  put(156, "0");
  put(257, "ustar\x0000");
  put(345, prefix);
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(148, `${octal(sum, 6)}\0 `);
  return header;
}

/** A long path is cut at a slash: what is before it goes into the header's prefix. */
function splitPath(path: string): { readonly prefix: string; readonly name: string } {
  const bytes = (text: string): number => utf8(text).length;
  if (bytes(path) <= NAME_BYTES_MAX) return { prefix: "", name: path };
  for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (bytes(name) > NAME_BYTES_MAX) break;
    if (bytes(prefix) <= PREFIX_BYTES_MAX) return { prefix, name };
  }
  throw new ExclaveError("bug", `a path is too long for an archive: ${path}`);
}
