// Makes dist/, what npm publishes: the sources as plain JavaScript, and the kernel.
import { execFileSync } from "node:child_process";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import "./build-kernel.js";

const root = join(import.meta.dirname, "..");

rmSync(join(root, "dist"), { recursive: true, force: true });
const tsc = join(root, "node_modules/.bin/tsc");
// What tsc has to say goes to stderr, where a caller that keeps only the result still sees it.
execFileSync(tsc, ["-p", "tsconfig.build.json"], { cwd: root, stdio: ["ignore", 2, 2] });
copyFileSync(join(root, "src/erasure/kernel.wasm"), join(root, "dist/erasure/kernel.wasm"));
