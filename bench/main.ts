/**
 * `npm run bench -- [protect] [erasure] [ledger] [memory] [sites] [options]`: see docs/benchmarks.md.
 *
 * Tables go to standard output (with --json: one JSON object), what is going on to standard error.
 */
import { parseArgs } from "node:util";
import {
  aimsOfErasure,
  aimsOfLedger,
  aimsOfMemory,
  aimsOfSiteDaemon,
  aimsOfSites,
  aimsOfTools,
} from "./aims.ts";
import { type Corpus, provideCorpus } from "./corpora.ts";
import { benchErasure } from "./erasure.ts";
import { closeGround, groundAt, openGround } from "./ground.ts";
import { benchLedger } from "./ledger.ts";
import { describeMachine } from "./machine.ts";
import { MEMORY_SCALE, MEMORY_SCALE_LARGE, type MemoryResult, measureMemory } from "./memory.ts";
import { type Context, compareTools, reasonOf } from "./protect.ts";
import { formatReport, type Report } from "./report.ts";
import { benchSiteDaemon } from "./site-daemon.ts";
import { benchSites, SITES_SCALES } from "./sites.ts";
import { borg } from "./tools/borg.ts";
import { exclave } from "./tools/exclave.ts";
import { restic } from "./tools/restic.ts";
import { tarPipeline } from "./tools/tar-pipeline.ts";
import type { Tool } from "./tools/tool.ts";

const SUITES = ["protect", "erasure", "ledger", "memory", "sites"] as const;
const TOOLS: Readonly<Record<string, Tool>> = { exclave, restic, borg, tar: tarPipeline };
/** Of the corpus: what one tool stores and restores before its files are truncated, with room to spare. */
const SPACE_FACTOR = 2.5;

const USAGE = `npm run bench -- [SUITE…] [OPTION…]

  protect   protect, protect again, restore: exclave, restic, borg, tar|zstd|openssl
  erasure   Reed–Solomon 3-of-5 on one core
  ledger    append, prove and verify 100,000 entries
  memory    peak memory of protect and restore at 1 GB (with --large: at 10 GB too)
  sites     what one site's process takes and gives; protect and restore over a link of 100 Mbit/s, 80 ms, 1 % loss,
            in network namespaces (root, Linux), beside restic over sftp
  Without a suite: all of them.

  --scale N        corpus of protect: N times 1.57 GB and 60,630 files (1)
  --repeat N       runs of each tool, the best of which counts (2)
  --seed N         another corpus of the same kind (1)
  --tools A,B      of exclave,restic,borg,tar (all that are installed)
  --large          memory at 10 GB as well; needs 40 GB of disk
  --directory DIR  work there, on another disk (.bench in the checkout)
  --json           one JSON object instead of tables
  --help`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    scale: { type: "string", default: "1" },
    repeat: { type: "string", default: "2" },
    seed: { type: "string", default: "1" },
    tools: { type: "string", default: Object.keys(TOOLS).join(",") },
    large: { type: "boolean", default: false },
    directory: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (values.help) console.log(USAGE);
else {
  try {
    await main();
  } catch (error) {
    console.error(`bench: ${reasonOf(error)}`);
    process.exitCode = 1;
  }
}

async function main(): Promise<void> {
  const suites = chosen(positionals, SUITES, "suite");
  const scale = positive(values.scale, "--scale");
  const repeat = Math.ceil(positive(values.repeat, "--repeat"));
  const seed = Math.floor(positive(values.seed, "--seed"));
  const names = chosen(values.tools.split(","), Object.keys(TOOLS), "tool");
  const ground = groundAt(values.directory);
  const machine = describeMachine(ground);

  const tools = names.flatMap((name) => TOOLS[name] ?? []);
  const versions = Object.fromEntries(tools.map((tool) => [tool.name, tool.version() ?? null]));
  const report: { -readonly [key in keyof Report]: Report[key] } = {
    date: new Date().toISOString(),
    machine,
    versions,
    repeat,
    failures: [],
    aims: [],
  };
  const provide = (size: number): Corpus => {
    say(`corpus at scale ${size}, seed ${seed}`);
    return provideCorpus(ground, size, seed);
  };

  if (suites.includes("erasure")) {
    say("erasure coding");
    report.erasure = benchErasure();
    report.aims = [...report.aims, ...aimsOfErasure(report.erasure)];
  }
  if (suites.includes("ledger")) {
    say("ledger");
    report.ledger = await benchLedger();
    report.aims = [...report.aims, ...aimsOfLedger(report.ledger)];
  }
  if (suites.includes("protect")) {
    const corpus = provide(scale);
    const installed = tools.filter((tool) => versions[tool.name]);
    const { results, failures } = await onGround(ground, corpus, (context) =>
      compareTools(context, corpus, installed, repeat),
    );
    Object.assign(report, { corpus, tools: results });
    report.failures = [...report.failures, ...failures];
    report.aims = [...report.aims, ...aimsOfTools(results)];
  }
  if (suites.includes("memory")) {
    const memory: MemoryResult[] = [];
    for (const size of values.large ? [MEMORY_SCALE, MEMORY_SCALE_LARGE] : [MEMORY_SCALE]) {
      const corpus = provide(size);
      await onGround(ground, corpus, async (context) => {
        try {
          memory.push(await measureMemory(context, corpus, exclave));
        } catch (error) {
          context.signal.throwIfAborted();
          const tool = `exclave, memory at scale ${size}`;
          report.failures = [...report.failures, { tool, reason: reasonOf(error) }];
        }
      });
    }
    report.memory = memory;
    report.aims = [...report.aims, ...aimsOfMemory(memory)];
  }
  if (suites.includes("sites")) {
    const corpora = {
      bulk: provide(rounded(SITES_SCALES.bulk * scale)),
      compared: provide(rounded(SITES_SCALES.compared * scale)),
    };
    await onGround(ground, corpora.bulk, async (context) => {
      say("one site's process, on loopback");
      report.siteDaemon = await benchSiteDaemon(context.directory);
      report.sites = await benchSites(context, corpora);
    });
    if (report.siteDaemon) report.aims = [...report.aims, ...aimsOfSiteDaemon(report.siteDaemon)];
    if (report.sites) report.aims = [...report.aims, ...aimsOfSites(report.sites)];
  }
  if (report.failures.length > 0) process.exitCode = 1;
  console.log(values.json ? JSON.stringify(report, null, 2) : formatReport(report));
}

/** Lends `work` a directory of its own, and takes it away again however `work` ends. */
async function onGround<T>(
  ground: string,
  corpus: Corpus,
  work: (context: Context) => Promise<T>,
): Promise<T> {
  const interrupted = new AbortController();
  const interrupt = () => interrupted.abort(new Error("interrupted"));
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, interrupt);
  const { signal } = interrupted;
  try {
    const directory = await openGround(ground, corpus.bytes * SPACE_FACTOR, say, signal);
    try {
      return await work({ directory, say, signal });
    } finally {
      say("cleaning up");
      closeGround(ground, directory);
    }
  } finally {
    for (const name of ["SIGINT", "SIGTERM"] as const) process.off(name, interrupt);
  }
}

function say(line: string): void {
  console.error(`bench: ${line}`);
}

function chosen<T extends string>(names: readonly string[], all: readonly T[], what: string): T[] {
  const unknown = names.find((name) => !all.some((known) => known === name));
  if (unknown !== undefined) refuse(`there is no ${what} ${unknown}; there are ${all.join(", ")}`);
  return names.length === 0 ? [...all] : all.filter((known) => names.includes(known));
}

/** A corpus is kept under its scale's digits. */
function rounded(scale: number): number {
  return Number(scale.toPrecision(3));
}

function positive(text: string, option: string): number {
  const number = Number(text);
  if (!(number > 0 && Number.isFinite(number))) refuse(`${option} must be a number above 0`);
  return number;
}

function refuse(why: string): never {
  console.error(`bench: ${why}\n\n${USAGE}`);
  process.exit(2);
}
