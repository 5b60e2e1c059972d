/** The demo's register books: one row a line, so no field may hold a line break. */

/** One row with its newline; a field is quoted where RFC 4180 asks for it. */
export function csvRow(fields: readonly (string | number)[]): string {
  const quoted = fields.map((field) => {
    const text = String(field);
    return /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  });
  return `${quoted.join(",")}\n`;
}

/** The fields of one row as `csvRow` wrote it. */
export function csvFields(row: string): string[] {
  const fields: string[] = [];
  for (const [, quoted, plain] of row.trimEnd().matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,"]*))/g)) {
    fields.push(quoted === undefined ? (plain ?? "") : quoted.replaceAll('""', '"'));
  }
  return fields;
}
