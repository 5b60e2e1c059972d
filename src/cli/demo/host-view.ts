/** What a host country sees when it looks inside the site that it hosts. */
import { readFileSync, statSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { filesBelow } from "../disk.ts";

export type HostView = {
  readonly files: number;
  readonly bytes: number;
  /** Some of the files, of different kinds, by path within the site. */
  readonly listing: readonly { readonly path: string; readonly bytes: number }[];
  /** Sixteen bytes from the middle of the largest shard, as `hexdump -C` prints them. */
  readonly hexdump: { readonly path: string; readonly line: string } | undefined;
  readonly searches: readonly Search[];
  /** Whom the site serves, as its operator wrote it down. */
  readonly stateName: string | undefined;
};

type Search = { readonly text: string; readonly foundAtHost: number };

const SHARDS_LISTED = 2;
const DUMP_BYTES = 16;

/**
 * Looks inside a site's folder: lists what it stores of a State, dumps a line of that, and searches every byte of the
 * folder for the texts.
 *
 * @param objects the folder within, of one State's objects
 */
export function lookInside(site: string, objects: string, texts: readonly string[]): HostView {
  const paths = [...filesBelow(site)].sort();
  const sizes = new Map(paths.map((path) => [path, statSync(path).size]));
  const bytes = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  const isShard = (path: string): boolean => relative(objects, path).startsWith("shard/");
  const shards = paths.filter(isShard).sort((a, b) => (sizes.get(b) ?? 0) - (sizes.get(a) ?? 0));
  const listed = [...firstOfEachKind(objects, paths), ...shards.slice(0, SHARDS_LISTED)];
  const [largest] = shards;
  return {
    files: paths.length,
    bytes,
    listing: listed.map((path) => ({
      path: relative(objects, path),
      bytes: sizes.get(path) ?? 0,
    })),
    hexdump:
      largest === undefined
        ? undefined
        : { path: relative(objects, largest), line: dumpMiddle(largest) },
    searches: texts.map((text) => ({ text, foundAtHost: filesWith(paths, text) })),
    stateName: grantedTo(site, basename(dirname(objects))),
  };
}

/** How many of the files hold the text; a signed document's payload counts decoded too. */
export function filesWith(paths: Iterable<string>, text: string): number {
  let found = 0;
  for (const path of paths) {
    const bytes = readFileSync(path);
    if (bytes.includes(text) || payloadOf(bytes)?.includes(text)) found++;
  }
  return found;
}

function firstOfEachKind(objects: string, paths: readonly string[]): readonly string[] {
  // Every object lies in its kind's folder, and there in one of many.
  const stored = paths.filter((path) => /^[^./][^/]*\/[^/]+\//.test(relative(objects, path)));
  const kinds = Map.groupBy(stored, (path) => relative(objects, path).split("/")[0] ?? "");
  return [...kinds].flatMap(([kind, [first]]) => (kind === "shard" || !first ? [] : [first]));
}

/** `00080000  5f 1c …  |_...|` */
function dumpMiddle(path: string): string {
  const bytes = readFileSync(path);
  const at = Math.floor(bytes.length / 2 / DUMP_BYTES) * DUMP_BYTES;
  const line = bytes.subarray(at, at + DUMP_BYTES);
  const hex = [...line].map((byte) => byte.toString(16).padStart(2, "0"));
  const text = [...line].map((byte) =>
    byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".",
  );
  const halves = `${hex.slice(0, 8).join(" ")}  ${hex.slice(8).join(" ")}`;
  return `${at.toString(16).padStart(8, "0")}  ${halves}  |${text.join("")}|`;
}

/** The payload of a signed document, decoded; undefined for what is none. */
function payloadOf(bytes: Buffer): Buffer | undefined {
  // Shards and manifests are no JSON, and need no decoding to be searched.
  if (bytes[0] !== "{".charCodeAt(0)) return undefined;
  try {
    const { payload } = JSON.parse(bytes.toString()) as { readonly payload?: unknown };
    return typeof payload === "string" ? Buffer.from(payload, "base64") : undefined;
  } catch {
    return undefined;
  }
}

function grantedTo(site: string, state: string): string | undefined {
  const file = join(site, "grants", `${state}.json`);
  const { name } = JSON.parse(readFileSync(file, "utf8")) as { readonly name?: unknown };
  return typeof name === "string" ? name : undefined;
}
