/**
 * What the measurements protect: invented registers, the same bytes for the same seed and scale.
 *
 *   registers/CIVIL-STATUS/district-01.csv   CSV, 600 MB: zstd makes about a quarter of it
 *   scans/0001/scan-00001.jpg                500 MB, each 100 KB to 3 MB: cannot be compressed
 *   documents/DISTRICT/YEAR/MONTH/…          60,000 files of 1 to 20 KB in 600 directories, 450 MB
 *
 * Scale multiplies the number of files, never their size. A corpus is kept beside the others under
 * its generator version, scale and seed, and made only once.
 */
import { createHash, type Hash } from "node:crypto";
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { makeDocument } from "./corpora/documents.ts";
import { REGISTERS, type Register } from "./corpora/registers.ts";
import { Random } from "./random.ts";

/** To be raised whenever a generator changes what it writes. */
const GENERATOR_VERSION = 1;

const DISTRICTS = 10;
const CSV_FILE_BYTES = 15_000_000;
const SCANS = 590;
const SCAN_BYTES_MIN = 100_000;
const SCAN_BYTES_MAX = 3_000_000;
const SCANS_A_DIRECTORY = 100;
const DOCUMENTS = 60_000;
const DOCUMENTS_A_DIRECTORY = 100;
const WRITE_BYTES = 1 << 20;
/** Modification times lie in the past, as those of real records do. */
const NEWEST_UNIX_SECONDS = 1_750_000_000;

export type Corpus = {
  readonly path: string;
  readonly scale: number;
  readonly seed: number;
  readonly version: number;
  readonly files: number;
  readonly bytes: number;
  /** SHA-256 over every path and content in the order of making, in hex. */
  readonly digest: string;
};

/** Makes the corpus under `directory`, or finds it there. Memory stays within a few MB. */
export function provideCorpus(directory: string, scale: number, seed: number): Corpus {
  const path = join(directory, `corpus-v${GENERATOR_VERSION}-scale${scale}-seed${seed}`);
  const manifest = `${path}.json`;
  try {
    return { ...JSON.parse(readFileSync(manifest, "utf8")), path };
  } catch {
    // Not made yet, or not to its end: the manifest is written last.
  }
  rmSync(path, { recursive: true, force: true });
  rmSync(`${path}.part`, { recursive: true, force: true });
  const writer = new CorpusWriter(`${path}.part`, seed);
  writeRegisters(writer, scale);
  writeScans(writer, scale);
  writeDocuments(writer, scale);
  renameSync(`${path}.part`, path);
  const corpus: Corpus = { path, scale, seed, version: GENERATOR_VERSION, ...writer.finish() };
  writeFileSync(manifest, `${JSON.stringify(corpus)}\n`);
  return corpus;
}

function writeRegisters(writer: CorpusWriter, scale: number): void {
  // Small scales take fewer rows rather than fewer files, so that every register is there.
  const districts = Math.max(1, Math.round(DISTRICTS * scale));
  const bytesMax = Math.round(CSV_FILE_BYTES * Math.min(1, (DISTRICTS * scale) / districts));
  for (const register of REGISTERS) {
    for (let district = 1; district <= districts; district++) {
      const name = `registers/${register.name}/district-${String(district).padStart(2, "0")}.csv`;
      writer.write(name, (random) => rowBlocks(register, district, bytesMax, random));
    }
  }
}

function* rowBlocks(register: Register, district: number, bytesMax: number, random: Random) {
  let block = register.header;
  let bytes = 0;
  for (let row = 0; bytes < bytesMax; row++) {
    block += register.row(random, row, district);
    if (block.length < WRITE_BYTES) continue;
    const encoded = Buffer.from(block);
    bytes += encoded.length;
    block = "";
    yield encoded.subarray(0, encoded.length - Math.max(0, bytes - bytesMax));
  }
}

function writeScans(writer: CorpusWriter, scale: number): void {
  // The first bytes of a JFIF file, so that tools which look at them see what they would see.
  const jfif = Buffer.from("ffd8ffe000104a46494600010101012c012c0000", "hex");
  for (let scan = 0; scan < Math.round(SCANS * scale); scan++) {
    const folder = String(1 + Math.floor(scan / SCANS_A_DIRECTORY)).padStart(4, "0");
    writer.write(`scans/${folder}/scan-${String(scan).padStart(5, "0")}.jpg`, function* (random) {
      const bytes = new Uint8Array(
        Math.round(SCAN_BYTES_MIN * (SCAN_BYTES_MAX / SCAN_BYTES_MIN) ** random.unit()),
      );
      random.fill(bytes);
      bytes.set(jfif);
      yield bytes;
    });
  }
}

function writeDocuments(writer: CorpusWriter, scale: number): void {
  for (let number = 0; number < Math.round(DOCUMENTS * scale); number++) {
    const folder = Math.floor(number / DOCUMENTS_A_DIRECTORY);
    const month = String(1 + (Math.floor(folder / 10) % 12)).padStart(2, "0");
    const directory = `documents/district-${folder % 10}/${2010 + Math.floor(folder / 120)}/${month}`;
    const random = writer.randomOf(`document ${number}`);
    const { extension, text } = makeDocument(random, number);
    writer.write(`${directory}/${String(number).padStart(7, "0")}.${extension}`, () => [
      Buffer.from(text),
    ]);
  }
}

class CorpusWriter {
  readonly #root: string;
  readonly #seed: number;
  readonly #digest: Hash = createHash("sha256");
  readonly #made = new Set<string>();
  #files = 0;
  #bytes = 0;

  constructor(root: string, seed: number) {
    this.#root = root;
    this.#seed = seed;
  }

  randomOf(name: string): Random {
    return new Random(this.#seed, name);
  }

  /** Writes one file block by block, from the random numbers of its name. */
  write(name: string, blocks: (random: Random) => Iterable<Uint8Array>): void {
    const path = join(this.#root, name);
    const directory = dirname(path);
    if (!this.#made.has(directory)) mkdirSync(directory, { recursive: true });
    this.#made.add(directory);
    const random = this.randomOf(name);
    this.#digest.update(`${name}\0`);
    const file = openSync(path, "wx");
    try {
      for (const block of blocks(random)) {
        for (let at = 0; at < block.length; ) at += writeSync(file, block, at);
        this.#digest.update(block);
        this.#bytes += block.length;
      }
    } finally {
      closeSync(file);
    }
    const modified = NEWEST_UNIX_SECONDS - random.below(200_000_000);
    utimesSync(path, modified, modified);
    this.#files++;
  }

  finish(): Pick<Corpus, "files" | "bytes" | "digest"> {
    return { files: this.#files, bytes: this.#bytes, digest: this.#digest.digest("hex") };
  }
}
