/** Protects a part of kind `stream`: what a program writes, as one file. */
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { rm } from "node:fs/promises";
import { fromText } from "../platform/names.ts";
import type { PartConfig } from "../vault/home.ts";
import type { EntrySink } from "./entry-sink.ts";
import type { PartProgress } from "./files/protect-files.ts";
import type { SealResult } from "./protect-messages.ts";
import type { SealSession } from "./seal-session.ts";

const PUSH_BYTES = 1024 * 1024;

export type ProtectStreamOptions = {
  readonly session: SealSession;
  readonly sink: EntrySink;
  readonly part: PartConfig;
  readonly input: AsyncIterable<Uint8Array>;
  readonly now: Date;
  /** Where to keep the content records until the length is known. */
  readonly scratchFile: string;
  readonly onProgress: (progress: PartProgress) => void;
};

/**
 * Reads the input to its end. The stream goes through one worker, so that its chunks are cut where
 * its content says, wherever reads end. Its entry carries its length and comes before its content;
 * so the content records wait in a scratch file.
 */
export async function protectStream(options: ProtectStreamOptions): Promise<PartProgress> {
  const { session, sink, input, part, now, scratchFile } = options;
  const progress: PartProgress = { files: 0, bytes: 0, unchangedFiles: 0, unchangedBytes: 0 };
  const scratch = openSync(scratchFile, "w+", 0o600);
  try {
    // Not the worker that has the entries, where there is another.
    const worker = session.workers - 1;
    let pushed: Promise<SealResult> | undefined;
    const keep = async (): Promise<void> => {
      const result = await pushed;
      if (result?.type !== "chunks") return;
      for (const record of result.content) writeRecord(scratch, record);
    };
    const push = async (bytes: Uint8Array<ArrayBuffer>, end: boolean): Promise<void> => {
      await keep();
      const task = { type: "push", stream: "content", kind: "data", bytes, end } as const;
      // Read now: what is transferred is empty here afterwards.
      const { length } = bytes;
      ({ done: pushed } = await session.submit(task, { worker, transfer: [bytes.buffer] }));
      progress.bytes += length;
      options.onProgress(progress);
    };
    for await (const block of gathered(input)) await push(block, false);
    await push(new Uint8Array(), true);
    await keep();

    progress.files = 1;
    const seconds = Math.floor(now.getTime() / 1000);
    sink.entry({
      path: fromText(part.name),
      kind: "file",
      mode: 0o600,
      uid: process.getuid?.() ?? 0,
      gid: process.getgid?.() ?? 0,
      userName: "",
      groupName: "",
      mtimeSec: seconds,
      mtimeNsec: (now.getTime() - seconds * 1000) * 1e6,
      ctimeSec: 0,
      ctimeNsec: 0,
      ino: 0n,
      dev: 0,
      size: progress.bytes,
      linkTarget: "",
      rdevMajor: 0,
      rdevMinor: 0,
      xattrs: [],
    });
    for (const record of readRecords(scratch)) {
      sink.content(record);
      await sink.makeRoom();
    }
    options.onProgress(progress);
    return progress;
  } finally {
    closeSync(scratch);
    await rm(scratchFile, { force: true });
  }
}

/** The input in blocks of `PUSH_BYTES`: pipes deliver less at a time. */
async function* gathered(
  input: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let block = new Uint8Array(PUSH_BYTES);
  let used = 0;
  for await (const part of input) {
    for (let at = 0; at < part.length; ) {
      const taken = part.subarray(at, at + PUSH_BYTES - used);
      block.set(taken, used);
      used += taken.length;
      at += taken.length;
      if (used === PUSH_BYTES) {
        yield block;
        block = new Uint8Array(PUSH_BYTES);
        used = 0;
      }
    }
  }
  if (used > 0) yield block.slice(0, used);
}

function writeRecord(fd: number, record: Uint8Array): void {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(record.length);
  for (const bytes of [length, record]) {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  }
}

function* readRecords(fd: number): Generator<Uint8Array> {
  const length = Buffer.alloc(4);
  for (let at = 0; readSync(fd, length, 0, 4, at) === 4; ) {
    const record = new Uint8Array(length.readUInt32LE());
    for (let got = 0; got < record.length; ) {
      got += readSync(fd, record, got, record.length - got, at + 4 + got);
    }
    at += 4 + record.length;
    yield record;
  }
}
