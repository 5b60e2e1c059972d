/** The recovery key in people: who brings it together, how many may be lost, and how long ago they showed it. */
import type { CustodyStatus } from "../governance/custody.ts";
import { formatAge, plural } from "./format.ts";

/** Longer than this no key holder should go without opening their kit. */
const CHECK_EVERY_DAYS = 365;
const DAY_MS = 86_400_000;

/** One or two sentences. */
export function custodyLines(status: CustodyStatus, now: Date): readonly string[] {
  const { k, n, holders } = status;
  if (n === 1) return ["One key file brings home back, under one passphrase: this is a trial."];
  const confirmed = holders.flatMap((holder) => (holder.confirmed ? [holder.confirmed] : []));
  const oldest = new Date(Math.min(...confirmed.map((time) => time.getTime())));
  const lost = n - k;
  return [
    `Any ${k} of these ${n} key holders bring home back; you can lose ${lost}; ${
      confirmed.length === 0
        ? "none has confirmed"
        : confirmed.length < n
          ? `${confirmed.length} of ${n} kits confirmed`
          : `last checked ${formatAge(oldest.toISOString(), now)}`
    }.`,
  ];
}

/** What needs a person. */
export function custodyNeeds({ k, n, holders }: CustodyStatus, now: Date): readonly string[] {
  if (n === 1) return [];
  const missing = holders.filter(({ confirmed }) => !confirmed);
  const old = holders.filter(
    ({ confirmed }) => confirmed && now.getTime() - confirmed.getTime() > CHECK_EVERY_DAYS * DAY_MS,
  );
  const named = (some: typeof holders): string =>
    some.map(({ number, office }) => `${number} (${office})`).join(", ");
  return [
    ...(missing.length > 0
      ? [
          `${n - missing.length} of ${n} kits confirmed${n - missing.length < k ? `, fewer than the ${k} that it takes` : ""}; not yet: ${named(missing)}: exclave keyholder request, abroad`,
        ]
      : []),
    ...(old.length > 0
      ? [
          `${plural(old.length, "key holder")} have not opened their kit for more than a year: ${named(old)}: exclave keyholder check`,
        ]
      : []),
  ];
}
