import { Command } from "commander";
import { rootOf } from "../registers/snapshots.ts";
import type { Catalog } from "../vault/catalog.ts";
import type { Home, RegisterConfig } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import { isOpen, openSites } from "../vault/open-sites.ts";
import { withHome } from "./context.ts";
import { formatAge, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";

type RegisterStatus = {
  readonly name: string;
  readonly recoveryPoints: number;
  readonly newest?: { readonly id: string; readonly time: string; readonly complete: boolean };
  readonly sitesAnswering: number;
  readonly sites: number;
  readonly threshold: number;
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
      const { name, registers, debts } = await withHome(async (home, catalog) => ({
        name: home.charter.name,
        registers: await Promise.all(
          home.config.registers.map((register) => registerStatus(home, catalog, register, now)),
        ),
        debts: catalog.debts(),
      }));
      const needs = [
        ...registers.flatMap((register) => register.needs),
        ...debts.map(
          ({ site, shards }) => `site ${site} lacks ${plural(shards, "shard")} that it should have`,
        ),
        ...(registers.length === 0 ? ["no register is protected yet: exclave register add"] : []),
      ];
      const sentence =
        needs.length === 0
          ? `${name}: ${registers.length === 1 ? "its register is" : `all ${registers.length} registers are`} protected, every site answers.`
          : `${name}: ${plural(needs.length, "thing")} to see to.`;
      terminal.result({ state: name, good: needs.length === 0, registers, debts, needs }, [
        sentence,
        ...needs.map((need) => `  - ${need}`),
        ...registers.map((register) => `  ${registerLine(register, now)}`),
      ]);
    });

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
  const check = catalog.latestCheck(id);
  const lastCheck = check && { time: check.time, ...JSON.parse(check.result) };
  const complete = newest ? rootOf(newest).complete : false;
  const { name, k } = register;
  const needs: string[] = [];
  if (!newest) needs.push(`${name} has no recovery point: exclave protect ${name}`);
  else if (!complete)
    needs.push(`the newest recovery point of ${name} is incomplete: something could not be read`);
  for (const place of places) if (!isOpen(place)) needs.push(`${name}: ${place.problem}`);
  if (answering < k)
    needs.push(`${name} cannot be restored now: ${answering} of the ${k} sites it needs answer`);
  if (newest && !lastCheck) needs.push(`${name} was never checked: exclave check ${name}`);
  if (newest && catalog.openedWrap(id, newest.epoch) === undefined) {
    needs.push(
      `nobody has seen the recovery key open ${name} yet: exclave check ${name} --recovery-key FILE`,
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
    ...(lastCheck ? { lastCheck } : {}),
    needs,
  };
}

function registerLine(register: RegisterStatus, now: Date): string {
  const { name, newest, lastCheck, sitesAnswering, sites, threshold } = register;
  const point = newest
    ? `newest recovery point ${formatAge(newest.time, now)}`
    : "no recovery point";
  const checked = lastCheck
    ? `checked ${formatAge(lastCheck.time, now)}, ${lastCheck.full ? "in full" : "by sample"}`
    : "never checked";
  return `${name}: ${point}; ${sitesAnswering} of ${sites} sites answer, any ${threshold} bring it back; ${checked}`;
}
