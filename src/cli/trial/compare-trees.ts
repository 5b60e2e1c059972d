/** Holds a restored tree against its original: content, kind, permissions, times, links, attributes. */
import { closeSync, constants, lstatSync, openSync, readSync, type Stats } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { displayName, fromText, toFsPath } from "../../platform/names.ts";
import type { Native } from "../../platform/native.ts";
import type { PathMatcher } from "../../registers/files/patterns.ts";
import { readLinkTarget, readXattrs } from "../../registers/files/read-metadata.ts";
import type { FileStat } from "../../registers/files/stat.ts";
import { type WalkItem, walk } from "../../registers/files/walk.ts";
import { compareEntryPaths } from "../../vault/entries.ts";

export type TreeComparison = {
  entries: number;
  files: number;
  bytes: number;
  /** Counted in full; the first hundred as sentences. */
  differenceCount: number;
  readonly differences: string[];
  /** Entries whose original has changed since it was protected, so that they prove nothing. */
  changedSince: number;
  readonly changedSinceExamples: string[];
  /** Entries that differ in metadata that `restore` said it could not set here. */
  metadataExcused: number;
};

export type CompareOptions = {
  readonly original: string;
  readonly restored: string;
  readonly native: Native | undefined;
  readonly excludes: PathMatcher;
  readonly oneFileSystem: boolean;
  /** When `protect` began: what changed later is told apart from what differs. */
  readonly protectedAtMs: number;
  /** Binary paths that `protect` left out or found changing. */
  readonly leftOut: ReadonlySet<string>;
  /** Binary paths of which `restore` said that metadata, or all of it, would not go here. */
  readonly excused: ReadonlySet<string>;
  readonly onProgress: (progress: { readonly files: number; readonly bytes: number }) => void;
};

const DIFFERENCES_KEPT_MAX = 100;
const EXAMPLES_KEPT_MAX = 10;
const BUFFER_BYTES = 1024 * 1024;
const ENTRIES_A_TURN = 64;
const BYTES_A_TURN = 32 * 1024 * 1024;
/** Kernels stamp changes with a clock that may lag the one we read by a tick. */
const CLOCK_LAG_MS = 20;
const GONE: ReadonlySet<string | undefined> = new Set(["ENOENT", "ENOTDIR", "ELOOP"]);

export async function compareTrees(options: CompareOptions): Promise<TreeComparison> {
  const run = new Comparison(options);
  await run.all();
  return run.result;
}

class Comparison {
  readonly result: TreeComparison = {
    entries: 0,
    files: 0,
    bytes: 0,
    differenceCount: 0,
    differences: [],
    changedSince: 0,
    changedSinceExamples: [],
    metadataExcused: 0,
  };
  readonly #options: CompareOptions;
  readonly #original: string;
  readonly #restored: string;
  readonly #ours = Buffer.alloc(BUFFER_BYTES);
  readonly #theirs = Buffer.alloc(BUFFER_BYTES);
  /** Restored inode of each original one with several names. */
  readonly #links = new Map<string, string>();
  /** Directories that are missing because they came later: what is in them came later too. */
  readonly #newDirectories: string[] = [];

  constructor(options: CompareOptions) {
    this.#options = options;
    this.#original = fromText(options.original);
    this.#restored = fromText(options.restored);
  }

  async all(): Promise<void> {
    const { native, excludes, oneFileSystem, onProgress } = this.#options;
    const onProblem = (): void => undefined;
    const ours = walk(this.#original, { native, excludes, oneFileSystem, onProblem });
    const theirs = walk(this.#restored, {
      native,
      excludes: () => false,
      oneFileSystem: false,
      onProblem: (path, _kind, error) =>
        this.#differs(path, `cannot be read where it was restored (${error.message})`),
    });
    let [mine, its] = [ours.next().value, theirs.next().value];
    let turnBytes = 0;
    for (let turn = 1; mine || its; turn++) {
      const order = !mine ? 1 : !its ? -1 : compareEntryPaths(mine.path, its.path);
      if (mine && order < 0) {
        this.#missing(mine);
        mine = ours.next().value;
      } else if (its && order > 0) {
        this.#extra(its);
        its = theirs.next().value;
      } else if (mine && its) {
        this.#pair(mine, its.stat);
        [mine, its] = [ours.next().value, theirs.next().value];
      }
      if (turn % ENTRIES_A_TURN === 0 || this.result.bytes - turnBytes > BYTES_A_TURN) {
        turnBytes = this.result.bytes;
        onProgress(this.result);
        await setImmediate();
      }
    }
  }

  #missing({ path, stat }: WalkItem): void {
    if (stat.kind === "socket" || this.#options.leftOut.has(path)) return;
    const inNew = this.#newDirectories.some((directory) => path.startsWith(`${directory}/`));
    if (inNew || this.#changed(stat)) {
      if (stat.kind === "directory" && !inNew) this.#newDirectories.push(path);
      this.#changedSince(path);
    } else this.#differs(path, "is missing");
  }

  #extra({ path }: WalkItem): void {
    // Deleted since it was protected, or never there? The nearest directory above tells.
    let parent = parentOf(path);
    let stat = this.#statOriginal(parent);
    while (!stat && parent !== "") {
      parent = parentOf(parent);
      stat = this.#statOriginal(parent);
    }
    if (stat && stat.ctimeMs >= this.#since()) this.#changedSince(path);
    else this.#differs(path, "is not in the original");
  }

  #statOriginal(path: string): Stats | undefined {
    return lstatSync(toFsPath(within(this.#original, path)), { throwIfNoEntry: false });
  }

  #pair({ path, stat: mine }: WalkItem, its: FileStat): void {
    this.result.entries++;
    if (mine.kind === "file") this.result.files++;
    if (this.#options.leftOut.has(path)) return;
    try {
      const content = this.#contentProblem(path, mine, its);
      const problem = content ?? this.#metadataProblem(path, mine, its);
      if (problem === undefined) return;
      if (this.#changed(mine)) this.#changedSince(path);
      else if (content === undefined && this.#options.excused.has(path)) {
        this.result.metadataExcused++;
      } else this.#differs(path, problem);
    } catch (error) {
      // Nobody touches the restored copy: what goes away while it is compared is an original.
      if (!GONE.has((error as NodeJS.ErrnoException).code)) throw error;
      this.#changedSince(path);
    }
  }

  #contentProblem(path: string, mine: FileStat, its: FileStat): string | undefined {
    if (mine.kind !== its.kind) return `was a ${mine.kind} and is a ${its.kind}`;
    if (mine.kind === "symlink") {
      const [target, restored] = [this.#original, this.#restored].map((root) =>
        readLinkTarget(within(root, path)),
      );
      return target === restored ? undefined : "points elsewhere";
    }
    if (mine.kind !== "file") return undefined;
    if (mine.size !== its.size) return `had ${mine.size} bytes and has ${its.size}`;
    return this.#compareContent(path);
  }

  #compareContent(path: string): string | undefined {
    const { O_RDONLY, O_NOFOLLOW } = constants;
    const ours = openSync(toFsPath(within(this.#original, path)), O_RDONLY | O_NOFOLLOW);
    try {
      const theirs = openSync(toFsPath(within(this.#restored, path)), O_RDONLY | O_NOFOLLOW);
      try {
        for (let at = 0; ; ) {
          const got = fill(ours, this.#ours, at);
          const other = fill(theirs, this.#theirs, at);
          if (got !== other || this.#ours.compare(this.#theirs, 0, other, 0, got) !== 0) {
            return `differs after byte ${at}`;
          }
          at += got;
          this.result.bytes += got;
          if (got < BUFFER_BYTES) return undefined;
        }
      } finally {
        closeSync(theirs);
      }
    } finally {
      closeSync(ours);
    }
  }

  #metadataProblem(path: string, mine: FileStat, its: FileStat): string | undefined {
    const { native } = this.#options;
    if (mine.kind !== "symlink" && mine.mode !== its.mode) {
      return `had the permissions ${mine.mode.toString(8)} and has ${its.mode.toString(8)}`;
    }
    if (!sameTime(mine, its, native !== undefined)) return "has another modification time";
    // Only root may give files away; for others the owners are in the recovery point all the same.
    if (process.getuid?.() === 0 && (mine.uid !== its.uid || mine.gid !== its.gid)) {
      return `belonged to ${mine.uid}:${mine.gid} and belongs to ${its.uid}:${its.gid}`;
    }
    if (mine.rdevMajor !== its.rdevMajor || mine.rdevMinor !== its.rdevMinor) {
      return "is another device";
    }
    if (mine.kind === "file" && mine.nlink > 1 && !this.#sameLink(mine, its)) {
      return "is not the same file as its other names";
    }
    return this.#xattrProblem(path);
  }

  /** Names of one file must again be names of one file. */
  #sameLink(mine: FileStat, its: FileStat): boolean {
    const [from, to] = [`${mine.dev}:${mine.ino}`, `${its.dev}:${its.ino}`];
    const known = this.#links.get(from);
    if (known === undefined) this.#links.set(from, to);
    return known === undefined || known === to;
  }

  #xattrProblem(path: string): string | undefined {
    const { native } = this.#options;
    if (!native) return undefined;
    const theirs = new Map(
      readXattrs(within(this.#restored, path), native).map(({ name, value }) => [name, value]),
    );
    for (const { name, value } of readXattrs(within(this.#original, path), native)) {
      const restored = theirs.get(name);
      if (!restored || Buffer.compare(value, restored) !== 0) {
        return `lacks the extended attribute ${displayName(name)}`;
      }
    }
    return undefined;
  }

  #since(): number {
    return this.#options.protectedAtMs - CLOCK_LAG_MS;
  }

  #changed(stat: FileStat): boolean {
    return stat.ctimeSec * 1000 + stat.ctimeNsec / 1e6 >= this.#since();
  }

  #changedSince(path: string): void {
    this.result.changedSince++;
    const examples = this.result.changedSinceExamples;
    if (examples.length < EXAMPLES_KEPT_MAX) examples.push(shown(path));
  }

  #differs(path: string, why: string): void {
    this.result.differenceCount++;
    const { differences } = this.result;
    if (differences.length < DIFFERENCES_KEPT_MAX) differences.push(`${shown(path)} ${why}`);
  }
}

function within(root: string, path: string): string {
  return path === "" ? root : `${root}/${path}`;
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function shown(path: string): string {
  return displayName(path) || "the directory itself";
}

function fill(file: number, buffer: Buffer, offset: number): number {
  let filled = 0;
  while (filled < buffer.length) {
    const read = readSync(file, buffer, filled, buffer.length - filled, offset + filled);
    if (read === 0) break;
    filled += read;
  }
  return filled;
}

/** Without the native library times are set to a microsecond, give or take one. */
function sameTime(a: FileStat, b: FileStat, toTheNanosecond: boolean): boolean {
  if (toTheNanosecond) return a.mtimeSec === b.mtimeSec && a.mtimeNsec === b.mtimeNsec;
  return Math.abs((a.mtimeSec - b.mtimeSec) * 1e9 + a.mtimeNsec - b.mtimeNsec) <= 2000;
}
