/**
 * The packages that a program needs to run, found as Node finds them, and a place for each in a `node_modules` of the
 * program's own.
 */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { ExclaveError } from "../errors.ts";

export type InstalledPackage = {
  /** Where it is. */
  readonly from: string;
  /** Where it goes, below the program: "node_modules/a/node_modules/b". */
  readonly to: string;
};

type PackageJson = {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
};

/**
 * Every package that is needed at run time; of optional ones those that are installed. A package goes to the top or,
 * where another version of it is there already, below the one that needs it. Throws `usage` when one is not installed.
 */
export function installedPackages(root: string): readonly InstalledPackage[] {
  /** By where they go. */
  const placed = new Map<string, InstalledPackage>();
  const queue: InstalledPackage[] = [{ from: realpathSync(root), to: "" }];
  for (let needing = queue.shift(); needing; needing = queue.shift()) {
    for (const { name, isOptional } of needsOf(needing.from)) {
      const from = resolveFrom(needing.from, name);
      if (from === undefined) {
        if (isOptional) continue;
        throw new ExclaveError(
          "usage",
          `the program cannot be packed: its package ${name} is not installed. Install Exclave anew, or pack it where it is whole`,
        );
      }
      const seen = visibleFrom(placed, needing.to, name);
      if (seen?.from === from) continue;
      const to = join(seen ? needing.to : "", "node_modules", name);
      const found = { from, to };
      placed.set(to, found);
      queue.push(found);
    }
  }
  return [...placed.values()].toSorted((a, b) => (a.to < b.to ? -1 : 1));
}

function needsOf(
  folder: string,
): readonly { readonly name: string; readonly isOptional: boolean }[] {
  const text = readFileSync(join(folder, "package.json"), "utf8");
  const { dependencies = {}, optionalDependencies = {} } = JSON.parse(text) as PackageJson;
  return [...new Set([...Object.keys(dependencies), ...Object.keys(optionalDependencies)])]
    .toSorted()
    .map((name) => ({ name, isOptional: Object.hasOwn(optionalDependencies, name) }));
}

/** Looks in the `node_modules` of a folder, and of every one above it. */
function resolveFrom(folder: string, name: string): string | undefined {
  for (let at = folder; ; at = dirname(at)) {
    const candidate = join(at, "node_modules", name);
    if (existsSync(join(candidate, "package.json"))) return realpathSync(candidate);
    if (dirname(at) === at) return undefined;
  }
}

/** What a package will find under this name, from where it goes. */
function visibleFrom(
  placed: ReadonlyMap<string, InstalledPackage>,
  to: string,
  name: string,
): InstalledPackage | undefined {
  for (let at = to; ; at = at.slice(0, Math.max(0, at.lastIndexOf("/node_modules/")))) {
    const found = placed.get(join(at, "node_modules", name));
    if (found || at === "") return found;
  }
}
