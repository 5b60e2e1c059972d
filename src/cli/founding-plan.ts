/** The plan of a ceremony: read from a file, or asked for at a terminal and written to one. */
import { readFile } from "node:fs/promises";
import { stderr } from "node:process";
import { seatsOf } from "../charter/presets.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { type FoundingPlan, foundingPlanSchema } from "../governance/found-state.ts";
import { ask } from "./passphrase.ts";

const PLAN_BYTES_MAX = 256 * 1024;

/** Reads a plan. Throws `usage`, naming what is wrong in it. */
export async function readPlan(file: string): Promise<FoundingPlan> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new ExclaveError("usage", `the plan ${file} cannot be read`, { cause });
  });
  return checkPlan(parseStrictJson(bytes, { bytesMax: PLAN_BYTES_MAX }), file);
}

function checkPlan(json: unknown, from: string): FoundingPlan {
  const parsed = foundingPlanSchema.safeParse(json);
  if (parsed.success) {
    const { threshold, holders } = parsed.data.keyHolders;
    if (threshold <= holders.length) return parsed.data;
    throw new ExclaveError(
      "usage",
      `${from}: ${threshold} key holders are needed, and there are ${holders.length}`,
    );
  }
  const [issue] = parsed.error.issues;
  throw new ExclaveError(
    "usage",
    `${from}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}. \`exclave found --example-plan\` prints one that is complete`,
    { cause: parsed.error },
  );
}

/** Asks for a plan, question by question. */
export async function askPlan(preset: FoundingPlan["preset"]): Promise<FoundingPlan> {
  const state = await ask("The State's name, for instance Belize: ");
  const country = await ask("Its country, ISO 3166 letters, for instance BZ: ");
  const threshold = Number(
    (await ask("How many key holders together bring the State back? [3] ")) || 3,
  );
  const count = Number((await ask("Of how many in all? [5] ")) || 5);
  const holders = [];
  for (let i = 1; i <= count; i++) {
    stderr.write(`\nKey holder ${i} of ${count}. Choose people who do not travel together.\n`);
    holders.push({
      name: await ask("  Name (it goes into the sealed annex only): "),
      office: await ask("  Office, as it stands on the kit: "),
      jurisdiction: (await ask(`  Country where they live [${country}]: `)) || country,
    });
  }
  const seatCount = Number(
    (await ask(`\nHow many seats sign decisions? [${seatsOf(preset)}] `)) || seatsOf(preset),
  );
  const seats = [];
  for (let i = 1; i <= seatCount; i++) {
    stderr.write(`\nSeat ${i} of ${seatCount}.\n`);
    const card = await ask("  Card file of `exclave signatory new` (Enter: make the key here): ");
    seats.push({
      name: `seat-${i}`,
      office: await ask("  Office: "),
      institution: await ask("  Institution: "),
      jurisdiction:
        (await ask(`  Country whose law the holder is under [${country}]: `)) || country,
      people: [
        {
          name: await ask("  Holder's name (sealed annex only): "),
          ...(card === "" ? {} : { card }),
        },
      ],
    });
  }
  return checkPlan(
    { state, country, preset, keyHolders: { threshold, holders }, seats },
    "what was typed",
  );
}

/** A plan that is complete, to begin from. */
export const EXAMPLE_PLAN: FoundingPlan = {
  state: "Belize",
  country: "BZ",
  preset: "state",
  keyHolders: {
    threshold: 3,
    holders: [
      { name: "Person A", office: "Chief Justice", jurisdiction: "BZ" },
      { name: "Person B", office: "Auditor General", jurisdiction: "BZ" },
      { name: "Person C", office: "Registrar General", jurisdiction: "BZ" },
      { name: "Person D", office: "Ambassador to Luxembourg", jurisdiction: "LU" },
      { name: "Person E", office: "Ambassador to Estonia", jurisdiction: "EE" },
    ],
  },
  seats: [
    seat("prime-minister", "Prime Minister", "Office of the Prime Minister", "BZ", "Person F"),
    seat("opposition", "Leader of the Opposition", "National Assembly", "BZ", "Person G"),
    seat("chief-justice", "Chief Justice", "Supreme Court", "BZ", "Person A"),
    seat("high-commissioner", "High Commissioner", "High Commission in London", "GB", "Person H"),
    seat("ambassador", "Ambassador", "Embassy in Luxembourg", "LU", "Person D"),
  ],
  sites: [
    { name: "lu", country: "LU", operator: "Luxembourg State", where: "Data centre, Bissen" },
  ],
};

/** A seat with one person, as plans have it. */
export function seat(
  name: string,
  office: string,
  institution: string,
  jurisdiction: string,
  holder: string,
): FoundingPlan["seats"][number] {
  return { name, office, institution, jurisdiction, people: [{ name: holder }] };
}
