/**
 * The program as one file: the release with every package that it needs and the pages that say what its bytes mean, so
 * that a bare machine can recover a State without a network. Sites hand it out (`GET /v1/program`), and its SHA-256 is
 * printed on kits.
 */
import { type Dirent, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError } from "../errors.ts";
import { writeFileIn } from "./folder.ts";
import { installedPackages } from "./installed-packages.ts";
import { nameProgram } from "./settings.ts";
import { type TarFile, tarOf } from "./tar.ts";

export const PROGRAM_ROOT = resolve(import.meta.dirname, "../..");
/** What belongs to the program, beside `dist` and its packages. */
const OWN = [
  "bin",
  "docs/format.md",
  "docs/site-protocol.md",
  "CHANGELOG.md",
  "LICENSE",
  "README.md",
  "package.json",
];
/** Of packages: what no machine runs. */
const NOT_RUN = /\.(?:map|d\.[cm]?ts|tsbuildinfo)$|(?:^|\/)(?:\.bin|\.cache|\.package-lock\.json)$/;
/** In the header of gzip: which system made it. 255 is none in particular (RFC 1952). */
const GZIP_SYSTEM_AT = 9;
const GZIP_SYSTEM_UNKNOWN = 255;

export type PackedProgram = {
  readonly version: string;
  /** A gzipped tar; all of it is below "exclave-VERSION/". */
  readonly bytes: Uint8Array;
  /** Lower-case hex. */
  readonly sha256: string;
};

/**
 * Packs the program that runs. The bytes follow from what is packed: the same release, installed on the same kind of
 * machine and packed by the same Node, gives the same bytes. Where a native package is installed, it is packed for this
 * kind of machine; on others the program runs without it.
 *
 * @param dist the compiled program; a checkout has it after `npm run build`
 * @throws ExclaveError `usage` when there is none, or it is older than its sources
 */
export function packProgram({
  root = PROGRAM_ROOT,
  dist = join(root, "dist"),
}: {
  readonly root?: string;
  readonly dist?: string;
} = {}): PackedProgram {
  requireFresh(root, dist);
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    version: string;
  };
  const own = [
    ...OWN.filter((path) => existsSync(join(root, path))).map((path) => [join(root, path), path]),
    [dist, "dist"],
  ];
  const packages = installedPackages(root).flatMap(({ from, to }) =>
    filesIn(from, to, (path) => !path.startsWith(`${to}/node_modules`)),
  );
  const files = [...own.flatMap(([from = "", to = ""]) => filesIn(from, to)), ...packages];
  const tar = tarOf(files.map((file) => ({ ...file, path: `exclave-${version}/${file.path}` })));
  const bytes = gzipSync(tar, { level: 9 });
  bytes[GZIP_SYSTEM_AT] = GZIP_SYSTEM_UNKNOWN;
  return { version, bytes, sha256: toHex(sha256(bytes)) };
}

/**
 * Packs the program into a site's folder and has the site hand it out; in the place of an older one. Throws as
 * `packProgram` does.
 */
export async function holdProgram(folder: string): Promise<PackedProgram> {
  const program = packProgram();
  // Its own name for each: what is being handed out while the site runs stays whole.
  const file = `exclave-${program.version}-${program.sha256.slice(0, 16)}.tgz`;
  await writeFileIn(join(folder, file), program.bytes);
  await nameProgram(folder, file);
  return program;
}

/** Throws `usage` unless the compiled program is there and, in a checkout, no older than its sources. */
function requireFresh(root: string, dist: string): void {
  const compiled = join(dist, "cli/main.js");
  const sources = join(root, "src");
  if (!existsSync(compiled)) throw notBuilt("there is no compiled program");
  if (!existsSync(sources)) return;
  const built = statSync(compiled).mtimeMs;
  const newer = entriesBelow(sources).find(
    (entry) => entry.isFile() && !entry.name.endsWith(".test.ts") && changedAt(entry) > built,
  );
  if (newer) throw notBuilt("the compiled program is older than its sources");
}

const changedAt = (entry: Dirent): number => statSync(join(entry.parentPath, entry.name)).mtimeMs;

function notBuilt(what: string): ExclaveError {
  return new ExclaveError("usage", `${what}. Nothing was packed; run \`npm run build\` first`);
}

function entriesBelow(folder: string): readonly Dirent[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true });
}

/** A file, or all that are in a folder and run, as they go into the archive. */
function filesIn(
  from: string,
  to: string,
  wanted: (path: string) => boolean = () => true,
): readonly TarFile[] {
  if (statSync(from).isFile()) return [fileOf(from, to)];
  return entriesBelow(from)
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path, inside: join(to, path.slice(from.length + 1)) }))
    .filter(({ inside }) => !NOT_RUN.test(inside) && wanted(inside))
    .map(({ path, inside }) => fileOf(path, inside));
}

function fileOf(from: string, to: string): TarFile {
  const isExecutable = (statSync(from).mode & 0o100) !== 0;
  return { path: to, bytes: readFileSync(from), isExecutable };
}
