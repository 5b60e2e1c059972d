/**
 * The printed page of a kit: one HTML document that needs nothing but itself, for an A4 printer that is
 * not on a network. It carries the whole kit file, and says nothing that the file does not say.
 *
 * Every name on it is taken for hostile: shown through `displayName`, which makes invisible and
 * direction-changing characters visible, then escaped. The page has no script, and its policy allows none.
 */
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { invariant } from "../errors.ts";
import { displayName, fromText } from "../platform/names.ts";
import { inGroups } from "./base32.ts";
import { decodeKit, INSTRUCTIONS_VERSION, type Kit } from "./kit.ts";
import { instructions, thresholdRule } from "./kit-instructions.ts";
import { splitKit } from "./kit-parts.ts";
import { sealedToBytes } from "./sealed-share.ts";
import { encodeShareText } from "./share-text.ts";

/** The modules of a QR code for these bytes, row by row, dark ones true; square, without quiet zone. */
export type QrEncoder = (bytes: Uint8Array) => readonly (readonly boolean[])[];

/** ISO/IEC 18004: four modules of white on every side. */
const QUIET_MODULES = 4;
const QR_MODULES_MAX = 177;

const POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/** Fonts that most machines have or replace; sizes that older eyes read. */
const STYLE = [
  "@page { size: A4; margin: 16mm 16mm 18mm;",
  '  @bottom-right { content: "Sheet " counter(page) " of " counter(pages); font: 9pt sans-serif; } }',
  "* { box-sizing: border-box; overflow-wrap: anywhere; }",
  'body { font: 11pt/1.4 "Liberation Sans", Arial, Helvetica, sans-serif; color: #000;',
  "  background: #fff; max-width: 178mm; margin: 0 auto; }",
  "header { border-bottom: 1mm solid #000; padding-bottom: 4mm; }",
  "h1 { font-size: 24pt; line-height: 1.15; margin: 0; }",
  "h2 { font-size: 14pt; margin: 7mm 0 2mm; break-after: avoid; }",
  "p, ol, ul { margin: 0 0 2.5mm; }",
  "li { margin-bottom: 1.5mm; }",
  '.fingerprint, code, pre { font-family: "Liberation Mono", "Courier New", Courier, monospace; }',
  ".fingerprint { font-size: 22pt; font-weight: bold; margin: 2mm 0; white-space: nowrap; }",
  ".holder { font-size: 16pt; font-weight: bold; margin: 3mm 0 1mm; }",
  ".rule { border: 0.5mm solid #000; padding: 3mm 4mm; font-size: 12.5pt; font-weight: bold;",
  "  margin: 4mm 0; break-inside: avoid; }",
  "table { border-collapse: collapse; width: 100%; font-size: 10pt; }",
  "th, td { border: 0.2mm solid #666; padding: 1.2mm 2mm; text-align: left; vertical-align: top; }",
  "tr { break-inside: avoid; }",
  ".facts th { width: 30%; }",
  ".codes { display: grid; grid-template-columns: 1fr 1fr; gap: 5mm; }",
  "figure { margin: 0; break-inside: avoid; text-align: center; }",
  "figure svg { width: 82mm; height: 82mm; display: block; margin: 0 auto; }",
  "figcaption { font-size: 10pt; }",
  "pre { font-size: 10.5pt; line-height: 1.45; margin: 2mm 0; white-space: pre; }",
  ".newpage { break-before: page; }",
  "@media screen { body { padding: 8mm; } }",
].join("\n");

/**
 * The page of a kit file, as an HTML document. Throws as `decodeKit` does, and `bug` when the encoder
 * returns no square matrix.
 *
 * @param kitBytes the file itself: page and file cannot disagree, and the page carries the file
 */
export function kitPage(kitBytes: Uint8Array, encodeQr: QrEncoder): string {
  const kit = decodeKit(kitBytes);
  const { k, n } = kit.set;
  const stateName = shown(kit.stateName);
  const holder = `Key holder ${kit.index + 1} of ${n}`;
  const opener = kit.sealed.length === 1 ? "age identity" : "passphrase";
  const parts = splitKit(kitBytes);
  const codes = parts.map((part, i) => {
    const caption = `Code ${i + 1} of ${parts.length} · ${holder}`;
    const svg = qrSvg(encodeQr(utf8(part)), caption);
    return `<figure>${svg}<figcaption>${caption}</figcaption></figure>`;
  });
  return [
    "<!DOCTYPE html>",
    '<html lang="en">',
    "<head>",
    '<meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${POLICY}">`,
    '<meta name="viewport" content="width=device-width">',
    `<title>${stateName}: ${holder}</title>`,
    `<style>\n${STYLE}\n</style>`,
    "</head>",
    "<body>",
    "<header>",
    `<h1>${stateName}</h1>`,
    `<p class="fingerprint">${escapeHtml(kit.fingerprint)}</p>`,
    `<p class="holder">${holder}: ${shown(kit.holder)}</p>`,
    `<p class="rule">${thresholdRule(k, n)}</p>`,
    "</header>",
    instructions({ k, n, index: kit.index, opener }),
    "<h2>Where the copies are</h2>",
    sitesTable(kit),
    "<h2>What this kit belongs to</h2>",
    factsTable(kit, kitBytes),
    '<h2 class="newpage">The kit, to be scanned</h2>',
    `<p>All ${parts.length} codes together are the kit file. Scan them in any order.</p>`,
    '<div class="codes">',
    ...codes,
    "</div>",
    '<h2 class="newpage">The sealed share, to be typed</h2>',
    `<p>Only if neither the file nor the codes can be read. <b>${stateName}</b>, ${holder}.</p>`,
    "<p>Small or capital letters, spaces and dashes do not matter. The letters I, L, O and U are never used: what looks like I or L is a 1, and what looks like O is a 0. The two characters behind = check their line, so that the computer can tell you which line to look at again.</p>",
    `<pre>${escapeHtml(encodeShareText(sealedToBytes(kit.sealed)))}</pre>`,
    "</body>",
    "</html>",
    "",
  ].join("\n");
}

function sitesTable({ sites }: Kit): string {
  if (sites.length === 0) return "<p>No site was known when this kit was made.</p>";
  const rows = sites.map(({ name, country, operator, where }) => {
    const cells = [shown(name), escapeHtml(country), shown(operator), shown(where)];
    return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
  });
  const head = "<tr><th>Site</th><th>Country</th><th>Operator</th><th>Where</th></tr>";
  return ["<table>", head, ...rows, "</table>"].join("\n");
}

function factsTable(kit: Kit, kitBytes: Uint8Array): string {
  const { checkpoint, set } = kit;
  const hash = (text: string) => `<code>${escapeHtml(inGroups(text, " "))}</code>`;
  const rows: readonly (readonly [string, string])[] = [
    ["State", hash(kit.state)],
    ["Founding charter", hash(kit.foundingHash)],
    ["Charter", hash(kit.charterHash)],
    ["Share set", `${hash(set.setId)}, number ${set.generation}`],
    ...(checkpoint === undefined
      ? []
      : ([
          [
            "Ledger",
            `${shown(checkpoint.origin)}, ${checkpoint.size} entries, ${hash(checkpoint.root)}`,
          ],
        ] as const)),
    ...kit.witnessKeys.map((key, i) => [`Witness ${i + 1}`, `<code>${shown(key)}</code>`] as const),
    ...(kit.program === undefined
      ? []
      : ([["The program that the sites keep (SHA-256)", hash(kit.program)]] as const)),
    ["This kit file (SHA-256)", hash(toHex(sha256(kitBytes)))],
    ["Instructions", `version ${INSTRUCTIONS_VERSION}`],
  ];
  const cells = rows.map(([name, value]) => `<tr><th>${name}</th><td>${value}</td></tr>`);
  return ['<table class="facts">', ...cells, "</table>"].join("\n");
}

/** Dark modules as one path, a rectangle for each run of a row, on white with the quiet zone around. */
function qrSvg(modules: readonly (readonly boolean[])[], name: string): string {
  const size = modules.length;
  invariant(
    size > 0 && size <= QR_MODULES_MAX && modules.every((row) => row.length === size),
    "a QR code is a square",
  );
  let path = "";
  for (const [y, row] of modules.entries()) {
    for (let x = 0; x < size; x++) {
      const start = x;
      while (row[x] === true) x++;
      if (x > start)
        path += `M${start + QUIET_MODULES} ${y + QUIET_MODULES}h${x - start}v1h-${x - start}z`;
    }
  }
  const side = size + 2 * QUIET_MODULES;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${side} ${side}"`,
    ` shape-rendering="crispEdges" role="img" aria-label="${escapeHtml(name)}">`,
    `<path fill="#fff" d="M0 0h${side}v${side}h-${side}z"/><path d="${path}"/></svg>`,
  ].join("");
}

/** A name as it may stand in HTML, in text and in a quoted attribute. */
function shown(name: string): string {
  return escapeHtml(displayName(fromText(name)));
}

function escapeHtml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
