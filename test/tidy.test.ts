/** The house rules that a machine can hold, so that reviewers can read for what matters. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "..");

/** The house, top to bottom. A file of src/ imports from its own folder and from lower rows only. */
const layers = [
  ["cli"],
  ["home-daemon", "site-daemon"],
  ["checks", "continuity", "law"],
  ["registers"],
  ["governance"],
  ["vault"],
  ["charter", "custody", "ledger"],
  ["sites"],
  ["crypto", "erasure"],
  ["platform"],
  ["errors.ts"],
];

/**
 * What the code of src/ never says, comments and strings aside, and why. Not listed, because others
 * hold it: enums and parameter properties (tsc, and Node, which cannot strip them); `any`, `!` and
 * default exports (Biome).
 */
const banned: readonly { what: RegExp; why: string; except?: RegExp }[] = [
  { what: /\bMath\.random\b/, why: "is neither secret nor replayable" },
  { what: /\bconsole\.\w+/, why: "is for the cli", except: /^src\/cli\// },
  { what: /\bprocess\.exit\s*\(/, why: "cuts off output and skips cleaning up" },
  {
    what: /\bas\s+unknown\s+as\b/,
    why: "is `any` in other words",
    // What comes out of WebAssembly and of foreign functions has no type to start from.
    except: /^src\/(erasure\/kernel\.ts|platform\/)/,
  },
];

const isTest = (path: string): boolean => path.endsWith(".test.ts");
const read = (path: string): string => readFileSync(join(root, path), "utf8");

/** Every file of the repository, as a path from its root, without what is installed or built. */
const files: readonly string[] = readdirSync(root, { withFileTypes: true })
  .filter(({ name }) => ![".git", "node_modules", "dist", ".bench"].includes(name))
  .flatMap((entry) =>
    entry.isDirectory()
      ? readdirSync(join(root, entry.name), { recursive: true, withFileTypes: true })
      : [entry],
  )
  .filter((entry) => entry.isFile() && !/\.(wasm|tgz)$/.test(entry.name))
  .map((entry) => relative(root, join(entry.parentPath, entry.name)));
const code = files.filter((path) => /\.(ts|js)$/.test(path) || path === "bin/exclave");
const sources = files.filter((path) => /^src\/.*\.ts$/.test(path));

/** Blanks comments, and strings too where asked, so that only what runs is searched. */
function withoutComments(text: string, andStrings: boolean): string {
  const token =
    /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|\/\/.*|\/\*[\s\S]*?\*\//g;
  return text.replace(token, (found) => (andStrings || found.startsWith("/") ? '""' : found));
}

/** The paths from the root that a file imports relatively, type-only imports included. */
function importsOf(path: string): string[] {
  const specifier = /(?:\bfrom|\bimport)\s*\(?\s*"(\.[^"]*)"/g;
  return [...withoutComments(read(path), false).matchAll(specifier)].map(([, to]) =>
    join(dirname(path), to!),
  );
}

/** The row of the table that a file of src/ belongs to, and its folder. */
function place(path: string): { folder: string; row: number } {
  const folder = path.split("/")[1]!;
  return { folder, row: layers.findIndex((names) => names.includes(folder)) };
}

test("every file of src/ has its place in the house", () => {
  assert.ok(sources.length > 0);
  assert.deepEqual(
    sources.filter((path) => place(path).row < 0),
    [],
  );
});

test("imports point downwards only", () => {
  const upward = sources
    .filter((path) => !isTest(path))
    .flatMap((path) => importsOf(path).map((to) => ({ path, to })))
    .filter(({ path, to }) => {
      if (!to.startsWith("src/")) return true;
      const [above, below] = [place(path), place(to)];
      return above.folder !== below.folder && above.row >= below.row;
    })
    .map(({ path, to }) => `${path} imports ${to}`);
  assert.deepEqual(upward, []);
});

test("src/ avoids what the house has banned", () => {
  const found = sources
    .filter((path) => !isTest(path))
    .flatMap((path) => {
      const text = withoutComments(read(path), true);
      return banned
        .filter(({ what, except }) => what.test(text) && !except?.test(path))
        .map(({ what, why }) => `${path}: ${what.exec(text)?.[0].trim()} ${why}`);
    });
  assert.deepEqual(found, []);
});

test("nothing is left for later in a comment", () => {
  const left = code.filter((path) => /\b(TO[D]O|FIX[M]E|X[X]X)\b/.test(read(path)));
  assert.deepEqual(left, []);
});

test("no line of code is longer than 120 characters, what it says to people aside", () => {
  const spoken = /"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`/g;
  const long = code.flatMap((path) =>
    read(path)
      .split("\n")
      .flatMap((line, index) =>
        line.replace(spoken, '""').length > 120 ? [`${path}:${index + 1}`] : [],
      ),
  );
  assert.deepEqual(long, []);
});

test("every dependency has an exact version and a written reason", () => {
  const {
    dependencies = {},
    optionalDependencies = {},
    devDependencies = {},
  }: Record<string, Record<string, string>> = JSON.parse(read("package.json"));
  const decisions = files.filter((path) => /^docs\/decisions\/.*\.md$/.test(path)).map(read);
  const careless = Object.entries({ ...dependencies, ...optionalDependencies, ...devDependencies })
    .filter(
      ([name, version]) =>
        !/^\d+\.\d+\.\d+$/.test(version) || !decisions.some((page) => page.includes(`\`${name}\``)),
    )
    .map(([name]) => name);
  assert.deepEqual(careless, []);
});

test("npm ci finds every package in the lock, and a hash for all that is installed here", () => {
  type Locked = { integrity?: string; optionalDependencies?: Record<string, string> };
  const { packages }: { packages: Record<string, Locked> } = JSON.parse(read("package-lock.json"));
  const names = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) => !packages[`node_modules/${name}`] && !packages[`${path}/node_modules/${name}`],
    ),
  );
  assert.deepEqual(names, [], "see docs/decisions/0001-dependencies.md on platforms in the lock");

  const unverified = Object.entries(packages)
    .filter(([path, { integrity }]) => path !== "" && !integrity && existsSync(join(root, path)))
    .map(([path]) => path);
  assert.deepEqual(unverified, []);
});

test("nothing in the repository names a path of the machine it was written on", () => {
  const machine = /(?<![\w.~/-])\/(work\/|tmp\/[p]robe)/;
  assert.deepEqual(
    files.filter((path) => machine.test(read(path))),
    [],
  );
});
