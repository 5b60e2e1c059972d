/** What a plan says in sentences: what comes when, what to do and why, and what all of it rests on. */
import { formatBytes, formatSeconds, plural } from "../format.ts";
import { formatLink } from "../trial/link.ts";
import type { Plan, PlanBasis } from "./plan.ts";

/** What `exclave register plan --json` prints; docs/operations.md. */
export type PlanReport = Plan & {
  /** Absent when the register was described by options. */
  readonly register?: string;
  /** Recovery points that it has already. */
  readonly recoveryPoints: number;
  readonly kind: "files" | "stream";
  readonly threshold: number;
  readonly basis: PlanBasis;
  readonly link: {
    readonly bitsPerSecond: number;
    /** Of the day, in seconds from its midnight by this clock; sorted. */
    readonly hours: readonly { readonly fromSeconds: number; readonly toSeconds: number }[];
    readonly clock: "local" | "utc";
    readonly utcOffsetSeconds: number;
  };
  readonly epochDays: number;
  readonly currency?: string;
  /** When to begin was an option. */
  readonly beginStated: boolean;
  readonly sentence: string;
  readonly recommendation: string;
  readonly assumptions: readonly string[];
};

/** All that the sentences are made of. */
export type PlanFacts = Omit<PlanReport, "sentence" | "recommendation" | "assumptions">;

const WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/** "Wednesday 2026-11-25 at 04:10", by the plan's clock. */
export function moment(time: string, { link }: PlanFacts): string {
  const local = new Date(Date.parse(time) + link.utcOffsetSeconds * 1000);
  const iso = local.toISOString();
  return `${WEEKDAYS[local.getUTCDay()]} ${iso.slice(0, 10)} at ${iso.slice(11, 16)}`;
}

/** "3 nights"; where the whole day is open "3 days", or how long it takes when that is less. */
export function turns({ secondsPerDay, first }: PlanFacts): string {
  if (first.nights === undefined) return "more than a hundred years";
  if (secondsPerDay < DAY_SECONDS) return plural(first.nights, "night");
  return first.seconds < DAY_SECONDS ? formatSeconds(first.seconds) : plural(first.nights, "day");
}

const DAY_SECONDS = 86_400;

/** The hours as people would write them: what ends at midnight and goes on from there is one span. */
export function hoursShown({ link: { hours } }: PlanFacts): string {
  const [first, last] = [hours[0], hours.at(-1)];
  const joined =
    first && last && first !== last && first.fromSeconds === 0 && last.toSeconds === DAY_SECONDS
      ? [...hours.slice(1, -1), { fromSeconds: last.fromSeconds, toSeconds: first.toSeconds }]
      : hours;
  return joined
    .map(({ fromSeconds, toSeconds }) => `${hhmm(fromSeconds)}-${hhmm(toSeconds)}`)
    .join(" and ");
}

/** The first sentence: what, how much, when. */
export function sentenceOf(facts: PlanFacts): string {
  const { first, register, recoveryPoints, sites } = facts;
  const name = register ?? "this register";
  const what =
    recoveryPoints === 0
      ? `The first protect of ${name} brings`
      : `${name} has ${plural(recoveryPoints, "recovery point")}, so only changes are sent now; a new epoch brings`;
  const begin = facts.beginStated ? `on ${moment(facts.beginsAt, facts)}` : "now";
  const when =
    first.finishesAt === undefined
      ? `${turns(facts)}, in these hours over this link`
      : `${turns(facts)}, done on ${moment(first.finishesAt, facts)} if it begins ${begin}`;
  return `${what} ${formatBytes(first.bytesPerSite)} to each of ${plural(sites.length, "site")}: ${when}.`;
}

/** What to do, and why. */
export function recommendationOf(facts: PlanFacts): string {
  const { daily, pouch, sooner, sites, recoveryPoints } = facts;
  const what = recoveryPoints === 0 ? "the first protect" : "all of a new epoch";
  const courier = `a courier takes ${plural(pouch.courierSeconds / DAY_SECONDS, "day")}`;
  const begin =
    sooner === "link"
      ? `Send ${what} over the link: it takes ${turns(facts)}, and ${courier}`
      : `Send ${what} by pouch, ${plural(pouch.mediaPerSite, "medium", "media")} of ${formatBytes(pouch.mediumBytes)} to each of ${plural(sites.length, "site")}: ${courier}, the link ${turns(facts)}`;
  if (daily.fits) return `${begin}; each day's change then fits the link.`;
  return `${begin}; but first get ${formatLink(daily.neededBitsPerSecond)} from home, or longer hours, because a day's change does not fit.`;
}

/** What it rests on, said plainly. */
export function assumptionsOf(facts: PlanFacts): readonly string[] {
  const { basis, link, pace, epochDays, kind } = facts;
  const { sample, history } = basis;
  const percent = `${Number((basis.changeFractionPerDay * 100).toPrecision(3))} %`;
  const sampled = !sample
    ? "Nothing was there to sample: it is counted as if it did not compress. With --path FILE an earlier dump is sampled."
    : sample.complete && kind === "files"
      ? `All ${formatBytes(sample.readBytes)} were read, and compressed as protect does; so content is no estimate, entries and documents are.`
      : `An estimate, from ${formatBytes(sample.readBytes)} read out of ${formatBytes(sample.contentBytes)}${kind === "files" ? "" : " of an earlier dump"} (--sample, --seed ${sample.seed}) and compressed as protect does. What comes twice further apart than the sample sees is counted twice.`;
  const change = {
    assumed: `${percent} of the content is new each day: assumed, because nobody stated it (--change).`,
    stated: `${percent} of the content is new each day, as --change says.`,
    history: `${percent} of the chunks were new each day, by ${history?.recoveryPoints} recovery points over ${Number((history?.days ?? 0).toFixed(1))} days.`,
  }[basis.changeFrom];
  const offset = link.utcOffsetSeconds / 60;
  const clock =
    link.clock === "utc"
      ? "Times are UTC."
      : `Times are by this machine's clock as it is now, UTC${offset < 0 ? "-" : "+"}${hhmm(Math.abs(offset) * 60)}; summer time is not followed.`;
  return [
    sampled,
    ...(sample && sample.unreadable > 0
      ? [`${plural(sample.unreadable, "file")} of the sample could not be read.`]
      : []),
    change,
    `One protect a day. Nothing is ever removed, and every ${plural(epochDays, "day")} a new epoch sends all again.`,
    `The link is taken to give its full speed in these hours, to all sites in step${pace.heldBackBy === undefined ? "" : `; ${pace.heldBackBy}'s own holds them back to ${formatLink(pace.bitsPerSecondPerSite)} each`}.`,
    clock,
  ];
}

function hhmm(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  return [Math.floor(minutes / 60), minutes % 60]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}
