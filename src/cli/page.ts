/** A report for reading: headings, paragraphs and tables that fit 80 columns. */
import { env, stdout } from "node:process";
import type { Terminal } from "./terminal.ts";

const COLUMNS = 78;
const INDENT = "  ";

export type Page = {
  /** A section's heading, with a blank line before it. */
  heading(text: string): void;
  /** A paragraph, wrapped and indented. */
  text(paragraph: string): void;
  /** A paragraph that needs a person: red where there are colours. */
  alarm(paragraph: string): void;
  /** Lines as they are, indented. */
  lines(lines: readonly string[]): void;
  /** A command as a reader would type it, continued on further lines where it is long. */
  command(command: string): void;
  gap(): void;
};

/** Bold headings and dim commands where standard output is a terminal and NO_COLOR is not set. */
export function newPage(terminal: Terminal): Page {
  const colours = stdout.isTTY === true && !env.NO_COLOR && env.TERM !== "dumb";
  const styled = (code: number, text: string): string =>
    colours ? `\x1b[${code}m${text}\x1b[0m` : text;
  const say = (line: string): void => terminal.say(line);
  return {
    heading(text) {
      say("");
      say(styled(1, text));
    },
    text(paragraph) {
      for (const line of wrap(paragraph, COLUMNS - INDENT.length)) say(INDENT + line);
    },
    alarm(paragraph) {
      for (const line of wrap(paragraph, COLUMNS - INDENT.length)) say(INDENT + styled(31, line));
    },
    lines(lines) {
      for (const line of lines) say(line === "" ? "" : INDENT + line);
    },
    command(command) {
      const [first = "", ...more] = wrapUnits(command.split(/ (?=--[a-z])/), COLUMNS - 8);
      const parts = [`$ ${first}`, ...more.map((part) => `    ${part}`)];
      for (const [i, part] of parts.entries()) {
        say(INDENT + styled(2, i < parts.length - 1 ? `${part} \\` : part));
      }
    },
    gap() {
      say("");
    },
  };
}

/** Breaks a text at spaces into lines of at most `width`; a longer word has a line of its own. */
export function wrap(text: string, width: number): readonly string[] {
  return wrapUnits(text.split(" "), width);
}

function wrapUnits(units: readonly string[], width: number): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of units) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = "";
    }
    line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** Rows in aligned columns: the first column to the left, as are those of `left`; the others to the right. */
export function alignTable(
  rows: readonly (readonly string[])[],
  left: readonly number[] = [],
): readonly string[] {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return column === 0 || left.includes(column) ? cell.padEnd(width) : cell.padStart(width);
      })
      .join("  ")
      .trimEnd(),
  );
}

/** A word as a shell takes it for one. */
function shellWord(word: string): string {
  return /^[\w@%+=:,./~-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A command line as a person would type it. */
export function shellLine(...words: readonly string[]): string {
  return words.map(shellWord).join(" ");
}
