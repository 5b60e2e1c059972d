/** `keyholder reshare` and `keyholder rotate`: the recovery key divided anew. */
import { mkdir, readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { Command } from "commander";
import type { z } from "zod";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { give } from "../governance/carry-out.ts";
import { draftDecision } from "../governance/decide.ts";
import { divideKey } from "../governance/divide.ts";
import { foundingPlanSchema } from "../governance/found-state.ts";
import { openAllSites, publish, requireCurrent } from "../governance/ledger-at-sites.ts";
import { tableOf } from "./ceremony-table.ts";
import { openHome, withState } from "./context.ts";
import { plural } from "./format.ts";
import { sayProposed } from "./proposed.ts";
import { recoverySource } from "./recovery-source.ts";
import { collect } from "./register.ts";
import type { Terminal } from "./terminal.ts";

const PLAN_BYTES_MAX = 256 * 1024;
/** The key holders of a plan, and where the sites are, as a founding plan has them. */
const planSchema = foundingPlanSchema.pick({ keyHolders: true, sites: true, program: true });

const TEXTS = {
  reshare: {
    description: "divide the same recovery key among other people: one died, or left",
    revokes:
      "This revokes nothing: who kept an old share still has it, and the old kits together still open the key. If one was captured, rotate instead.",
  },
  rotate: {
    description: "make another recovery key: a share was captured, or too many were lost to trust",
    revokes:
      "Later epochs are closed to the old key. What was protected before can still be read with it by whoever gets enough sites to give it: dispersal and the release delay alone protect that.",
  },
} as const;

export function divideCommands(terminal: Terminal): readonly Command[] {
  return (["reshare", "rotate"] as const).map((purpose) =>
    new Command(purpose)
      .description(TEXTS[purpose].description)
      .option("--kit <file>", "a kit of the set in force; once for each who is there", collect, [])
      .option("--key <file>", "of a trial: the recovery key file")
      .option("--passphrase-file <file>", "its passphrase")
      .requiredOption(
        "--plan <file>",
        "who keeps the new shares: keyHolders as in `found --example-plan`",
      )
      .requiredOption("--ceremony <dir>", "where the new kits go")
      .option(
        "--passphrases <file>",
        "rehearse without people: write the new passphrases to this file",
      )
      .option(
        "--old-passphrases <file>",
        "rehearse without people: the passphrases of the kits in force",
      )
      .option("--out <file>", "where to write the decision")
      .action(async (flags: DivideFlags) => divide(terminal, purpose, flags)),
  );
}

type DivideFlags = {
  readonly kit: readonly string[];
  readonly key?: string;
  readonly passphraseFile?: string;
  readonly plan: string;
  readonly ceremony: string;
  readonly passphrases?: string;
  readonly oldPassphrases?: string;
  readonly out?: string;
};

async function divide(
  terminal: Terminal,
  purpose: "reshare" | "rotate",
  flags: DivideFlags,
): Promise<void> {
  const home = await openHome();
  const plan = await readDividePlan(flags.plan);
  const folder = resolve(flags.ceremony);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const table = tableOf(terminal, flags.passphrases);
  const { key, passphraseFile, oldPassphrases } = flags;
  const source = await recoverySource(terminal, {
    kit: flags.kit,
    ...(key === undefined ? {} : { key }),
    ...(passphraseFile === undefined ? {} : { passphraseFile }),
    ...(oldPassphrases === undefined ? {} : { passphrases: oldPassphrases }),
  });
  const now = new Date();
  const { kits, given, rewrapped } = await withState(home, async () => {
    const places = await openAllSites(home);
    await requireCurrent(home, places);
    const divided = await divideKey({
      home,
      places,
      purpose,
      secret: source.secretFor(home.charter.recovery.shares),
      opened: source.opened,
      threshold: plan.keyHolders.threshold,
      holders: plan.keyHolders.holders,
      plan,
      folder,
      table,
      now,
    });
    await publish(home, places);
    const reason = "The recovery key is divided anew";
    const grounds = { reason, citation: `none given; proposed with exclave keyholder ${purpose}` };
    // What one seat can decide alone waits all the same until every new holder has opened their kit.
    const given =
      divided.kits.receipts.length < plan.keyHolders.holders.length
        ? ({
            status: "proposed",
            decision: await draftDecision(home, divided.order, grounds, now),
          } as const)
        : await give(home, divided.order, grounds, now);
    return { ...divided, given };
  });
  terminal.notice(TEXTS[purpose].revokes);
  const n = plan.keyHolders.holders.length;
  const object = {
    purpose,
    ceremony: folder,
    transcript: kits.transcriptHash,
    keyHolders: { threshold: plan.keyHolders.threshold, of: n, confirmed: kits.receipts.length },
    rewrapped,
  };
  if (given.status === "proposed") {
    terminal.say(
      `The old kits count until the decision takes effect. Submit it when all ${n} holders have confirmed (${kits.receipts.length} have).`,
    );
    return sayProposed(terminal, home, given, object, flags.out);
  }
  terminal.result({ ...object, decision: given }, [
    `The recovery key is divided anew: any ${plan.keyHolders.threshold} of ${n} key holders; ${kits.receipts.length} have opened their kit.`,
    ...(purpose === "rotate" ? [`${plural(rewrapped, "epoch key")} wrapped to the new key.`] : []),
    `Kits, pages and watch are in ${folder}: print, seal, and take them out of the room.`,
  ]);
}

async function readDividePlan(file: string): Promise<z.infer<typeof planSchema>> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new ExclaveError("usage", `the plan ${file} cannot be read`, { cause });
  });
  const json = parseStrictJson(bytes, { bytesMax: PLAN_BYTES_MAX });
  // A whole founding plan will do as well.
  const parsed = planSchema.strip().safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new ExclaveError(
    "usage",
    `${file}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`,
  );
}
