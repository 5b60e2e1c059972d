import { Command } from "commander";
import { frozenUntil } from "../charter/assess.ts";
import { standings } from "../charter/history.ts";
import { isExclaveError } from "../errors.ts";
import { custodyStatus } from "../governance/custody.ts";
import { openAllSites, requireCurrent } from "../governance/ledger-at-sites.ts";
import { witnessNeeds } from "../governance/witnessing.ts";
import { verifyCheckpoint } from "../ledger/checkpoint.ts";
import { rootOf } from "../registers/snapshots.ts";
import type { Catalog } from "../vault/catalog.ts";
import type { Home, RegisterConfig } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import { isOpen, openSites } from "../vault/open-sites.ts";
import { withHome } from "./context.ts";
import { custodyLines, custodyNeeds } from "./custody-lines.ts";
import { formatAge, formatTime, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";

type RegisterStatus = {
  readonly name: string;
  readonly recoveryPoints: number;
  readonly newest?: { readonly id: string; readonly time: string; readonly complete: boolean };
  readonly sitesAnswering: number;
  readonly sites: number;
  readonly threshold: number;
  /** Sites that enforce the charter; the others only store. */
  readonly enforcing: number;
  /**
   * Sites that may be lost now before something is; negative when something cannot be had. Absent without a
   * recovery point.
   */
  readonly survives?: number;
  readonly lastCheck?: {
    readonly time: string;
    readonly full: boolean;
    readonly good: boolean;
    readonly survives: number;
  };
  /** What needs a person, in sentences. */
  readonly needs: readonly string[];
};

export const statusCommand: MakeCommand = (terminal) =>
  new Command("status")
    .description("one sentence first, then only what needs a person")
    .action(async () => {
      const now = new Date();
      const {
        name,
        ledgerNeeds,
        unwitnessed,
        clock,
        charter,
        custody,
        declared,
        registers,
        debts,
      } = await withHome(async (home, catalog) => ({
        name: home.charter.name,
        ledgerNeeds: await ledgerNeedsOf(home),
        unwitnessed: await witnessNeeds(home),
        clock: await clockNeeds(home, now),
        charter: charterStatus(home, now),
        custody: await custodyStatus(home),
        declared: declaredOnly(home),
        registers: await Promise.all(
          home.config.registers.map((register) => registerStatus(home, catalog, register, now)),
        ),
        debts: catalog.debts(),
      }));
      const needs = [
        ...ledgerNeeds,
        ...unwitnessed,
        ...clock,
        ...registers.flatMap((register) => register.needs),
        ...declared.map(
          ({ name: one }) =>
            `${one} is vital, and nothing protects it: exclave register add ${one}`,
        ),
        ...custodyNeeds(custody, now),
        ...charter.needs,
        ...debts.map(
          ({ site, shards }) => `site ${site} lacks ${plural(shards, "shard")} that it should have`,
        ),
        ...(registers.length === 0 ? ["no register is protected yet: exclave register add"] : []),
      ];
      const sentence =
        needs.length === 0
          ? `${name}: ${registers.length === 1 ? "its register is" : `all ${registers.length} registers are`} protected, every site answers.`
          : `${name}: ${plural(needs.length, "thing")} to see to.`;
      terminal.result(
        {
          state: name,
          good: needs.length === 0,
          charter,
          custody,
          registers,
          declared,
          debts,
          needs,
        },
        [
          sentence,
          ...needs.map((need) => `  - ${need}`),
          ...registers.map((register) => `  ${registerLine(register, now)}`),
          ...custodyLines(custody, now).map((line) => `  ${line}`),
          ...charter.lines.map((line) => `  ${line}`),
        ],
      );
    });

/** Why this home could not write, though everything in it looks well; and which sites it passes by, and why. */
async function ledgerNeedsOf(home: Home): Promise<readonly string[]> {
  const needs: string[] = [];
  try {
    await requireCurrent(home, await openAllSites(home), (notice) => needs.push(notice));
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    needs.push(error.message.replace(/\.? Nothing was (written|changed)$/, ""));
  }
  return needs;
}

/** So much may clocks differ before it is worth a word. */
const CLOCK_MS = 300_000;

/** The ledger's time never goes back: what a clock that was ahead has signed, later entries wait for. */
async function clockNeeds(home: Home, now: Date): Promise<readonly string[]> {
  const ahead = await home.withLedger((log) => {
    const latest = log.latest();
    if (!latest) return 0;
    return verifyCheckpoint(latest.checkpoint, log.keys).seconds * 1000 - now.getTime();
  });
  if (ahead < CLOCK_MS) return [];
  const until = formatTime(new Date(now.getTime() + ahead).toISOString());
  return [
    `home's clock is behind its ledger, which is at ${until}: until then no decision takes effect. Set the clock right; if it was ahead before, only a recovery begins anew`,
  ];
}

/** Registers that the State declared vital, and that no site keeps. */
function declaredOnly(home: Home): readonly { readonly name: string }[] {
  const bare = new Set(
    home.charter.registers.filter(({ sites }) => sites.length === 0).map(({ id }) => id),
  );
  return home.config.inventory.filter(({ id }) => bare.has(id)).map(({ name }) => ({ name }));
}

type CharterStatus = {
  readonly version: number;
  readonly preset: string;
  readonly term: number;
  /** Decisions that are not in effect yet. */
  readonly open: number;
  readonly needs: readonly string[];
  readonly lines: readonly string[];
};

/** The charter, as far as somebody should know of it today. */
function charterStatus(home: Home, now: Date): CharterStatus {
  const { charter, known } = home;
  const { constitution, version, term } = charter;
  const open = [...standings({ ...known.history, now }).values()].filter(({ status }) =>
    ["unsigned", "signed", "waiting", "frozen", "ripe"].includes(status),
  ).length;
  const vacant = constitution.seats.filter(({ until }) => Date.parse(until) <= now.getTime());
  const frozen = frozenUntil({ ...known.history, now }, charter);
  const replaced = known.history.history.some(
    (one) => one.charter.recovery.kem !== charter.recovery.kem,
  );
  return {
    version,
    preset: constitution.preset,
    term,
    open,
    needs: [
      ...(Date.parse(charter.review) <= now.getTime()
        ? [
            "the charter is due for review; until then nothing is destroyed: exclave decide propose amend --review DATE",
          ]
        : []),
      ...(known.history.quarantined.length > 0
        ? [
            `${plural(known.history.quarantined.length, "entry", "entries")} of the ledger ${known.history.quarantined.length === 1 ? "counts" : "count"} for nothing: exclave decide list`,
          ]
        : []),
      ...vacant.map(({ office }) => `the seat of ${office} is vacant`),
      ...(frozen
        ? [
            `decisions are frozen until ${formatTime(frozen.toISOString())}, everyday ones aside: exclave decide list`,
          ]
        : []),
    ],
    lines: [
      ...(constitution.preset === "trial"
        ? []
        : [
            `${constitution.seats.length} seats decide (preset ${constitution.preset}), charter version ${version}${open > 0 ? `; ${plural(open, "decision")} not in effect yet: exclave decide list` : ""}`,
          ]),
      ...(replaced
        ? [
            "the recovery key was replaced: what was protected before, the old one still opens for whoever gets enough sites to give it; dispersal and the release delay alone protect that",
          ]
        : []),
    ],
  };
}

async function registerStatus(
  home: Home,
  catalog: Catalog,
  register: RegisterConfig,
  now: Date,
): Promise<RegisterStatus> {
  const id = parseId("RegisterId", register.id);
  const snapshots = catalog.snapshots(id);
  const [newest] = snapshots;
  const places = await openSites(home, register);
  const answering = places.filter(isOpen).length;
  const silent = places.flatMap((place, index) => (isOpen(place) ? [] : [index]));
  const survives = answering - catalog.mostOwed(id, silent) - register.k;
  const check = catalog.latestCheck(id);
  const lastCheck = check && { time: check.time, ...JSON.parse(check.result) };
  const complete = newest ? rootOf(newest).complete : false;
  const bearable = home.config.inventory.find((one) => one.id === register.id);
  const { name, k } = register;
  const needs: string[] = [];
  if (!newest) needs.push(`${name} has no recovery point: exclave protect ${name}`);
  else if (!complete)
    needs.push(`the newest recovery point of ${name} is incomplete: something could not be read`);
  if (newest && isOlder(newest.time, bearable?.recoveryPointSeconds, now)) {
    needs.push(
      `the newest recovery point of ${name}, ${formatAge(newest.time, now)}, is older than the State said that it could bear: exclave protect ${name}`,
    );
  }
  for (const place of places) if (!isOpen(place)) needs.push(`${name}: ${place.problem}`);
  if (answering < k)
    needs.push(`${name} cannot be restored now: ${answering} of the ${k} sites it needs answer`);
  if (newest && !lastCheck) needs.push(`${name} was never checked: exclave check ${name}`);
  if (newest && catalog.openedWrap(id, newest.epoch) === undefined) {
    needs.push(
      `nobody has seen the recovery key open ${name} yet: exclave check ${name} ${home.charter.recovery.shares.n > 1 ? "--kit FILE…" : "--recovery-key FILE"}`,
    );
  }
  if (lastCheck && !lastCheck.good) {
    needs.push(
      `the check of ${name} ${formatAge(lastCheck.time, now)} found damage: exclave check ${name} --full`,
    );
  }
  return {
    name,
    recoveryPoints: snapshots.length,
    ...(newest ? { newest: { id: newest.id, time: newest.time, complete } } : {}),
    sitesAnswering: answering,
    sites: places.length,
    threshold: k,
    enforcing: enforcingSites(home, register),
    ...(newest ? { survives } : {}),
    ...(lastCheck ? { lastCheck } : {}),
    needs,
  };
}

/** Sites of a register that have a key in the charter: they follow it by themselves. */
function enforcingSites({ charter }: Home, register: RegisterConfig): number {
  return charter.sites.filter(
    ({ name, signing }) => signing !== undefined && register.sites.includes(name),
  ).length;
}

function isOlder(time: string, seconds: number | undefined, now: Date): boolean {
  return seconds !== undefined && now.getTime() - Date.parse(time) > seconds * 1000;
}

function registerLine(register: RegisterStatus, now: Date): string {
  const { name, newest, lastCheck, sitesAnswering, sites, threshold, enforcing } = register;
  const point = newest
    ? `newest recovery point ${formatAge(newest.time, now)}`
    : "no recovery point";
  const checked = lastCheck
    ? `checked ${formatAge(lastCheck.time, now)}, ${lastCheck.full ? "in full" : "by sample"}`
    : "never checked";
  const kinds =
    enforcing === sites
      ? "all enforce the charter"
      : `${enforcing} of ${sites} enforce the charter, the others only store`;
  const lose =
    register.survives === undefined
      ? ""
      : register.survives < 0
        ? "; SOMETHING CANNOT BE HAD NOW"
        : `; as it lies now, any ${register.survives} more may be lost`;
  return `${name}: ${point}; ${sitesAnswering} of ${sites} sites answer, any ${threshold} bring it back${lose}; ${kinds}; ${checked}`;
}
