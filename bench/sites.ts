/**
 * Protect and restore over a link like that of a State far away: home and three hosts, each a network namespace, with
 * `exclave site serve` at each host; restic over sftp to one of them, on the same link. What one site's process takes
 * and gives on loopback is in site-daemon.ts.
 *
 * Both kinds of congestion control are measured, since that decides what a link which loses packets carries: CUBIC is
 * what Linux comes with, BBR what it can be told to use.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { assertSameTree } from "./compare-trees.ts";
import type { Corpus } from "./corpora.ts";
import { type Command, measure, measureStored, type Usage } from "./measure.ts";
import { end } from "./network/children.ts";
import { foundInLab, K } from "./network/embassy.ts";
import { hasCongestionControl, type Lab, openLab } from "./network/lab.ts";
import { NotHere } from "./network/namespaces.ts";
import { measurePlainTcp, type PlainTcp } from "./network/plain-tcp.ts";
import { requireResticOverSftp, resticInLab } from "./network/restic-sftp.ts";
import { describeShape } from "./network/shape.ts";
import { type Flow, type Traffic, withTraffic } from "./network/traffic.ts";
import { type Context, reasonOf } from "./protect.ts";

const SITES = ["lu", "ee", "ca"] as const;
const CONNECTIONS = [1, 4, 16, 64] as const;

const CONGESTION_CONTROLS = ["bbr", "cubic"] as const;
type CongestionControl = (typeof CONGESTION_CONTROLS)[number];

/**
 * Of the corpus at scale 1: enough to fill the link for half a minute, and little enough for what is slow on such a
 * link to come to its end: restic and CUBIC.
 */
export const SITES_SCALES = { bulk: 0.25, compared: 0.02 } as const;
type Size = keyof typeof SITES_SCALES;

/** One command, and what it did to the link. */
export type FarPhase = Usage & {
  /** In the direction that the data went. */
  readonly flow: Flow;
  /** In the other one. */
  readonly back: Flow;
  /** Of the link's rate, by what arrived from the command's start to its end. */
  readonly wholeShare: number;
  /** What was to be moved: all shards, or those that a restore needs; for restic, what it stores. */
  readonly bytes: number;
};

export type FarRun = {
  readonly tool: "exclave" | "restic";
  readonly congestionControl: CongestionControl;
  readonly size: Size;
  readonly corpusBytes: number;
  /** What one copy takes: without dispersal. */
  readonly bytesBeforeDispersal: number;
  readonly protect: FarPhase;
  readonly restore: FarPhase;
};

export type SitesResult = {
  /** Which link, and by what means; or why there was none. */
  readonly link: string;
  readonly isLink: boolean;
  readonly plain: Readonly<Partial<Record<CongestionControl, PlainTcp>>>;
  readonly runs: readonly FarRun[];
  /** What was left out, and why. */
  readonly skipped: readonly string[];
};

/** Needs root and Linux; without them it says why nothing was measured, and that is no failure. */
export async function benchSites(
  context: Context,
  corpora: Readonly<Record<Size, Corpus>>,
): Promise<SitesResult> {
  let lab: Lab;
  try {
    lab = await openLab(SITES);
  } catch (error) {
    if (!(error instanceof NotHere)) throw error;
    const link = `no link: ${error.message}`;
    return { link, isLink: false, plain: {}, runs: [], skipped: [link] };
  }
  try {
    return await measureIn(lab, context, corpora);
  } finally {
    await lab.close();
  }
}

async function measureIn(
  lab: Lab,
  context: Context,
  corpora: Readonly<Record<Size, Corpus>>,
): Promise<SitesResult> {
  const link = `${describeShape(lab.shape)}, by ${lab.description}`;
  context.say(link);
  const plain: Partial<Record<CongestionControl, PlainTcp>> = {};
  const runs: FarRun[] = [];
  const skipped: string[] = [];
  for (const name of CONGESTION_CONTROLS) {
    context.signal.throwIfAborted();
    if (!hasCongestionControl(name)) {
      skipped.push(`${name}: this kernel does not have it`);
      continue;
    }
    lab.useCongestionControl(name);
    context.say(`${name}: plain TCP`);
    plain[name] = await measurePlainTcp(lab, CONNECTIONS);
    context.signal.throwIfAborted();
    // What CUBIC makes of more is no different, and takes half an hour.
    const sizes: readonly Size[] = name === "bbr" ? ["bulk", "compared"] : ["compared"];
    for (const size of sizes) {
      context.say(`${name}, exclave: ${(corpora[size].bytes / 1e6).toFixed(0)} MB`);
      runs.push(await runExclave(lab, context, corpora[size], { name, size }));
    }
    context.say(`${name}, restic over sftp: ${(corpora.compared.bytes / 1e6).toFixed(0)} MB`);
    try {
      requireResticOverSftp();
      runs.push(await runRestic(lab, context, corpora.compared, { name, size: "compared" }));
    } catch (error) {
      context.signal.throwIfAborted();
      skipped.push(`restic over sftp, ${name}: ${reasonOf(error)}`);
    }
  }
  return { link, isLink: true, plain, runs, skipped };
}

type Setting = { readonly name: CongestionControl; readonly size: Size };

async function runExclave(
  lab: Lab,
  context: Context,
  corpus: Corpus,
  { name, size }: Setting,
): Promise<FarRun> {
  const directory = join(context.directory, `exclave-${name}-${size}`);
  const state = await foundInLab(lab, directory, corpus.path, SITES, context.signal);
  const interrupt = () => void Promise.all(state.sites.map((site) => end(site)));
  context.signal.addEventListener("abort", interrupt);
  try {
    const up = await timed(lab, context, state.protect, [corpus.path]);
    const { bytes } = await measureStored(state.shardFolders);
    const out = join(directory, "out");
    const down = await timed(lab, context, state.restore(out), []);
    assertSameTree(corpus.path, out);
    const [k, n] = [K, SITES.length];
    return {
      tool: "exclave",
      congestionControl: name,
      size,
      corpusBytes: corpus.bytes,
      bytesBeforeDispersal: (bytes * k) / n,
      protect: phaseOf(lab, up, "up", bytes),
      restore: phaseOf(lab, down, "down", (bytes * k) / n),
    };
  } finally {
    context.signal.removeEventListener("abort", interrupt);
    await state.close();
  }
}

async function runRestic(
  lab: Lab,
  context: Context,
  corpus: Corpus,
  { name, size }: Setting,
): Promise<FarRun> {
  const directory = join(context.directory, `restic-${name}-${size}`);
  const repository = await resticInLab(lab, directory, corpus.path);
  try {
    const up = await timed(lab, context, repository.protect, [corpus.path]);
    const { bytes } = await measureStored([repository.folder]);
    const out = join(directory, "out");
    mkdirSync(out);
    const down = await timed(lab, context, repository.restore(out), []);
    assertSameTree(corpus.path, out);
    return {
      tool: "restic",
      congestionControl: name,
      size,
      corpusBytes: corpus.bytes,
      bytesBeforeDispersal: bytes,
      protect: phaseOf(lab, up, "up", bytes),
      restore: phaseOf(lab, down, "down", bytes),
    };
  } finally {
    await repository.close();
  }
}

type Timed = { readonly usage: Usage; readonly traffic: Traffic };

function phaseOf(
  { shape }: Lab,
  { usage, traffic }: Timed,
  way: "up" | "down",
  bytes: number,
): FarPhase {
  const [flow, back] = way === "up" ? [traffic.up, traffic.down] : [traffic.down, traffic.up];
  const wholeShare = (flow.arrivedBytes * 8) / usage.wallSeconds / shape.bitsPerSecond;
  return { ...usage, flow, back, wholeShare, bytes };
}

async function timed(
  lab: Lab,
  context: Context,
  command: Command,
  cached: readonly string[],
): Promise<Timed> {
  const outputFile = join(context.directory, "output");
  const { result, traffic } = await withTraffic(lab, () =>
    measure(command, { outputFile, signal: context.signal, cached }),
  );
  context.say(`  ${result.wallSeconds.toFixed(1)} s`);
  return { usage: result, traffic };
}
