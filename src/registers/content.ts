/** What the parts of a register hold, as far as a plan needs it: surveyed and sampled, or a stated size. */
import { CHUNK_BYTES, type Content } from "./estimate.ts";
import { type Survey, survey } from "./files/survey.ts";
import { type Sample, type SampleRoot, sampleContent } from "./sample.ts";

export type Looked = { readonly content: Content; readonly found: Survey; readonly sample: Sample };

/** Surveys the roots, then samples them. Throws `usage` for a root that cannot be read. */
export async function lookAtFiles(
  roots: readonly SampleRoot[],
  options: {
    readonly sampleBytesMax: number;
    readonly seed: string;
    readonly onProgress: (step: "survey" | "sample", bytes: number) => void;
  },
): Promise<Looked> {
  const found: Survey[] = [];
  for (const root of roots) {
    const onProgress = (_entries: number, bytes: number) => options.onProgress("survey", bytes);
    found.push(await survey(root.path, { ...root, onProgress }));
  }
  const all = together(found);
  const sample = await sampleContent(roots, {
    contentBytes: all.contentBytes,
    bytesMax: options.sampleBytesMax,
    seed: options.seed,
    onProgress: (bytes) => options.onProgress("sample", bytes),
  });
  return { content: contentFrom(sample), found: all, sample };
}

function together(surveys: readonly Survey[]): Survey {
  const sum = (field: keyof Survey): number =>
    surveys.reduce((total, one) => total + one[field], 0);
  return {
    files: sum("files"),
    directories: sum("directories"),
    symlinks: sum("symlinks"),
    specials: sum("specials"),
    sockets: sum("sockets"),
    bytes: sum("bytes"),
    contentBytes: sum("contentBytes"),
    diskBytes: sum("diskBytes"),
  };
}

/** All of it is taken to be like its sample; what nobody could read, not to compress. */
function contentFrom(sample: Sample): Content {
  const { entries, nameBytes, contentBytes, filledFiles, readBytes } = sample;
  const scale = readBytes === 0 ? 0 : contentBytes / readBytes;
  return {
    entries,
    nameBytes,
    contentBytes,
    chunks: readBytes === 0 ? chunksOf(contentBytes, filledFiles) : sample.chunks * scale,
    storedPerByte: readBytes === 0 ? 1 : sample.storedBytes / readBytes,
  };
}

/** A stream of that size, which is like the sample, or does not compress when there is none. */
export function contentOfStream(bytes: number, sample: Sample | undefined): Content {
  const like = sample && sample.readBytes > 0 ? contentFrom(sample) : undefined;
  return {
    entries: 1,
    nameBytes: 64,
    contentBytes: bytes,
    chunks: like ? (like.chunks * bytes) / like.contentBytes : chunksOf(bytes, 1),
    storedPerByte: like?.storedPerByte ?? 1,
  };
}

function chunksOf(bytes: number, files: number): number {
  return Math.max(files, bytes / CHUNK_BYTES);
}
