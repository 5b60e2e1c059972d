/** A trial from end to end: found, protect, lose two sites, restore, compare every byte. */
import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { found } from "../../governance/found.ts";
import { addRegister } from "../../governance/registers.ts";
import { addSite } from "../../governance/sites.ts";
import { displayName } from "../../platform/names.ts";
import type { Native } from "../../platform/native.ts";
import { compileExcludes } from "../../registers/files/patterns.ts";
import type { Problem } from "../../registers/files/protect-files.ts";
import type { RestoreProblem } from "../../registers/files/restore-files.ts";
import {
  type ProtectProgress,
  type ProtectReport,
  protect,
  requireLawfulPlacement,
} from "../../registers/protect.ts";
import {
  homeAsSource,
  type RestoreProgress,
  type RestoreReport,
  restore,
} from "../../registers/restore.ts";
import { trialPaths } from "../../registers/trial.ts";
import { Catalog } from "../../vault/catalog.ts";
import type { Home } from "../../vault/home.ts";
import { sizeOfTree } from "../disk.ts";
import { shellLine } from "../page.ts";
import { compareTrees, type TreeComparison } from "./compare-trees.ts";

export const SITES = 5;
export const THRESHOLD = 3;
const SURVIVE = 1;
/** Codes that ISO 3166 leaves to its users: they stand for the host countries still to be found. */
const COUNTRIES = ["XA", "XB", "XC", "XD", "XE"] as const;
const TRIAL_STATE = "Trial State";

export type TrialOptions = {
  /** What is tried; absolute. */
  readonly directory: string;
  /** Where the trial lives; an existing, empty directory. */
  readonly trial: string;
  readonly register: string;
  readonly excludes: readonly string[];
  readonly oneFileSystem: boolean;
  readonly passphrase: string;
  readonly native: Native | undefined;
  readonly onStep: (step: "founding" | "protect" | "restore" | "compare") => void;
  readonly onProtect: (progress: ProtectProgress) => void;
  readonly onRestore: (progress: RestoreProgress) => void;
  readonly onCompare: (progress: { readonly files: number; readonly bytes: number }) => void;
};

type NotKept = { readonly path: string; readonly kind: string; readonly why: string };

export type TrialResult = {
  readonly protected: ProtectReport;
  /** What `protect` noticed about the input. */
  readonly notices: readonly string[];
  /** What each site holds. */
  readonly sites: readonly { readonly site: string; readonly bytes: number }[];
  readonly lost: readonly string[];
  readonly restored: RestoreReport;
  readonly compared: TreeComparison;
  readonly compareSeconds: number;
  readonly notKept: readonly NotKept[];
  readonly notKeptCount: number;
  /** What the restore could not set on this machine, with how many entries each. */
  readonly notSet: readonly { readonly why: string; readonly entries: number }[];
};

const NOT_KEPT_LISTED_MAX = 1000;

export async function runTrial(options: TrialOptions): Promise<TrialResult> {
  const { trial, register } = options;
  const paths = trialPaths(trial);
  options.onStep("founding");
  const home = await foundTrial(options);
  const catalog = new Catalog(home.catalogPath, home.state);
  try {
    options.onStep("protect");
    const notices: string[] = [];
    const notKept: NotKept[] = [];
    const leftOut = new Set<string>();
    const protectedAtMs = Date.now();
    const report = await protect({
      home,
      catalog,
      register,
      now: new Date(),
      onProgress: options.onProtect,
      onNotice: (notice) => notices.push(notice),
      onProblem: (_part, problem: Problem) => {
        const { path, kind, why } = problem;
        // What changed while it was read is there, and compared against nothing.
        leftOut.add(path);
        if (notKept.length < NOT_KEPT_LISTED_MAX) {
          notKept.push({ path: displayName(path), kind, why });
        }
      },
    });
    const sites = home.config.sites.map(({ name }) => ({
      site: name,
      bytes: sizeOfTree(join(paths.sites, name)).bytes,
    }));

    options.onStep("restore");
    const excused = new Set<string>();
    const notSet = new Map<string, number>();
    // The two whose loss costs most: everything has to be computed from the others.
    const lost = home.config.sites.slice(0, SITES - THRESHOLD).map(({ name }) => name);
    const restored = await withoutSites(paths, lost, () =>
      restore({
        source: homeAsSource(home),
        catalog,
        register,
        choice: {},
        target: paths.restored,
        paths: [],
        overwrite: false,
        keepGoing: true,
        numericOwner: true,
        onProgress: options.onRestore,
        onProblem: ({ path, kind, why }: RestoreProblem) => {
          if (kind === "lost") return;
          excused.add(path);
          notSet.set(why, (notSet.get(why) ?? 0) + 1);
        },
      }),
    );

    options.onStep("compare");
    const startedMs = performance.now();
    const compared = await compareTrees({
      original: options.directory,
      restored: paths.restored,
      native: options.native,
      excludes: compileExcludes(options.excludes),
      oneFileSystem: options.oneFileSystem,
      protectedAtMs,
      leftOut,
      excused,
      onProgress: options.onCompare,
    });
    return {
      protected: report,
      notices,
      sites,
      lost,
      restored,
      compared,
      compareSeconds: (performance.now() - startedMs) / 1000,
      notKept,
      notKeptCount: report.problemCount,
      notSet: [...notSet].map(([why, entries]) => ({ why, entries })),
    };
  } finally {
    catalog.close();
  }
}

async function foundTrial(options: TrialOptions): Promise<Home> {
  const { trial, directory, register } = options;
  const paths = trialPaths(trial);
  for (const folder of [paths.sites, paths.lost]) mkdirSync(folder);
  const home = await found({
    home: paths.home,
    stateName: TRIAL_STATE,
    passphrase: options.passphrase,
    recoveryKeyFile: paths.recoveryKey,
    now: new Date(),
  });
  for (const [i, country] of COUNTRIES.entries()) {
    const name = `site-${i + 1}`;
    await addSite(
      home,
      {
        name,
        country,
        operator: name,
        hazardZone: country,
        at: join(paths.sites, name),
      },
      new Date(),
    );
  }
  const sites = home.config.sites.map(({ name }) => name);
  requireLawfulPlacement(home, { sites, k: THRESHOLD }, []);
  const plan = {
    name: register,
    parts: [
      {
        name: register,
        kind: "files" as const,
        path: directory,
        excludes: [...options.excludes],
        oneFileSystem: options.oneFileSystem,
      },
    ],
    sites,
    k: THRESHOLD,
    survive: SURVIVE,
  };
  await addRegister(home, plan, new Date());
  return home;
}

/** Runs `work` while these sites are moved away, and moves them back whatever happens. */
async function withoutSites<T>(
  paths: ReturnType<typeof trialPaths>,
  lost: readonly string[],
  work: () => Promise<T>,
): Promise<T> {
  for (const site of lost) renameSync(join(paths.sites, site), join(paths.lost, site));
  try {
    return await work();
  } finally {
    for (const site of lost) renameSync(join(paths.lost, site), join(paths.sites, site));
  }
}

/** The commands that do by hand, in a directory beside the trial, what the trial did. */
export function trialCommands(
  options: Pick<TrialOptions, "directory" | "trial" | "register" | "excludes" | "oneFileSystem">,
): readonly string[] {
  const { directory, trial, register } = options;
  const byHand = `${trial}-by-hand`;
  const names = COUNTRIES.map((_, i) => `site-${i + 1}`);
  const lost = names.slice(0, SITES - THRESHOLD);
  return [
    `${shellLine("mkdir", byHand)} && ${shellLine("cd", byHand)}`,
    "mkdir sites lost",
    'export EXCLAVE_HOME="$PWD/home"',
    shellLine("exclave", "found", "--state", TRIAL_STATE, "--recovery-key", "recovery-key.age"),
    ...COUNTRIES.map((country, i) => {
      const place = flags({ country, directory: `sites/${names[i]}` });
      return shellLine("exclave", "site", "add", names[i] ?? "", ...place);
    }),
    shellLine(
      "exclave",
      "register",
      "add",
      register,
      ...flags({ kind: "files", path: directory, sites: names.join(",") }),
      ...flags({ threshold: String(THRESHOLD), survive: String(SURVIVE) }),
      ...options.excludes.flatMap((pattern) => ["--exclude", pattern]),
      ...(options.oneFileSystem ? ["--one-file-system"] : []),
    ),
    shellLine("exclave", "protect", register),
    shellLine("mv", ...lost.map((name) => `sites/${name}`), "lost/"),
    shellLine("exclave", "restore", register, "--numeric-owner", "--to", "restored"),
    shellLine("diff", "-r", "--no-dereference", directory, "restored"),
    shellLine("mv", ...lost.map((name) => `lost/${name}`), "sites/"),
  ];
}

function flags(options: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
}
