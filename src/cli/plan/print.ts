/** A plan for the person who has to order a line, sign for money, or send a courier. */
import { formatBytes, formatSeconds, plural } from "../format.ts";
import { alignTable, type Page } from "../page.ts";
import { formatLink } from "../trial/link.ts";
import type { Cost } from "./money.ts";
import type { Plan } from "./plan.ts";
import { hoursShown, moment, type PlanReport, turns } from "./sentences.ts";

const DAY_SECONDS = 86_400;

export function printPlan(page: Page, report: PlanReport): void {
  const { first, daily, link, sites } = report;
  page.text(report.sentence);
  page.gap();
  const row = (name: string, of: (volume: Plan["first"] | Plan["daily"]) => string) =>
    [name, of(first), of(daily)] as const;
  const nights = first.nights === undefined ? "never" : turns(report);
  page.lines(
    alignTable([
      ["", report.recoveryPoints === 0 ? "first protect" : "new epoch", "each day"],
      row("content", ({ contentBytes }) => formatBytes(contentBytes)),
      row("compressed and sealed", ({ storedBytes }) => formatBytes(storedBytes)),
      row("padded", ({ packBytes }) => formatBytes(packBytes)),
      row("to each site", ({ bytesPerSite }) => formatBytes(bytesPerSite)),
      row(`to ${plural(sites.length, "site")}`, ({ totalBytes }) => formatBytes(totalBytes)),
      row("sending takes", ({ seconds }) => formatSeconds(seconds)),
      ["within its hours", nights, daily.fits ? "fits" : "does NOT fit"],
    ]),
  );
  page.gap();
  page.text(
    `Over ${formatLink(link.bitsPerSecond)}, ${hoursShown(report)}: ${formatSeconds(report.secondsPerDay)} a day.`,
  );
  if (!daily.fits) {
    page.alarm(
      `A day's change takes ${formatSeconds(daily.seconds)} to send, and a day has ${formatSeconds(report.secondsPerDay)} of the link: the recovery point would fall behind, further every day, for ever. It needs ${formatLink(daily.neededBitsPerSecond)} from home and ${formatLink(daily.neededBitsPerSecondPerSite)} to each site.`,
    );
  }
  page.text(report.recommendation);
  printMoney(page, report);
  printPouch(page, report);
  page.heading("What this rests on");
  for (const assumption of report.assumptions) page.text(assumption);
  page.text("Nothing was written or sent.");
}

function printMoney(page: Page, { sites, money, currency }: PlanReport): void {
  const { storageNotStated, trafficNotStated } = money;
  page.heading("Kept at each site, and money");
  const isPriced = storageNotStated.length < sites.length || trafficNotStated.length < sites.length;
  const amount = (value: number | undefined): string =>
    value === undefined ? "–" : value.toFixed(2);
  const costs = (month: Cost, year: Cost): readonly string[] =>
    isPriced ? [month.total, year.storage, year.traffic, year.total].map(amount) : [];
  page.lines(
    alignTable([
      [
        "site",
        "after a month",
        "after a year",
        ...(isPriced ? ["first month", "storage", "traffic", "first year"] : []),
      ],
      ...sites.map(({ site, keptBytesAfterMonth, keptBytesAfterYear, firstMonth, firstYear }) => [
        site,
        formatBytes(keptBytesAfterMonth),
        formatBytes(keptBytesAfterYear),
        ...costs(firstMonth, firstYear),
      ]),
      ...(isPriced ? [["all", "", "", ...costs(money.firstMonth, money.firstYear)]] : []),
    ]),
  );
  page.gap();
  const all = (some: readonly string[]): string =>
    some.length === sites.length ? "any site" : some.join(", ");
  if (storageNotStated.length > 0) {
    page.text(
      `What keeping costs is not stated for ${all(storageNotStated)} (--price SITE=PRICE, for a GB and month).`,
    );
  }
  if (trafficNotStated.length > 0) {
    page.text(
      `What sending costs is not stated for ${all(trafficNotStated)} (--traffic-price SITE=PRICE, for a GB).`,
    );
  }
  if (isPriced) {
    page.text(
      currency === undefined
        ? "In which currency was not stated (--currency)."
        : `All amounts in ${currency}; storage and traffic are of the first year.`,
    );
  }
}

function printPouch(page: Page, report: PlanReport): void {
  const { pouch, sites, first, sooner } = report;
  page.heading("By pouch instead");
  page.text(
    `${plural(pouch.mediaPerSite, "medium", "media")} of ${formatBytes(pouch.mediumBytes)} for each site ` +
      `(${formatBytes(first.bytesPerSite)}), ${plural(pouch.media, "medium", "media")} for ${plural(sites.length, "site")}; ` +
      `there on ${moment(pouch.arrivesAt, report)} with a courier of ${plural(pouch.courierSeconds / DAY_SECONDS, "day")}, ` +
      `copying not counted. The ${sooner} is sooner.`,
  );
}
