/** The first page of a site: whose it is, and whom to call before anything is touched. For people at the door. */

export type ShownNotice = {
  /** The State's name, or none for the site as a whole. */
  readonly state: string | undefined;
  readonly owner: string;
  readonly agreement: string | undefined;
  readonly immunity: string | undefined;
  readonly contact: string;
};

const TITLE = "What is stored here belongs to others";

function paragraphs(notice: ShownNotice): readonly (readonly [string, string])[] {
  const { state, owner, agreement, immunity, contact } = notice;
  return [
    ...(state === undefined ? [] : [["For", state] as const]),
    ["Owner", owner],
    ...(agreement === undefined ? [] : [["Agreement", agreement] as const]),
    ...(immunity === undefined ? [] : [["Immunity", immunity] as const]),
    ["Before anything is touched, call", contact],
  ];
}

export function noticeText(notices: readonly ShownNotice[]): string {
  const blocks = notices.map((notice) =>
    paragraphs(notice)
      .map(([name, words]) => `${name}: ${words}\n`)
      .join("\n"),
  );
  return `${TITLE}\n\n${blocks.join("\n----\n\n")}`;
}

export function noticeHtml(notices: readonly ShownNotice[]): string {
  const blocks = notices.map((notice) => {
    const rows = paragraphs(notice).map(
      ([name, words]) => `<dt>${escaped(name)}</dt><dd>${escaped(words)}</dd>`,
    );
    return `<section><dl>${rows.join("")}</dl></section>`;
  });
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${TITLE}</title><style>body{font:1.1rem/1.5 serif;max-width:42rem;margin:3rem auto;padding:0 1rem}dt{font-weight:bold}dd{margin:0 0 1rem;white-space:pre-line}section{border-top:1px solid}</style><h1>${TITLE}</h1>${blocks.join("")}</html>\n`;
}

function escaped(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replace(/[&<>"']/g, (one) => entities[one] ?? "");
}
