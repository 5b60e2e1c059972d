import { Command } from "commander";
import { ExclaveError } from "../errors.ts";
import { loadNative } from "../platform/native.ts";
import { parseBitRate, parseByteSize, parseDaySpan } from "../platform/units.ts";
import { contentOfStream, type Looked, lookAtFiles } from "../registers/content.ts";
import { estimateFirst, estimateLater } from "../registers/estimate.ts";
import { compileExcludes } from "../registers/files/patterns.ts";
import type { SampleRoot } from "../registers/sample.ts";
import { defaultWorkers } from "../registers/seal-session.ts";
import { collect, oneOf, positive } from "./flags.ts";
import { formatBytes } from "./format.ts";
import { newPage } from "./page.ts";
import {
  parseCourierDays,
  parseCurrency,
  parsePercent,
  parsePrices,
  parseSampleSize,
  parseSiteLinks,
} from "./plan/options.ts";
import { makePlan } from "./plan/plan.ts";
import { printPlan } from "./plan/print.ts";
import { hoursOf } from "./plan/schedule.ts";
import {
  assumptionsOf,
  type PlanFacts,
  type PlanReport,
  recommendationOf,
  sentenceOf,
} from "./plan/sentences.ts";
import { type Source, type SourceFlags, sourceOf } from "./plan/source.ts";
import { momentFlag } from "./proposed.ts";
import type { Terminal } from "./terminal.ts";

/** Assumed, and said to be, when neither --change nor the register's own past says it. */
const CHANGE_ASSUMED = 0.02;
const SAMPLE_BYTES = "128MB";
const SEED = "exclave";

const HELP = `
  exclave register plan docs --link 100mbit --hours 20:00-06:00
  exclave register plan --path /srv/registers/docs --sites bb,kn,lu,ee,ca --threshold 3 \\
    --link 20mbit --site-link lu=5mbit --price lu=0.02 --traffic-price lu=0.05 --currency EUR

It reads what is to be protected, and a sample of its content; it writes and sends nothing.`;

export const planCommand = (terminal: Terminal): Command =>
  new Command("plan")
    .argument("[name]", "a register that was added; else describe one with --path, --sites …")
    .description("before anything starts: bytes, nights on this link, money, or the pouch instead")
    .option("--link <speed>", "the line from home, shared by all sites: 20mbit, 1gbit", "100mbit")
    .option(
      "--hours <from-to>",
      "when it may send: 20:00-06:00; several times (default: all day)",
      collect,
      [],
    )
    .option("--clock <which>", "whose hours: local, utc", oneOf(["local", "utc"]), "local")
    .option("--begin <time>", "when it would begin (default: now)", momentFlag)
    .option("--site-link <site=speed>", "a site's own line; several times", collect, [])
    .option("--change <percent>", "what is new each day: 2% (default: as its past says)")
    .option("--price <site=price>", "for a GB kept there a month; several times", collect, [])
    .option("--traffic-price <site=price>", "for a GB sent there; several times", collect, [])
    .option("--currency <code>", "of the prices, for instance EUR")
    .option("--media <size>", "what one medium of the pouch holds", "2TB")
    .option("--courier-days <days>", "how long a courier takes", "3")
    .option("--kind <kind>", "not added yet: files or stream", oneOf(["files", "stream"]))
    .option(
      "--path <dir>",
      "not added yet: what to protect; of a stream, a dump to sample",
      collect,
      [],
    )
    .option("--size <size>", "of a stream: how long it is, 40GB")
    .option("--sites <names>", "not added yet: the sites, comma-separated; need not be admitted")
    .option("--threshold <k>", "not added yet: any so many sites bring it back", positive)
    .option(
      "--exclude <pattern>",
      "not added yet: leave out what matches; several times",
      collect,
      [],
    )
    .option("--one-file-system", "not added yet: do not enter other file systems", false)
    .option("--sample <size>", "how much content to read for it at most", SAMPLE_BYTES)
    .option("--seed <text>", "chooses the sample; the same gives the same", SEED)
    .addHelpText("after", HELP)
    .action(async (name: string | undefined, flags: PlanFlags) => {
      const source = await sourceOf(name, flags);
      const facts = await factsOf(terminal, source, flags);
      const report: PlanReport = {
        ...facts,
        sentence: sentenceOf(facts),
        recommendation: recommendationOf(facts),
        assumptions: assumptionsOf(facts),
      };
      printPlan(newPage(terminal), report);
      terminal.result(report, []);
    });

type PlanFlags = SourceFlags & {
  readonly link: string;
  readonly hours: readonly string[];
  readonly clock: "local" | "utc";
  readonly begin?: string;
  readonly siteLink: readonly string[];
  readonly change?: string;
  readonly price: readonly string[];
  readonly trafficPrice: readonly string[];
  readonly currency?: string;
  readonly media: string;
  readonly courierDays: string;
  readonly sample: string;
  readonly seed: string;
};

async function factsOf(terminal: Terminal, source: Source, flags: PlanFlags): Promise<PlanFacts> {
  // Whatever is wrong with the options is said before anything is read.
  const beginMs = flags.begin === undefined ? Date.now() : Date.parse(flags.begin);
  const offsetMinutes = flags.clock === "utc" ? 0 : -new Date(beginMs).getTimezoneOffset();
  const spans = flags.hours.map((span) => parseDaySpan(span, "--hours"));
  const hours = hoursOf(spans, offsetMinutes * 60_000);
  const links = {
    bitsPerSecond: parseBitRate(flags.link, "--link"),
    siteBitsPerSecond: parseSiteLinks(flags.siteLink, source.sites),
  };
  const prices = parsePrices(flags.price, flags.trafficPrice, source.sites);
  const stated = flags.change === undefined ? undefined : parsePercent(flags.change);
  const [mediumBytes, courierDays] = [
    parseByteSize(flags.media, "--media"),
    parseCourierDays(flags.courierDays),
  ];
  const currency = flags.currency === undefined ? undefined : parseCurrency(flags.currency);
  const sampleBytesMax = parseSampleSize(flags.sample);

  const { kind, sites, k, epochDays, history, streamBytes } = source;
  const looked = await lookAt(terminal, source.roots, sampleBytesMax, flags.seed);
  const content =
    streamBytes === undefined ? looked?.content : contentOfStream(streamBytes, looked?.sample);
  if (!content) throw new ExclaveError("bug", "a plan for nothing");
  // A stream goes through one thread.
  const shape = { k, n: sites.length, workers: kind === "stream" ? 1 : defaultWorkers() };
  const change = stated ?? history?.fractionPerDay ?? CHANGE_ASSUMED;
  const changeFrom = stated !== undefined ? "stated" : history ? "history" : "assumed";
  const plan = makePlan({
    beginMs,
    sites,
    first: estimateFirst(content, shape),
    daily: estimateLater(content, shape, change),
    epochDays,
    links,
    hours,
    prices,
    mediumBytes,
    courierDays,
  });
  const { register, recoveryPoints } = source;
  return {
    ...(register === undefined ? {} : { register }),
    recoveryPoints,
    kind,
    threshold: k,
    ...plan,
    basis: {
      ...(kind === "files" && looked
        ? { files: looked.found.files, directories: looked.found.directories }
        : {}),
      bytes: content.contentBytes,
      ...(looked ? { sample: looked.sample } : {}),
      changeFractionPerDay: change,
      changeFrom,
      ...(history ? { history } : {}),
    },
    link: {
      bitsPerSecond: links.bitsPerSecond,
      hours: hours.windows.map(({ fromMs, toMs }) => ({
        fromSeconds: fromMs / 1000,
        toSeconds: toMs / 1000,
      })),
      clock: flags.clock,
      utcOffsetSeconds: offsetMinutes * 60,
    },
    epochDays,
    ...(currency === undefined ? {} : { currency }),
    beginStated: flags.begin !== undefined,
  };
}

/** Undefined when there is nothing to look at. */
async function lookAt(
  terminal: Terminal,
  paths: Source["roots"],
  sampleBytesMax: number,
  seed: string,
): Promise<Looked | undefined> {
  if (paths.length === 0) return undefined;
  const native = loadNative();
  const roots: readonly SampleRoot[] = paths.map(({ path, excludes, oneFileSystem }) => ({
    path,
    native,
    excludes: compileExcludes(excludes),
    oneFileSystem,
  }));
  const looked = await lookAtFiles(roots, {
    sampleBytesMax,
    seed,
    onProgress: (step, bytes) =>
      terminal.progress({ step, bytes }, () =>
        step === "survey"
          ? `looking: ${formatBytes(bytes)}`
          : `reading a sample: ${formatBytes(bytes)} of at most ${formatBytes(sampleBytesMax)}`,
      ),
  });
  terminal.endProgress();
  return looked;
}
