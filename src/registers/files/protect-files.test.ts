import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../../test/support/places.ts";
import { loadNative, type Native } from "../../platform/native.ts";
import { type Entry, EntryDecoder, EntryEncoder } from "../../vault/entries.ts";
import type { Sealer } from "../../vault/sealer.ts";
import type { EntrySink } from "../entry-sink.ts";
import type { SealResult, SealTask } from "../protect-messages.ts";
import type { SealSession } from "../seal-session.ts";
import { type Problem, protectFiles } from "./protect-files.ts";
import { FileSealer } from "./seal-files.ts";

/** What runs of `protectFiles` need, without threads and sites: tasks are done when `work` says so. */
async function entriesOf(
  folder: string,
  native: Native | undefined,
  work: (task: SealTask, files: FileSealer) => SealResult,
): Promise<{ readonly entries: readonly Entry[]; readonly problems: readonly Problem[] }> {
  const sealer: Pick<Sealer, "seal"> = {
    seal(_kind, source, onChunk) {
      const into = new Uint8Array(100_000);
      for (let got = source(into); got > 0; got = source(into)) {
        onChunk(new Uint8Array(32), got, undefined);
      }
    },
  };
  const files = new FileSealer(sealer as Sealer, native);
  const encoder = new EntryEncoder();
  const sink: Pick<EntrySink, "entry" | "content" | "excerpt" | "isFull" | "makeRoom"> = {
    entry: (entry) => encoder.entry(entry),
    content: (items) => encoder.content(items),
    excerpt: (excerpt) => encoder.excerpt(excerpt),
    isFull: false,
    makeRoom: async () => undefined,
  };
  const session: Pick<SealSession, "submit"> = {
    submit: async (task) => ({ done: Promise.resolve(work(task, files)) }),
  };
  const problems: Problem[] = [];
  await protectFiles({
    session: session as SealSession,
    sink: sink as EntrySink,
    part: { name: "p", kind: "files", path: folder, excludes: [], oneFileSystem: false },
    native,
    onProblem: (problem) => problems.push(problem),
    onProgress: () => undefined,
  });
  const entries: Entry[] = [];
  for (const record of new EntryDecoder().push(encoder.out.view())) {
    if (record.type === "entry") entries.push(record.entry);
  }
  return { entries, problems };
}

const done = (task: SealTask, files: FileSealer): SealResult => {
  if (task.type === "entries") return files.entries(task);
  if (task.type === "stretch") return files.stretch(task);
  return assert.fail("no other task is given");
};

test("a directory whose attributes cannot be read is kept, with all in it, and named", async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, "bad"));
  writeFileSync(join(folder, "bad", "inside"), "kept");
  const native = loadNative();
  const failing: Native | undefined = native && {
    ...native,
    listXattrs(path) {
      if (!path.endsWith("/bad")) return native.listXattrs(path);
      throw Object.assign(new Error("EIO: llistxattr"), { code: "EIO" });
    },
  };
  const { entries, problems } = await entriesOf(folder, failing, done);
  assert.deepEqual(
    entries.map(({ path }) => path),
    ["", "bad", "bad/inside"],
  );
  if (native) assert.deepEqual(problems, [{ path: "bad", kind: "unreadable", why: "EIO" }]);
});

test("a directory that is gone when a worker comes to it leaves no entry without a directory", async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, "gone"));
  // More than one batch, and what the second worker reads is read before the first one begins.
  for (let i = 0; i < 400; i++) {
    writeFileSync(join(folder, "gone", `file-${String(i).padStart(3, "0")}`), "x");
  }
  const held: { task: SealTask; resolve: (result: SealResult) => void }[] = [];
  let later: SealResult | undefined;
  const { entries, problems } = await entriesOf(folder, loadNative(), (task, files) => {
    if (held.length === 0 && later === undefined) {
      // The first batch waits for the second one, and then for the directory's end.
      const waiting = { type: "entries" } as SealResult;
      held.push({ task, resolve: (result) => Object.assign(waiting, result) });
      return waiting;
    }
    later = done(task, files);
    rmSync(join(folder, "gone"), { recursive: true });
    for (const { task, resolve } of held) resolve(done(task, files));
    return later;
  });
  assert.ok(later, "there was a second batch");
  const paths = entries.map(({ path }) => path);
  assert.ok(paths.includes("gone") && paths.includes("gone/file-399"));
  assert.ok(!paths.includes("gone/file-000"));
  assert.ok(problems.length > 0 && problems.every(({ kind }) => kind === "vanished"));
});
