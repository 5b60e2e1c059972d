/** What a register would take, and whether it can be done: bytes, nights, money, or a courier. Pure. */
import type { History, Volume } from "../../registers/estimate.ts";
import type { Sample } from "../../registers/sample.ts";
import { type Cost, costOf, type Prices, sumOf, useOf } from "./money.ts";
import { type Links, type Pace, paceOf } from "./pace.ts";
import { finishMs, type Hours, nightsOf, sendingMs } from "./schedule.ts";

export type PlanInput = {
  /** When it would begin, in milliseconds since 1970. */
  readonly beginMs: number;
  readonly sites: readonly string[];
  readonly first: Volume;
  readonly daily: Volume;
  readonly epochDays: number;
  readonly links: Links;
  readonly hours: Hours;
  readonly prices: ReadonlyMap<string, Prices>;
  readonly mediumBytes: number;
  readonly courierDays: number;
};

const DAY_SECONDS = 86_400;
const MONTH_DAYS = 30;
const YEAR_DAYS = 365;

export type Sending = {
  readonly bytesPerSite: number;
  readonly totalBytes: number;
  /** Of sending, at the pace of all sites together. */
  readonly seconds: number;
};

export type Plan = {
  readonly beginsAt: string;
  readonly pace: Pace;
  readonly secondsPerDay: number;
  /** `finishesAt` is absent when it would take more than a hundred years. */
  readonly first: Volume & Sending & { readonly nights?: number; readonly finishesAt?: string };
  readonly daily: Volume &
    Sending & {
      /** False: the recovery point falls behind, further each day. */
      readonly fits: boolean;
      /** What the link from home and every site's own would need for it. */
      readonly neededBitsPerSecond: number;
      readonly neededBitsPerSecondPerSite: number;
    };
  readonly sites: readonly SitePlan[];
  readonly money: {
    /** Of all sites together. */
    readonly firstMonth: Cost;
    readonly firstYear: Cost;
    /** Sites of which nobody stated what keeping costs, and what sending there costs. */
    readonly storageNotStated: readonly string[];
    readonly trafficNotStated: readonly string[];
  };
  readonly pouch: {
    readonly mediumBytes: number;
    readonly mediaPerSite: number;
    readonly media: number;
    readonly courierSeconds: number;
    readonly arrivesAt: string;
  };
  readonly sooner: "link" | "pouch";
};

export type SitePlan = {
  readonly site: string;
  readonly firstBytes: number;
  readonly dailyBytes: number;
  readonly keptBytesAfterMonth: number;
  readonly keptBytesAfterYear: number;
  readonly bitsPerSecond?: number;
  readonly pricePerGbMonth?: number;
  readonly pricePerGbSent?: number;
  readonly firstMonth: Cost;
  readonly firstYear: Cost;
};

export function makePlan(input: PlanInput): Plan {
  const { beginMs, sites, hours, links } = input;
  const pace = paceOf(sites, links);
  const sending = (volume: Volume): Volume & Sending & { readonly ms: number } => {
    const ms = sendingMs(volume.bytesPerSite, pace.bitsPerSecondPerSite);
    return { ...volume, totalBytes: volume.bytesPerSite * sites.length, seconds: ms / 1000, ms };
  };
  const { ms: firstMs, ...first } = sending(input.first);
  const { ms: dailyMs, ...daily } = sending(input.daily);
  const endMs = finishMs(hours, beginMs, firstMs);
  const arriveMs = beginMs + input.courierDays * DAY_SECONDS * 1000;
  const neededPerSite = (daily.bytesPerSite * 8000) / hours.perDayMs;
  const mediaPerSite = Math.ceil(first.bytesPerSite / input.mediumBytes);
  const planned = sites.map((site) => sitePlan(site, input));
  return {
    beginsAt: new Date(beginMs).toISOString(),
    pace,
    secondsPerDay: hours.perDayMs / 1000,
    first: {
      ...first,
      ...(endMs === undefined
        ? {}
        : {
            nights: nightsOf(hours, beginMs, endMs),
            finishesAt: new Date(endMs).toISOString(),
          }),
    },
    daily: {
      ...daily,
      fits: dailyMs <= hours.perDayMs,
      neededBitsPerSecond: neededPerSite * sites.length,
      neededBitsPerSecondPerSite: neededPerSite,
    },
    sites: planned,
    money: moneyOf(planned),
    pouch: {
      mediumBytes: input.mediumBytes,
      mediaPerSite,
      media: mediaPerSite * sites.length,
      courierSeconds: input.courierDays * DAY_SECONDS,
      arrivesAt: new Date(arriveMs).toISOString(),
    },
    sooner: endMs !== undefined && endMs <= arriveMs ? "link" : "pouch",
  };
}

function sitePlan(site: string, input: PlanInput): SitePlan {
  const { first, daily, epochDays, links, prices } = input;
  const bytes = { firstBytes: first.bytesPerSite, dailyBytes: daily.bytesPerSite };
  const month = useOf({ ...bytes, epochDays }, MONTH_DAYS);
  const year = useOf({ ...bytes, epochDays }, YEAR_DAYS);
  const own = links.siteBitsPerSecond.get(site);
  const stated: Prices = prices.get(site) ?? {};
  const { perGbMonth, perGbSent } = stated;
  return {
    site,
    ...bytes,
    keptBytesAfterMonth: month.keptBytes,
    keptBytesAfterYear: year.keptBytes,
    ...(own === undefined ? {} : { bitsPerSecond: own }),
    ...(perGbMonth === undefined ? {} : { pricePerGbMonth: perGbMonth }),
    ...(perGbSent === undefined ? {} : { pricePerGbSent: perGbSent }),
    firstMonth: costOf(month, stated),
    firstYear: costOf(year, stated),
  };
}

function moneyOf(sites: readonly SitePlan[]): Plan["money"] {
  const without = (price: "pricePerGbMonth" | "pricePerGbSent"): readonly string[] =>
    sites.flatMap((site) => (site[price] === undefined ? [site.site] : []));
  return {
    firstMonth: sumOf(sites.map(({ firstMonth }) => firstMonth)),
    firstYear: sumOf(sites.map(({ firstYear }) => firstYear)),
    storageNotStated: without("pricePerGbMonth"),
    trafficNotStated: without("pricePerGbSent"),
  };
}

/** What a plan rests on besides the options, as it is shown. */
export type PlanBasis = {
  /** Files and directories as they were found; absent for streams. */
  readonly files?: number;
  readonly directories?: number;
  readonly bytes: number;
  /** Absent when there was nothing to read: then content counts as if it did not compress. */
  readonly sample?: Sample;
  readonly changeFractionPerDay: number;
  readonly changeFrom: "assumed" | "stated" | "history";
  readonly history?: History;
};
