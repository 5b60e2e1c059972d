// Compiles the GF(2^8) kernel from AssemblyScript to WebAssembly, when its sources are newer.
import { existsSync, readdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const entry = "assembly/kernel.ts";
const target = "src/erasure/kernel.wasm";

const modified = (path) => statSync(join(root, path)).mtimeMs;
// This script is a source too: it holds the flags.
const sources = ["scripts/build-kernel.js"];
for (const name of readdirSync(join(root, "assembly"))) {
  if (name.endsWith(".ts")) sources.push(`assembly/${name}`);
}

if (!existsSync(join(root, target)) || modified(target) < Math.max(...sources.map(modified))) {
  console.log(`exclave: compiling ${entry} …`);
  // Loaded only now: the compiler takes longer to load than everything else here to run.
  const { main } = await import("assemblyscript/asc");
  // Renamed into place, so that a process which starts meanwhile never reads half a kernel.
  const draft = `${target}.${process.pid}`;
  const features = ["simd", "relaxed-simd", "threads"].flatMap((name) => ["--enable", name]);
  // Shared, so that the main thread writes and reads shards where the workers' kernels have them.
  const memory = [
    "--importMemory",
    "--sharedMemory",
    "--initialMemory",
    "1",
    "--maximumMemory",
    "65536",
  ];
  const optimized = ["-O3", "--converge", "--noAssert", "--runtime", "stub"];
  const { error } = await main(
    [entry, "--baseDir", root, "--outFile", draft, ...memory, ...optimized, ...features],
    { stdout: process.stdout, stderr: process.stderr },
  );
  if (error) process.exit(1);
  renameSync(join(root, draft), join(root, target));
}
