// Makes a checkout ready to run: installs what package-lock.json names, builds the kernel. Silent
// when there is nothing to do. It is run by whatever Node the machine has, so it keeps to Node 20.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const node = join(root, "node_modules/node/bin/node");
const stamp = join(root, "node_modules/.exclave-lock");

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (error) console.error(`exclave: cannot run ${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

const lock = createHash("sha256")
  .update(readFileSync(join(root, "package-lock.json")))
  .digest("hex");
const installed = existsSync(stamp) && existsSync(node) ? readFileSync(stamp, "utf8") : undefined;

if (installed !== lock) {
  console.log("exclave: installing the packages that package-lock.json names …");
  // The npm that called us, on its own Node: the `node` on PATH may be the one being replaced.
  const { npm_execpath: npm, npm_node_execpath: npmNode } = process.env;
  const [command, ...first] = npm && npmNode ? [npmNode, npm] : ["npm"];
  // Only errors are shown: on an older system Node, npm warns of engines that we bring ourselves.
  run(command, [...first, "ci", "--no-audit", "--no-fund", "--loglevel=error"]);
  writeFileSync(stamp, lock);
}

run(node, [join(root, "scripts/build-kernel.js")]);
