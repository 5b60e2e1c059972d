// `npm test`: every test; `npm test -- src/vault test/tidy.test.ts`: those under the named paths.
// Options (`--test-name-pattern=…`) go through to `node --test`.
import { spawnSync } from "node:child_process";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const args = process.argv.slice(2);
const options = args.filter((arg) => arg.startsWith("-"));
const paths = args.filter((arg) => !arg.startsWith("-"));
const minutes = process.env.SLOW ? 60 : 10;

const { status } = spawnSync(
  join(root, "node_modules/node/bin/node"),
  [
    "--disable-warning=ExperimentalWarning",
    "--test",
    "--test-reporter=spec",
    "--test-concurrency=2",
    `--test-timeout=${minutes * 60_000}`,
    ...options,
    ...(paths.length > 0 ? paths : ["src", "test", "bench"]).map((path) =>
      path.endsWith(".ts") ? path : `${path.replace(/\/$/, "")}/**/*.test.ts`,
    ),
  ],
  { cwd: root, stdio: "inherit" },
);
process.exitCode = status ?? 1;
