/** The people around the table, at a terminal; or a file of passphrases, for rehearsals and machines. */
import { appendFile, writeFile } from "node:fs/promises";
import { stderr, stdin } from "node:process";
import { ExclaveError } from "../errors.ts";
import type { Table } from "../governance/ceremony.ts";
import { ask, askHidden } from "./passphrase.ts";
import type { Terminal } from "./terminal.ts";

const CLEAR = "\x1b[2J\x1b[3J\x1b[H";
/** Mistypings before the ceremony is broken off. */
const TRIES_MAX = 5;
/** Of a second passphrase, which people choose: with it too a stolen kit is open. */
const SECOND_LENGTH_MIN = 16;

/** The table of a ceremony: at the terminal, or without people when a file takes the passphrases. */
export function tableOf(terminal: Terminal, passphrasesFile: string | undefined): Table {
  return passphrasesFile === undefined
    ? terminalTable(terminal)
    : fileTable(terminal, passphrasesFile);
}

function terminalTable(terminal: Terminal): Table {
  if (!stdin.isTTY) {
    throw new ExclaveError(
      "usage",
      "a ceremony needs people at a terminal. To rehearse it without them: --passphrases FILE",
    );
  }
  return {
    onStep: (step) => terminal.say(`  … ${step}`),
    give: async (who, passphrase) => {
      stderr.write(`\nFor ${who}. Everybody else looks away.\n\n    ${passphrase}\n\n`);
      stderr.write("Write it on the card, letter by letter. It is shown once and kept nowhere.\n");
      await ask("Press Enter when it is written; the screen is cleared. ");
      stderr.write(CLEAR);
      await typeBack(who, passphrase);
      if (!who.startsWith("key holder")) return {};
      stderr.write(
        "You may agree a second passphrase for duress. It opens the kit like the first, and who watches abroad sees\nthat it was used.\n",
      );
      const second = await secondPassphrase(passphrase);
      // What was asked for would show the next person who chose one.
      stderr.write(CLEAR);
      return second;
    },
    typeAgain: async (holder, office) => {
      stderr.write(`\nKey holder ${holder}, ${office}: open the kit once, as on the worst day.\n`);
      const typed = await askHidden("Passphrase or age identity (Enter to do it later): ");
      return typed === "" ? undefined : typed;
    },
  };
}

/** A second passphrase, typed twice: who was forced, and mistyped it here, would have none. */
async function secondPassphrase(first: string): Promise<{ readonly duressPassphrase?: string }> {
  for (;;) {
    const second = await askHidden("Second passphrase (Enter for none): ");
    if (second === "") return {};
    if (second === first) stderr.write("It has to be another one than the first.\n");
    else if (second.length < SECOND_LENGTH_MIN) {
      stderr.write(`It opens the kit as well: at least ${SECOND_LENGTH_MIN} characters.\n`);
    } else if ((await askHidden("The same again: ")) === second)
      return { duressPassphrase: second };
    else stderr.write("These two differ.\n");
  }
}

async function typeBack(who: string, passphrase: string): Promise<void> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    if ((await askHidden(`Type it from the card, ${who}: `)) === passphrase) return;
    stderr.write("That is not it. Look at the card again; mind upper and lower case.\n");
  }
  throw new ExclaveError(
    "usage",
    "the passphrase on the card is not the one that was shown. Nothing counts; begin the ceremony again",
  );
}

/** Passphrases go into a file, one a line with whose it is; holders open their kits at once. */
function fileTable(terminal: Terminal, file: string): Table {
  const given = new Map<string, string>();
  let begun = false;
  return {
    onStep: (step) => terminal.say(`  … ${step}`),
    give: async (who, passphrase) => {
      if (!begun) await begin(file);
      begun = true;
      await appendFile(file, `${passphrase}\t${who}\n`);
      given.set(who, passphrase);
      return {};
    },
    typeAgain: async (holder, office) => given.get(`key holder ${holder}, ${office}`),
  };
}

async function begin(file: string): Promise<void> {
  try {
    await writeFile(file, "", { flag: "wx", mode: 0o600 });
  } catch (cause) {
    throw new ExclaveError("usage", `${file} cannot be written: ${String(cause)}`, { cause });
  }
}
