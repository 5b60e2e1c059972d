/** The register that a plan is for: one that was added, or one that options describe. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { ExclaveError } from "../../errors.ts";
import { decidedTerms } from "../../governance/registers.ts";
import { parseByteSize } from "../../platform/units.ts";
import { changeFromHistory, type History } from "../../registers/estimate.ts";
import { rootOf } from "../../registers/snapshots.ts";
import { Catalog, type SnapshotRow } from "../../vault/catalog.ts";
import type { Home, PartConfig, RegisterConfig } from "../../vault/home.ts";
import { parseId } from "../../vault/identifiers.ts";
import { SITES_MAX } from "../../vault/shard.ts";
import { openHome } from "../context.ts";
import { siteList } from "../flags.ts";

const EPOCH_DAYS = 365;
const DAY_SECONDS = 86_400;

export type SourceFlags = {
  readonly kind?: "files" | "stream";
  readonly path: readonly string[];
  readonly size?: string;
  readonly sites?: string;
  readonly threshold?: number;
  readonly exclude: readonly string[];
  readonly oneFileSystem: boolean;
};

/** A register to plan for, added or not. */
export type Source = {
  readonly register?: string;
  readonly kind: "files" | "stream";
  readonly roots: readonly Pick<PartConfig, "path" | "excludes" | "oneFileSystem">[];
  /** Of a stream. */
  readonly streamBytes?: number;
  readonly sites: readonly string[];
  readonly k: number;
  readonly epochDays: number;
  readonly recoveryPoints: number;
  readonly history?: History;
};

/** By its name, or by options. Throws `usage` when it is neither or both, `unknown-name`, `no-home`. */
export async function sourceOf(name: string | undefined, flags: SourceFlags): Promise<Source> {
  return name === undefined ? described(flags) : registered(name, flags);
}

function described(flags: SourceFlags): Source {
  const { sites: names, threshold: k, path, size } = flags;
  const kind = flags.kind ?? "files";
  if (names === undefined || k === undefined) {
    throw new ExclaveError(
      "usage",
      "name a register that was added, or describe one: --path DIR --sites a,b,c --threshold K",
    );
  }
  const sites = siteList(names);
  if (sites.length > SITES_MAX || k < 1 || k > sites.length) {
    throw new ExclaveError(
      "usage",
      `--threshold ${k} of ${sites.length} sites is none: at least 1, no more than the sites, and at most ${SITES_MAX} of those`,
    );
  }
  if (kind === "files" && (path.length === 0 || size !== undefined)) {
    throw new ExclaveError("usage", "a register of kind files needs --path, and has no --size");
  }
  if (kind === "stream" && (size === undefined || path.length > 1)) {
    throw new ExclaveError(
      "usage",
      "a stream needs --size, for instance 40GB; one --path may name an earlier dump to sample",
    );
  }
  return {
    kind,
    roots: path.map((one) => ({
      path: resolve(one),
      excludes: [...flags.exclude],
      oneFileSystem: flags.oneFileSystem,
    })),
    ...(size === undefined ? {} : { streamBytes: parseByteSize(size, "--size") }),
    sites,
    k,
    epochDays: EPOCH_DAYS,
    recoveryPoints: 0,
  };
}

/** With what its recovery points tell. */
async function registered(name: string, flags: SourceFlags): Promise<Source> {
  if (flags.sites !== undefined || flags.threshold !== undefined || flags.kind !== undefined) {
    throw new ExclaveError(
      "usage",
      `name a register or describe one, not both: "${name}" has its sites and its threshold`,
    );
  }
  const home = await openHome();
  const register = home.register(name);
  const snapshots = snapshotsOf(home, register);
  const history = historyOf(snapshots);
  const seconds = decidedTerms(home, register.id)?.epochSeconds ?? EPOCH_DAYS * DAY_SECONDS;
  const [part] = register.parts;
  const kind = part?.kind ?? "files";
  if (kind === "files" && (flags.path.length > 0 || flags.size !== undefined)) {
    throw new ExclaveError(
      "usage",
      `register "${name}" has its paths; --path and --size are not for it`,
    );
  }
  const common = {
    register: name,
    sites: register.sites,
    k: register.k,
    epochDays: Math.max(1, Math.floor(seconds / DAY_SECONDS)),
    recoveryPoints: snapshots.length,
    ...(history ? { history } : {}),
  };
  if (kind === "files") return { ...common, kind, roots: register.parts };
  return {
    ...common,
    kind,
    roots: flags.path.map((path) => ({ path: resolve(path), excludes: [], oneFileSystem: false })),
    streamBytes: streamBytesOf(name, flags.size, snapshots[0]),
  };
}

/** As long as it is said to be, else as long as it last was. */
function streamBytesOf(name: string, size: string | undefined, newest: SnapshotRow | undefined) {
  if (size !== undefined) return parseByteSize(size, "--size");
  if (newest) return rootOf(newest).parts.reduce((sum, { bytes }) => sum + bytes, 0);
  throw new ExclaveError(
    "usage",
    `nobody knows yet how long the stream "${name}" is: say it, for instance --size 40GB`,
  );
}

/** Its recovery points, newest first. No catalog is made where there is none. */
function snapshotsOf(home: Home, register: RegisterConfig): readonly SnapshotRow[] {
  if (!existsSync(home.catalogPath)) return [];
  const catalog = new Catalog(home.catalogPath, home.state);
  try {
    return catalog.snapshots(parseId("RegisterId", register.id));
  } finally {
    catalog.close();
  }
}

/** What the recovery points of the newest epoch tell: one before begins from nothing. */
function historyOf(snapshots: readonly SnapshotRow[]): History | undefined {
  const points = snapshots
    .filter(({ epoch }) => epoch === snapshots[0]?.epoch)
    .map((row) => ({
      time: row.time,
      indexBytes: rootOf(row).index.reduce((sum, { segment }) => sum + segment.bytes, 0),
    }));
  return changeFromHistory(points.toReversed());
}
