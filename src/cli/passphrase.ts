/** Passphrases: from a file, or typed twice or once at a terminal. Never from an argument. */
import { readFile } from "node:fs/promises";
import { stderr, stdin } from "node:process";
import { createInterface } from "node:readline/promises";
import { setImmediate } from "node:timers/promises";
import { generatePassphrase } from "../crypto/key-file.ts";
import { ExclaveError } from "../errors.ts";

/** Below this a passphrase is refused where a key is made: it would be the weakest link by far. */
const LENGTH_MIN = 8;
/** How often a new passphrase may be mistyped before it is forgotten. */
const TYPING_TRIES = 3;

export async function newPassphrase(file: string | undefined): Promise<string> {
  if (file !== undefined) return longEnough(await fromFile(file));
  const first = longEnough(await askHidden("Passphrase for the new key file: "));
  if ((await askHidden("The same again: ")) === first) return first;
  throw new ExclaveError("usage", "the two passphrases differ. Nothing was made; run it again");
}

export async function knownPassphrase(file: string | undefined): Promise<string> {
  return file === undefined ? askHidden("Passphrase of the key file: ") : fromFile(file);
}

/**
 * A passphrase that is made here, shown this once, and typed in again from paper before anything is made with
 * it. Throws `usage` without a terminal, and when it was not written down rightly.
 */
export async function generatedPassphrase(): Promise<string> {
  if (!stdin.isTTY) {
    throw new ExclaveError(
      "usage",
      "no terminal to show a new passphrase at. Nothing was made; run it at a terminal, or give --passphrase-file FILE",
    );
  }
  const passphrase = generatePassphrase();
  stderr.write(`
This passphrase opens the new key. It is shown this once; write it on paper now:

    ${passphrase}

`);
  for (let tries = 0; tries < TYPING_TRIES; tries++) {
    const typed = await askHidden("Type it in from the paper: ");
    if (typed.trim().toLowerCase() === passphrase) return passphrase;
    stderr.write("That is another one.\n");
  }
  throw new ExclaveError(
    "usage",
    "the passphrase was not typed as it was shown. Nothing was made; run it again, and another one is made",
  );
}

/** True when the person at the terminal answers "yes". Throws `usage` without a terminal. */
export async function confirmed(question: string, without: string): Promise<boolean> {
  if (!stdin.isTTY) throw new ExclaveError("usage", without);
  return (await ask(question)).toLowerCase() === "yes";
}

/** Asks a question that is no secret. Throws `interrupted` for Ctrl-C. */
export async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: stdin, output: stderr });
  const stopped = new AbortController();
  lines.once("close", () => stopped.abort());
  try {
    return (await lines.question(question, { signal: stopped.signal })).trim();
  } catch (cause) {
    if (!stopped.signal.aborted) throw cause;
    throw new ExclaveError("interrupted", "stopped; nothing was changed", { cause });
  } finally {
    lines.close();
  }
}

/** The first line of a file that holds an age identity, comments aside, as `age-keygen` writes it. */
export async function identityFrom(file: string): Promise<string> {
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new ExclaveError("usage", `the identity file ${file} cannot be read`, { cause });
  });
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  return lines.find((line) => line !== "" && !line.startsWith("#")) ?? "";
}

function longEnough(passphrase: string): string {
  if (passphrase.length >= LENGTH_MIN) return passphrase;
  throw new ExclaveError(
    "usage",
    `a passphrase has at least ${LENGTH_MIN} characters. Nothing was made`,
  );
}

/** The first line of a file. */
async function fromFile(file: string): Promise<string> {
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new ExclaveError("usage", `the passphrase file ${file} cannot be read`, { cause });
  });
  return text.split(/\r?\n/, 1)[0] ?? "";
}

const END = new Set(["\r", "\n", "\x04"]);

/** Reads a line from the terminal without showing it. */
export async function askHidden(question: string): Promise<string> {
  if (!stdin.isTTY) {
    throw new ExclaveError(
      "usage",
      "no terminal to ask for a passphrase; give --passphrase-file FILE",
    );
  }
  // No echo before the question is seen: an answer that comes at once must not be shown either.
  stdin.setRawMode(true);
  // A question before this one lets go of the terminal a moment after its answer: who listened by then would
  // wait for ever.
  await setImmediate();
  stderr.write(question);
  stdin.setEncoding("utf8");
  let typed = "";
  try {
    // Not destroyed on leaving: the next question reads on.
    for await (const chunk of stdin.iterator({ destroyOnReturn: false }) as AsyncIterable<string>) {
      for (const character of chunk) {
        if (character === "\x03")
          throw new ExclaveError("interrupted", "stopped; nothing was changed");
        if (END.has(character)) return typed;
        typed = character === "\x7f" ? typed.slice(0, -1) : typed + character;
      }
    }
    return typed;
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write("\n");
  }
}
