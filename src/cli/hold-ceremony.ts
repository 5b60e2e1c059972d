/** `found` as a ceremony: the plan, the signing keys of the seats, the kits, and what to do with all of it. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { toBase64 } from "../crypto/bytes.ts";
import { generatePassphrase } from "../crypto/key-file.ts";
import { fingerprint } from "../custody/kit.ts";
import { ExclaveError } from "../errors.ts";
import type { Table } from "../governance/ceremony.ts";
import { type FoundingPlan, foundState } from "../governance/found-state.ts";
import { newSignatoryKey, readCard } from "../governance/signatory-key.ts";
import { refuseExistingHome } from "../vault/home.ts";
import { writeKeyFile } from "../vault/key-files.ts";
import { tableOf } from "./ceremony-table.ts";
import { homePath } from "./context.ts";
import { plural } from "./format.ts";
import { askPlan, readPlan } from "./founding-plan.ts";
import type { Terminal } from "./terminal.ts";

const SEAT_YEARS = 5;
const YEAR_MS = 365 * 86_400_000;

export type CeremonyFlags = {
  readonly preset?: "trial" | "pilot" | "state";
  readonly ceremony?: string;
  readonly plan?: string;
  readonly passphrases?: string;
};

export async function holdCeremony(terminal: Terminal, flags: CeremonyFlags): Promise<void> {
  if (flags.ceremony === undefined) {
    throw new ExclaveError("usage", "give --ceremony DIR: where kits, pages and transcript go");
  }
  await refuseExistingHome(homePath());
  const folder = resolve(flags.ceremony);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const table = tableOf(terminal, flags.passphrases);
  const plan = await planOf(flags, folder);
  const now = new Date();
  const seatKeys = await signingKeys(plan, flags.plan, folder, table, now);
  const { home, kits, confirmed } = await foundState({
    home: homePath(),
    plan,
    seatKeys,
    folder,
    table,
    now,
  });
  const { holders, threshold } = plan.keyHolders;
  terminal.result(
    {
      state: home.state,
      name: plan.state,
      fingerprint: fingerprint(home.state),
      home: home.path,
      ceremony: folder,
      keyHolders: { threshold, of: holders.length, confirmed },
      transcript: kits.transcriptHash,
    },
    [
      `${plan.state} is founded. Any ${threshold} of its ${holders.length} key holders bring it back; ${confirmed} have opened their kit.`,
      "",
      `  State id      ${home.state}`,
      `  fingerprint   ${fingerprint(home.state)}`,
      `  home          ${home.path}`,
      `  ceremony      ${folder}`,
      `  transcript    SHA-256 ${kits.transcriptHash}`,
      "",
      "Now, before anybody leaves the room:",
      "  1. Read the fingerprint aloud; everybody writes it down. It is on every page.",
      "  2. Print each page of kits/ twice; each key holder seals both, and takes the kit's file on a stick.",
      "  3. Each seat takes its key and card of signing-keys/ on a stick: without them nothing can be decided.",
      "  4. watch.age and its passphrase go abroad, to who is to notice duress. Never keep them at home.",
      "  5. When all of that is done, destroy what the folder of the ceremony lies on.",
      ...(confirmed === holders.length
        ? []
        : [
            "",
            `${plural(holders.length - confirmed, "kit")} still to be opened once: exclave keyholder request --help`,
          ]),
      "",
      "Next: exclave site add NAME --country CC --directory DIR     (a decision: the seats sign it)",
    ],
  );
}

async function planOf(flags: CeremonyFlags, folder: string): Promise<FoundingPlan> {
  if (flags.plan !== undefined) {
    const plan = await readPlan(flags.plan);
    if (flags.preset === undefined || flags.preset === plan.preset) return plan;
    throw new ExclaveError("usage", `the plan says preset ${plan.preset}, not ${flags.preset}`);
  }
  const plan = await askPlan(flags.preset === "pilot" ? "pilot" : "state");
  await writeFile(join(folder, "plan.json"), `${JSON.stringify(plan, undefined, 2)}\n`);
  return plan;
}

/** The signing keys of all seats: from cards, or made at the table. */
async function signingKeys(
  plan: FoundingPlan,
  planFile: string | undefined,
  folder: string,
  table: Table,
  now: Date,
): Promise<readonly (readonly string[])[]> {
  const all: string[][] = [];
  for (const seat of plan.seats) {
    const keys: string[] = [];
    for (const [i, { name, card }] of seat.people.entries()) {
      if (card === undefined) {
        keys.push(await makeKey(seat, i, name, folder, table, now));
        continue;
      }
      const file = resolve(planFile === undefined ? "." : dirname(planFile), card);
      const bytes = await readFile(file).catch((cause: unknown) => {
        throw new ExclaveError("usage", `the card ${file} of seat ${seat.name} cannot be read`, {
          cause,
        });
      });
      keys.push(readCard(bytes).card.key);
    }
    all.push(keys);
  }
  return all;
}

async function makeKey(
  seat: FoundingPlan["seats"][number],
  position: number,
  name: string,
  folder: string,
  table: Table,
  now: Date,
): Promise<string> {
  const passphrase = generatePassphrase();
  await table.give(`seat ${seat.name}, ${seat.office}`, passphrase);
  const { office, institution, jurisdiction } = seat;
  const end =
    seat.until ?? new Date(now.getTime() + SEAT_YEARS * YEAR_MS).toISOString().slice(0, 10);
  const until = `${end}T00:00:00Z`;
  const made = await newSignatoryKey(
    { name, office, institution, jurisdiction, until },
    { passphrase, ...(table.workFactor === undefined ? {} : { workFactor: table.workFactor }) },
  );
  const files = join(folder, "signing-keys");
  await mkdir(files, { recursive: true, mode: 0o700 });
  const file = position === 0 ? seat.name : `${seat.name}-deputy-${position}`;
  await writeKeyFile(join(files, `${file}.age`), made.keyFile);
  await writeKeyFile(join(files, `${file}.card.json`), made.card);
  table.onStep(`the signing key of ${seat.office} is made`);
  return toBase64(readCard(made.card).key.bytes);
}
