import picomatch from "picomatch";
import { ExclaveError } from "../../errors.ts";
import { fromText } from "../../platform/names.ts";

/**
 * Path patterns, after .gitignore, for what to exclude and what to restore:
 *
 * - a pattern without "/" matches a name at any depth (`*.tmp`, `node_modules`);
 * - one with "/" at its start or inside counts from the register's root (`/tmp`, `logs/*.gz`);
 * - one that ends in "/" matches directories only;
 * - `*` and `?` stay within one name, `**` crosses names, `[a-z]` is one of, `[!a-z]` none of, `{a,b}` is either,
 *   a backslash takes the next character as it is; all others stand for themselves;
 * - names that begin with a dot are names like any other; case counts;
 * - a pattern that matches a directory takes all that is in it, and `logs/**` only what is in it.
 *
 * A pattern is UTF-8 text and is compared byte by byte, so `?` and `[...]` stand for one *byte*; a
 * letter beyond ASCII is more than one. Negation (`!`) is refused: a list of exclusions whose order
 * matters is misread by those who have to sign it.
 */
export type PathMatcher = (relativePath: string, isDirectory: boolean) => boolean;

/**
 * True for an entry that a pattern names. For the subtree of a directory it need not be asked, and
 * does not answer: whoever walks does not enter an excluded directory. Throws ExclaveError `usage`.
 */
export function compileExcludes(patterns: readonly string[]): PathMatcher {
  const matchers = compile(patterns);
  return (path, isDirectory) => matches(matchers, path, isDirectory);
}

/**
 * True for an entry that a pattern names, and for all under a directory that one names. No patterns
 * at all mean everything. Throws ExclaveError `usage`.
 */
export function compilePathPatterns(patterns: readonly string[]): PathMatcher {
  if (patterns.length === 0) return () => true;
  const matchers = compile(patterns);
  return (path, isDirectory) => {
    if (matches(matchers, path, isDirectory)) return true;
    for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) {
      if (matches(matchers, path.slice(0, end), true)) return true;
    }
    return false;
  };
}

/** All patterns of a sort as one expression: one test an entry, however many patterns. */
interface Matchers {
  readonly name: RegExp | undefined;
  readonly path: RegExp | undefined;
  readonly directoryName: RegExp | undefined;
  readonly directoryPath: RegExp | undefined;
}

function matches(matchers: Matchers, path: string, isDirectory: boolean): boolean {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (matchers.name?.test(name) === true || matchers.path?.test(path) === true) return true;
  if (!isDirectory) return false;
  return matchers.directoryName?.test(name) === true || matchers.directoryPath?.test(path) === true;
}

function compile(patterns: readonly string[]): Matchers {
  const sources = {
    name: [] as string[],
    path: [] as string[],
    directoryName: [] as string[],
    directoryPath: [] as string[],
  };
  for (const pattern of patterns) {
    if (pattern.startsWith("!")) {
      throw new ExclaveError(
        "usage",
        `the pattern ${JSON.stringify(pattern)} is a negation, and there are none; for a name that ` +
          'begins with "!", write "\\!"',
      );
    }
    const onlyDirectories = pattern.endsWith("/");
    const trimmed = onlyDirectories ? pattern.slice(0, -1) : pattern;
    const fromRoot = trimmed.includes("/");
    const glob = trimmed.replace(/^(\.?\/)+/, "");
    if (glob === "" || glob.includes("\0") || /(^|\/)(\.{1,2})?(\/|$)/.test(glob)) {
      throw new ExclaveError("usage", `the pattern ${JSON.stringify(pattern)} matches no path`);
    }
    const source = regexSource(glob, pattern);
    if (onlyDirectories) (fromRoot ? sources.directoryPath : sources.directoryName).push(source);
    else (fromRoot ? sources.path : sources.name).push(source);
  }
  return {
    name: join(sources.name),
    path: join(sources.path),
    directoryName: join(sources.directoryName),
    directoryPath: join(sources.directoryPath),
  };
}

function join(sources: readonly string[]): RegExp | undefined {
  // `s`, so that the dots of picomatch's expressions match a newline in a name too.
  return sources.length === 0 ? undefined : new RegExp(sources.join("|"), "s");
}

/**
 * Characters with a meaning to picomatch that patterns here do not have (groups, extglobs, quotes),
 * and `^` and `$`, of which picomatch 4.0.7 escapes only the first in a row. What is escaped already,
 * and the `[^` of a negated class, stay as they are.
 */
const TAKEN_AS_THEY_ARE = /\\[\s\S]|\[\^|["()|+@^$]/g;

function regexSource(glob: string, pattern: string): string {
  const literal = glob.replace(TAKEN_AS_THEY_ARE, (text) => (text.length > 1 ? text : `\\${text}`));
  try {
    return picomatch.makeRe(fromText(literal), {
      dot: true,
      posix: true,
      nonegate: true,
      noextglob: true,
      strictSlashes: true,
      strictBrackets: true,
      debug: true,
      windows: false,
    }).source;
  } catch (cause) {
    throw new ExclaveError("usage", `the pattern ${JSON.stringify(pattern)} cannot be read`, {
      cause,
    });
  }
}
