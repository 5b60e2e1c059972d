/**
 * A reader of the format by a stranger: written from docs/format.md, slowly and plainly, with nothing of
 * src/ and nothing but Node's own cryptography and zstd. It is the proof that such a reader can be
 * written; test/format-vectors.test.ts has it read the vectors, and what the real code writes.
 */
import {
  createDecipheriv,
  createECDH,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  decapsulate,
  hkdfSync,
  verify,
} from "node:crypto";
import { zstdDecompressSync } from "node:zlib";

const BLOCK = 16384;
const MIB = 1024 * 1024;

function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`refused: ${what}`);
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const ascii = (text: string): Buffer => Buffer.from(text, "latin1");
const sha256 = (...parts: Uint8Array[]): Buffer =>
  createHash("sha256").update(Buffer.concat(parts)).digest();
const hmac = (key: Uint8Array, ...parts: Uint8Array[]): Buffer =>
  createHmac("sha256", key).update(Buffer.concat(parts)).digest();
const hkdf = (key: Uint8Array, info: Uint8Array, length: number): Buffer =>
  Buffer.from(hkdfSync("sha256", key, Buffer.alloc(0), info, length));

/** AES-256-GCM of ciphertext || tag. */
function unseal(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Buffer {
  const tagAt = sealed.length - 16;
  must(tagAt >= 0, "shorter than a tag");
  const cipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: 16 });
  cipher.setAAD(aad);
  cipher.setAuthTag(sealed.subarray(tagAt));
  return Buffer.concat([cipher.update(sealed.subarray(0, tagAt)), cipher.final()]);
}

// Section 2: epoch context.

export type Epoch = { readonly state: string; readonly register: string; readonly epoch: number };

export function epochContext({ state, register, epoch }: Epoch): Buffer {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(epoch);
  return Buffer.concat([Buffer.from(state, "hex"), Buffer.from(register, "hex"), number]);
}

// Section 4: keys.

const label = (text: string): Buffer => ascii(`exclave/v1 ${text}\0`);

export const idKey = (epochKey: Uint8Array, epoch: Epoch): Buffer =>
  hkdf(epochKey, Buffer.concat([label("chunk id key"), epochContext(epoch)]), 32);
export const gearTable = (epochKey: Uint8Array, epoch: Epoch): Buffer =>
  hkdf(epochKey, Buffer.concat([label("gear table"), epochContext(epoch)]), 1024);
export const packKey = (epochKey: Uint8Array, packContext: Uint8Array): Buffer =>
  hkdf(epochKey, Buffer.concat([label("pack key"), packContext]), 32);
export const chunkId = (epochKey: Uint8Array, epoch: Epoch, chunk: Uint8Array): Buffer =>
  hmac(idKey(epochKey, epoch), chunk);
export const commitment = (key: Uint8Array, packContext: Uint8Array): Buffer =>
  hmac(key, label("key commitment"), packContext);
export const epochKeyId = (epochKey: Uint8Array, epoch: Epoch): string =>
  hex(hmac(epochKey, label("key commitment"), epochContext(epoch)));

// Section 5: where chunks are cut.

export function cuts(table: Uint8Array, bytes: Uint8Array): number[] {
  const gear = new DataView(table.buffer, table.byteOffset);
  const lengths: number[] = [];
  for (let start = 0; start < bytes.length; ) {
    const end = Math.min(bytes.length - start, 524288);
    let length = end;
    let h = 0;
    for (let p = 65536 - 31; p <= end; p++) {
      h = (Math.imul(h, 2) + gear.getUint32(4 * (bytes[start + p - 1] ?? 0), true)) >>> 0;
      if (p > 65536 && h >>> (p <= 196608 ? 32 - 18 : 32 - 15) === 0) {
        length = p;
        break;
      }
    }
    lengths.push(length);
    start += length;
  }
  return lengths;
}

// Section 7: the field, the matrix, the shares.

export function times(a: number, b: number): number {
  let product = 0;
  for (let bit = 7; bit >= 0; bit--) {
    product <<= 1;
    if (product & 0x100) product ^= 0x11d;
    if ((b >> bit) & 1) product ^= a;
  }
  return product;
}

function inverse(a: number): number {
  for (let b = 1; b < 256; b++) if (times(a, b) === 1) return b;
  throw new Error("0 has no inverse");
}

const over = (a: number, b: number): number => times(a, inverse(b));

/** The row of piece r: how it comes from the k data pieces. */
export function row(k: number, r: number): number[] {
  return Array.from({ length: k }, (_, c) => {
    if (r < k) return r === c ? 1 : 0;
    return over(over(k ^ c, r ^ c), over(k, r));
  });
}

/** Solves for the data pieces: Gauss and Jordan over rows that carry their pieces along. */
function dataPieces(k: number, pieces: readonly (readonly [number, Uint8Array])[]): Uint8Array[] {
  const rows = pieces.map(([r, piece]) => ({ factors: row(k, r), piece: Uint8Array.from(piece) }));
  const scale = (one: (typeof rows)[number], by: number): void => {
    const products = Uint8Array.from({ length: 256 }, (_, value) => times(value, by));
    one.factors = one.factors.map((factor) => products[factor] ?? 0);
    one.piece = one.piece.map((byte) => products[byte] ?? 0);
  };
  for (let column = 0; column < k; column++) {
    const pivot = rows.findIndex(({ factors }, i) => i >= column && factors[column] !== 0);
    const [found] = rows.splice(pivot, 1);
    must(found !== undefined, "rows that have no inverse");
    scale(found, inverse(found.factors[column] ?? 0));
    for (const other of rows) {
      const factor = other.factors[column] ?? 0;
      const products = Uint8Array.from({ length: 256 }, (_, value) => times(value, factor));
      other.factors = other.factors.map((f, i) => f ^ (products[found.factors[i] ?? 0] ?? 0));
      other.piece = other.piece.map((byte, i) => byte ^ (products[found.piece[i] ?? 0] ?? 0));
    }
    rows.splice(column, 0, found);
  }
  return rows.map(({ piece }) => piece);
}

/** Lagrange at x = 0. */
export function interpolate(shares: readonly (readonly [number, Uint8Array])[]): Buffer {
  const key = Buffer.alloc(32);
  for (const [i, share] of shares) {
    let weight = 1;
    for (const [j] of shares) if (j !== i) weight = times(weight, over(j + 1, (i + 1) ^ (j + 1)));
    for (let byte = 0; byte < 32; byte++) {
      key[byte] = (key[byte] ?? 0) ^ times(share[byte] ?? 0, weight);
    }
  }
  return key;
}

// Section 8: shards.

export function merkleRoot(leaves: readonly Uint8Array[]): Uint8Array {
  const [only] = leaves;
  if (leaves.length === 1 && only) return only;
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  const [left, right] = [merkleRoot(leaves.slice(0, split)), merkleRoot(leaves.slice(split))];
  return sha256(Uint8Array.of(1), left, right);
}

export type Shard = Epoch & {
  readonly pack: string;
  readonly k: number;
  readonly n: number;
  readonly index: number;
  readonly packBytes: number;
  readonly keyShare: Uint8Array;
  readonly piece: Uint8Array;
};

/** Every byte of a shard against its name. */
export function readShard(name: string, shard: Buffer): Shard {
  const [, id, digits] = /^shard\/([0-9a-f]{64})\.([0-9]{2})$/.exec(name) ?? [];
  must(id !== undefined && digits !== undefined, "a name that is no shard's");
  must(shard.length >= 136, "no room for a header");
  const header = shard.subarray(0, 136);
  must(header.subarray(0, 8).equals(ascii("exclvsh1")), "magic");
  must(header.readUInt16LE(8) === 1 && header[10] === 1, "version or suite");
  const [k, n, index] = [header[11] ?? 0, header[12] ?? 0, header[13] ?? 0];
  must(1 <= k && k <= n && n <= 32 && index < n && index === Number(digits), "k, n, index");
  must(header.readUInt16LE(14) === 0 && header.readUInt32LE(68) === 0, "reserved bytes");
  const packBytes = Number(header.readBigUInt64LE(88));
  must(1 <= packBytes && packBytes <= 64 * MIB, "length of the pack");
  const B = Math.ceil(packBytes / (k * BLOCK));
  must(Number(header.readBigUInt64LE(96)) === B * BLOCK, "length of the piece");
  must(shard.length === 136 + 32 * n + 32 * B + BLOCK * B, "length of the shard");

  const roots = shard.subarray(136, 136 + 32 * n);
  const descriptor = Buffer.from(header.subarray(0, 104));
  ascii("exclvds1").copy(descriptor);
  descriptor[13] = 0;
  must(hex(sha256(descriptor, roots)) === id, "the descriptor is not the name's");

  const leavesAt = 136 + 32 * n;
  const leaves = Array.from({ length: B }, (_, j) =>
    shard.subarray(leavesAt + 32 * j, leavesAt + 32 * j + 32),
  );
  const root = merkleRoot([sha256(label("shard header"), header), ...leaves]);
  must(roots.subarray(32 * index, 32 * index + 32).equals(root), "the root is not the one listed");
  const piece = shard.subarray(leavesAt + 32 * B);
  for (const [j, leaf] of leaves.entries()) {
    must(sha256(piece.subarray(j * BLOCK, (j + 1) * BLOCK)).equals(leaf), `block ${j}`);
  }
  return {
    state: hex(header.subarray(16, 48)),
    register: hex(header.subarray(48, 64)),
    epoch: header.readUInt32LE(64),
    pack: hex(header.subarray(72, 88)),
    k,
    n,
    index,
    packBytes,
    keyShare: header.subarray(104),
    piece,
  };
}

/** The sealed pack, from any k good shards of one dispersal. */
export function gather(shards: readonly Shard[]): Buffer {
  const [first] = shards;
  must(first !== undefined && shards.length >= first.k, "fewer than k shards");
  const { k, packBytes } = first;
  const used = shards.slice(0, k);
  const key = interpolate(used.map(({ index, keyShare }) => [index, keyShare] as const));
  const data = dataPieces(
    k,
    used.map(({ index, piece }) => [index, piece] as const),
  );
  const blocks: Uint8Array[] = [];
  for (let b = 0; b * BLOCK < packBytes; b++) {
    const at = Math.floor(b / k) * BLOCK;
    blocks.push(data[b % k]?.subarray(at, at + BLOCK) ?? new Uint8Array());
  }
  const ciphertext = Buffer.concat(blocks).subarray(0, packBytes);
  return createDecipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(ciphertext);
}

// Section 6: packs.

export const KINDS = ["", "data", "entries", "tail"];

export type OpenedPack = {
  readonly kind: string;
  readonly table: Uint8Array;
  readonly chunks: readonly { readonly id: string; readonly bytes: Buffer }[];
};

export function openPack(
  sealed: Buffer,
  epochKey: Uint8Array,
  of: Epoch,
  pack: string,
): OpenedPack {
  must(sealed.length >= 136 && sealed.length <= 64 * MIB, "length of the pack");
  const context = sealed.subarray(0, 80);
  must(context.subarray(0, 8).equals(ascii("exclvpk1")), "magic");
  must(context.readUInt16LE(8) === 1 && context[10] === 1, "version or suite");
  const kind = KINDS[context[11] ?? 0];
  must(Boolean(kind) && kind !== undefined, "kind");
  must(context.readUInt32LE(12) === of.epoch, "epoch");
  must(hex(context.subarray(16, 48)) === of.state, "State");
  must(hex(context.subarray(48, 64)) === of.register, "register");
  must(hex(context.subarray(64, 80)) === pack, "pack id");
  const key = packKey(epochKey, context);
  must(sealed.subarray(80, 112).equals(commitment(key, context)), "key commitment");

  const openAt = (offset: number, length: number, position: number): Buffer => {
    const where = Buffer.alloc(4);
    where.writeUInt32LE(position);
    const nonce = Buffer.concat([Buffer.alloc(8), where]);
    const bytes = sealed.subarray(offset, offset + length);
    return unseal(key, nonce, Buffer.concat([context, where]), bytes);
  };
  const locator = openAt(112, 24, 0xfffffffe);
  const [tableAt, tableLength] = [locator.readUInt32LE(0), locator.readUInt32LE(4)];
  must(tableAt >= 136 && tableLength >= 28, "locator");
  must(tableAt + tableLength <= sealed.length, "locator");
  const table = openAt(tableAt, tableLength, 0xffffffff);
  must(table.readUInt32LE(0) === 1, "version of the table");
  const [F, C] = [table.readUInt32LE(4), table.readUInt32LE(8)];
  must(table.length === 12 + 20 * F + 36 * C, "length of the table");

  const chunks: { id: string; bytes: Buffer }[] = [];
  for (let f = 0; f < F; f++) {
    const at = 12 + 20 * f;
    const [offset, length, raw, codec, count] = [0, 4, 8, 12, 16].map((o) =>
      table.readUInt32LE(at + o),
    ) as [number, number, number, number, number];
    must(offset >= 136 && offset + length <= sealed.length, `frame ${f} lies outside`);
    must(length >= 16 && length <= MIB + 16 && raw <= MIB, `lengths of frame ${f}`);
    must(codec === 0 || codec === 1, `codec of frame ${f}`);
    const plain = openAt(offset, length, f);
    const frame = codec === 0 ? plain : zstdDecompressSync(plain, { maxOutputLength: MIB });
    must(frame.length === raw, `raw length of frame ${f}`);
    let used = 0;
    for (let c = 0; c < count; c++) {
      must(chunks.length < C, "more chunks than the table has");
      const chunkAt = 12 + 20 * F + 36 * chunks.length;
      const bytes = frame.subarray(used, used + table.readUInt32LE(chunkAt + 32));
      const id = table.subarray(chunkAt, chunkAt + 32);
      must(chunkId(epochKey, of, bytes).equals(id), "a chunk is not what its id says");
      chunks.push({ id: hex(id), bytes });
      used += table.readUInt32LE(chunkAt + 32);
    }
    must(used === raw, `the chunks of frame ${f} do not fill it`);
  }
  must(chunks.length === C, "chunks outside frames");
  return { kind, table, chunks };
}

// Section 9: manifests.

export type Row = {
  readonly pack: string;
  readonly id: string;
  readonly k: number;
  readonly n: number;
  readonly packBytes: number;
};

export function readManifest(bytes: Buffer): Epoch & { readonly rows: readonly Row[] } {
  must(bytes.length >= 72 && bytes.subarray(0, 8).equals(ascii("exclvmf1")), "magic");
  must(bytes.readUInt16LE(8) === 1, "version");
  must(bytes.readUInt16LE(10) === 0 && bytes.readUInt32LE(68) === 0, "reserved bytes");
  must(bytes.readUInt32LE(12) > 0, "an epoch that is none");
  const R = bytes.readUInt32LE(64);
  must(R <= 8192 && bytes.length === 72 + 64 * R, "number of rows");
  const rows = Array.from({ length: R }, (_, i) => {
    const at = bytes.subarray(72 + 64 * i, 136 + 64 * i);
    const [k, n, packBytes] = [at[48] ?? 0, at[49] ?? 0, Number(at.readBigUInt64LE(56))];
    must(1 <= k && k <= n && n <= 32 && at.readUIntLE(50, 6) === 0, "a row");
    must(1 <= packBytes && packBytes <= 64 * MIB, "a row");
    return { pack: hex(at.subarray(0, 16)), id: hex(at.subarray(16, 48)), k, n, packBytes };
  });
  return {
    state: hex(bytes.subarray(16, 48)),
    register: hex(bytes.subarray(48, 64)),
    epoch: bytes.readUInt32LE(12),
    rows,
  };
}

// Section 12: the entry stream.

const ENTRY_KINDS = [
  "",
  "file",
  "directory",
  "symlink",
  "fifo",
  "char-device",
  "block-device",
  "hardlink",
];

/** An entry with its paths, names and values as hex: they are bytes. */
export type StrangerEntry = Readonly<Record<string, unknown>> & { readonly path: string };

class Cursor {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  take(length: number): Buffer {
    must(this.#at + length <= this.#bytes.length, "it is cut short");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  u8(): number {
    return this.take(1)[0] ?? 0;
  }

  varint(): number {
    let value = 0n;
    for (let i = 0n; i < 8n; i++) {
      const byte = this.u8();
      value |= BigInt(byte & 0x7f) << (7n * i);
      if (byte >= 0x80) continue;
      must(byte !== 0 || i === 0n, "a padded integer");
      must(value < 2n ** 53n, "too large an integer");
      return Number(value);
    }
    throw new Error("refused: too long an integer");
  }

  zigzag(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  bytes(): string {
    return this.take(this.varint()).toString("hex");
  }
}

/** The names of a path in hex, which sorts as the bytes do; none for the root. */
function components(path: string): string[] {
  if (path === "") return [];
  return Buffer.from(path, "hex")
    .toString("latin1")
    .split("/")
    .map((name) => hex(ascii(name)));
}

function compareNames(a: readonly string[], b: readonly string[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const order = Buffer.compare(ascii(a[i] ?? ""), ascii(b[i] ?? ""));
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function isSafe(name: string): boolean {
  const bytes = Buffer.from(name, "hex");
  return bytes.length > 0 && !bytes.includes(0) && name !== "2e" && name !== "2e2e";
}

export function readEntries(stream: Buffer): StrangerEntry[] {
  const cursor = new Cursor(stream);
  const entries: (StrangerEntry & { content: unknown[] })[] = [];
  const directories = new Set<string>();
  while (!cursor.done) {
    const tag = cursor.u8();
    const body = new Cursor(cursor.take(cursor.varint()));
    const last = entries.at(-1);
    if (tag === 2) {
      must(last?.kind === "file", "content behind what is no file");
      while (!body.done) {
        const type = body.u8();
        must(type <= 1, "an item of an unknown type");
        const bytes = body.varint();
        must(bytes > 0, "an empty item");
        last.content.push(type === 0 ? { bytes } : { bytes, id: body.take(32).toString("hex") });
      }
      continue;
    }
    must(tag === 1, "an unknown tag");
    const before = Buffer.from(last?.path ?? "", "hex");
    const shared = body.varint();
    must(shared <= before.length, "more in common than there is");
    const path = Buffer.concat([
      before.subarray(0, shared),
      Buffer.from(body.bytes(), "hex"),
    ]).toString("hex");
    const kind = ENTRY_KINDS[body.u8()];
    must(Boolean(kind), "an unknown kind");
    const names = components(path);
    must(!last || compareNames(components(last.path), names) < 0, "out of order");
    must(names.every(isSafe), "an unsafe path");
    const alone = entries.length === 0 && names.length === 1 && kind === "file";
    if (names.length > 0) must(alone || directories.has(names.slice(0, -1).join("/")), "no parent");
    else must(kind === "directory", "a root that is no directory");
    if (kind === "directory") directories.add(names.join("/"));
    const entry = {
      path,
      kind,
      mode: body.varint(),
      uid: body.varint(),
      gid: body.varint(),
      userName: body.bytes(),
      groupName: body.bytes(),
      mtimeSec: body.zigzag(),
      mtimeNsec: body.varint(),
      ctimeSec: body.zigzag(),
      ctimeNsec: body.varint(),
      ino: String((BigInt(body.varint()) << 32n) | BigInt(body.varint())),
      dev: body.varint(),
      size: body.varint(),
      linkTarget: body.bytes(),
      rdevMajor: body.varint(),
      rdevMinor: body.varint(),
      xattrs: Array.from({ length: body.varint() }, () => [body.bytes(), body.bytes()]),
      content: [] as unknown[],
    };
    must(body.done, "bytes left over");
    must(entry.uid < 2 ** 32 && entry.gid < 2 ** 32, "an owner beyond 32 bits");
    entries.push(entry);
  }
  return entries;
}

// Sections 3 and 13: signatures, envelopes, wraps.

const spki = (prefix: string, raw: Uint8Array): ReturnType<typeof createPublicKey> =>
  createPublicKey({
    key: Buffer.concat([Buffer.from(prefix, "hex"), raw]),
    format: "der",
    type: "spki",
  });

/** What a document says, and what it is called by what it says. */
export type StrangerDocument = {
  readonly payloadId: string;
  readonly document: Readonly<Record<string, unknown>>;
};

/** The document of an envelope whose one signature is by this public key, of 2624 bytes. */
export function readEnvelope(
  envelope: string,
  type: string,
  publicKey: Uint8Array,
): StrangerDocument {
  const { payloadType, payload, signatures } = JSON.parse(envelope) as {
    payloadType: string;
    payload: string;
    signatures: { keyid: string; sig: string }[];
  };
  must(payloadType === `application/vnd.exclave.${type}.v1+json`, "payload type");
  const keyid = hex(sha256(label("signing key"), publicKey));
  const signature = Buffer.from(signatures.find((one) => one.keyid === keyid)?.sig ?? "", "base64");
  must(signature.length === 4691, "no signature by this key");
  const body = Buffer.from(payload, "base64");
  const signed = Buffer.concat([
    label("hybrid signature"),
    ascii(`DSSEv1 ${payloadType.length} ${payloadType} ${body.length} `),
    body,
  ]);
  const ed25519 = spki("302a300506032b6570032100", publicKey.subarray(0, 32));
  const mlDsa = spki("30820a32300b060960864801650304031303820a2100", publicKey.subarray(32));
  must(verify(null, signed, ed25519, signature.subarray(0, 64)), "the Ed25519 half");
  must(verify(null, signed, mlDsa, signature.subarray(64)), "the ML-DSA-87 half");
  const document = JSON.parse(body.toString("utf8")) as StrangerDocument["document"];
  const { term, epoch } = document;
  if (type === "statement" || type === "wrap") {
    must(typeof epoch === "number" && Math.floor(epoch / 65536) === term, "an epoch of its term");
  }
  return { payloadId: hex(sha256(body)), document };
}

type Wrapped = { readonly encapsulation: string; readonly sealed: string };

/** What is wrapped to a KEM key, with its 32-byte seed. */
function unwrap(wrap: Wrapped, context: Uint8Array, seed: Uint8Array): Buffer {
  const secrets = createHash("shake256", { outputLength: 112 }).update(seed).digest();
  const mlKem = createPrivateKey({
    key: Buffer.concat([
      Buffer.from("3054020100300b060960864801650304040304428040", "hex"),
      secrets.subarray(0, 64),
    ]),
    format: "der",
    type: "pkcs8",
  });
  const p384 = createECDH("secp384r1");
  p384.setPrivateKey(secrets.subarray(64));
  const ciphertext = Buffer.from(wrap.encapsulation, "base64");
  must(ciphertext.length === 1665 && ciphertext[1568] === 4, "the encapsulation");
  const point = ciphertext.subarray(1568);
  const shared = createHash("sha3-256")
    .update(decapsulate(mlKem, ciphertext.subarray(0, 1568)))
    .update(p384.computeSecret(point))
    .update(point)
    .update(p384.getPublicKey())
    .update("MLKEM1024-P384")
    .digest();
  const keyAndNonce = hkdf(shared, Buffer.concat([label("wrap"), context]), 44);
  const sealed = Buffer.from(wrap.sealed, "base64");
  return unseal(keyAndNonce.subarray(0, 32), keyAndNonce.subarray(32), context, sealed);
}

/** The epoch key in a wrap's payload, with the 32-byte KEM seed of the recipient. */
export function openWrap(
  wrap: Epoch & Wrapped & { readonly epochKeyId: string; readonly recipient: string },
  seed: Uint8Array,
): Buffer {
  const to = ascii(`${wrap.recipient}\0`);
  const key = unwrap(wrap, Buffer.concat([label("epoch key"), to, epochContext(wrap)]), seed);
  must(key.length === 32 && epochKeyId(key, wrap) === wrap.epochKeyId, "it holds another key");
  return key;
}

/** What an annex's payload seals, with the KEM seed of the recovery key. */
export function openAnnex(
  annex: Wrapped & { readonly state: string; readonly digest: string },
  seed: Uint8Array,
): string {
  const names = Buffer.from(annex.state + annex.digest, "hex");
  const content = unwrap(annex, Buffer.concat([label("annex"), names]), seed);
  must(hex(sha256(content)) === annex.digest, "it holds something else");
  return content.toString("utf8");
}

/** The KEM seed of a recovery seed. */
export const recoveryKemSeed = (seed: Uint8Array): Buffer =>
  hkdf(seed, ascii("exclave/v1 recovery kem"), 32);

/** The KEM seed and the signing seed of a reader seed. */
export const readerSeeds = (
  seed: Uint8Array,
): { readonly kem: Buffer; readonly signing: Buffer } => ({
  kem: hkdf(seed, ascii("exclave/v1 reader kem"), 32),
  signing: hkdf(seed, ascii("exclave/v1 reader signing"), 32),
});

// Section 14: charters.

/** A person, as a charter has them. */
export const personOf = (salt: Uint8Array, name: string): string =>
  hex(sha256(label("person"), salt, Buffer.from(name)));

export const charterId = (payload: string): string => hex(sha256(Buffer.from(payload)));

const CHARTER_MEMBERS = (
  "kind format version previous decision name time random term review crypto constitution recovery " +
  "reader agents sites registers ledger retentionSeconds releaseDelaySeconds annex"
).split(" ");

/** The payload of the charter after this one, with these sections changed; why and when it came. */
export function nextCharter(
  before: string,
  changes: Readonly<Record<string, unknown>>,
  decision: string,
  time: string,
): string {
  const charter = JSON.parse(before) as Record<string, unknown> & { version: number };
  const previous = charterId(before);
  const after: Record<string, unknown> = {
    ...charter,
    ...changes,
    version: charter.version + 1,
    previous,
    decision,
    time,
    random: hex(sha256(label("next charter"), ascii(previous + decision))).slice(0, 32),
  };
  return JSON.stringify(
    Object.fromEntries(
      CHARTER_MEMBERS.flatMap((name) => (name in after ? [[name, after[name]]] : [])),
    ),
  );
}

// Section 18: the ledger.

export const ledgerLeaf = (entry: string): Buffer => sha256(Uint8Array.of(0), Buffer.from(entry));

export function bundleEntries(bundle: Buffer): string[] {
  const entries: string[] = [];
  for (let at = 0; at < bundle.length; ) {
    const length = bundle.readUInt16BE(at);
    must(at + 2 + length <= bundle.length, "an entry is cut short");
    entries.push(bundle.subarray(at + 2, at + 2 + length).toString("utf8"));
    at += 2 + length;
  }
  return entries;
}

/** RFC 9162, section 2.1.3.2: the root that a proof leads to. */
export function inclusionRoot(
  leaf: Uint8Array,
  index: number,
  size: number,
  hashes: readonly Uint8Array[],
): Uint8Array {
  let [at, last, root] = [index, size - 1, leaf];
  for (const hash of hashes) {
    must(last > 0, "too long a proof");
    if (at % 2 === 1 || at === last) {
      root = sha256(Uint8Array.of(1), hash, root);
      for (; at % 2 === 0 && at > 0; at /= 2) last = Math.floor(last / 2);
    } else {
      root = sha256(Uint8Array.of(1), root, hash);
    }
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  must(last === 0, "too short a proof");
  return root;
}

/** Name, key id and public key of a verifier key of that type. */
function verifierKey(text: string, type: number) {
  const [name = "", id = "", ...rest] = text.split("+");
  const typed = Buffer.from(rest.join("+"), "base64");
  must(typed[0] === type, "the type of a verifier key");
  must(hex(sha256(ascii(`${name}\n`), typed)).startsWith(id) && id.length === 8, "a key id");
  return { name, id, key: typed.subarray(1) };
}

/** A checkpoint that both keys of the ledger signed. */
export function openCheckpoint(note: string, keys: readonly [string, string]) {
  const [, text = "", lines = ""] = /^([\s\S]*\n)\n([\s\S]*)$/.exec(note) ?? [];
  const [origin = "", size = "", root = "", ...more] = text.split("\n");
  must(more.length === 1 && more[0] === "", "three lines");
  const [ed25519, mlDsa] = [verifierKey(keys[0], 1), verifierKey(keys[1], 6)];
  const signatureBy = ({ name, id }: typeof ed25519): Buffer => {
    must(name === origin, "another ledger's key");
    const found = lines.split("\n").flatMap((line) => {
      const [dash, by, blob = ""] = line.split(" ");
      const bytes = Buffer.from(blob, "base64");
      return dash === "\u2014" && by === name && hex(bytes.subarray(0, 4)) === id ? [bytes] : [];
    });
    must(found.length === 1 && found[0] !== undefined, "a signature is missing");
    return found[0].subarray(4);
  };
  const classic = spki("302a300506032b6570032100", ed25519.key);
  must(verify(null, Buffer.from(text), classic, signatureBy(ed25519)), "the Ed25519 signature");
  const stamped = signatureBy(mlDsa);
  must(stamped.length === 8 + 2420, "the ML-DSA-44 signature");
  const u64 = (value: number): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(BigInt(value));
    return bytes;
  };
  const short = (name: string): Buffer => Buffer.concat([Buffer.of(name.length), ascii(name)]);
  const message = Buffer.concat([
    ascii("subtree/v1\n\0"),
    short(origin),
    stamped.subarray(0, 8),
    short(origin),
    u64(0),
    u64(Number(size)),
    Buffer.from(root, "base64"),
  ]);
  const postQuantum = spki("30820532300b06096086480165030403110382052100", mlDsa.key);
  must(verify(null, message, postQuantum, stamped.subarray(8)), "the ML-DSA-44 signature");
  return {
    origin,
    size: Number(size),
    root: Buffer.from(root, "base64").toString("hex"),
    seconds: Number(stamped.readBigUInt64BE(0)),
  };
}

// Section 21: share sets.

type ShareSet = {
  readonly setId: string;
  readonly generation: number;
  readonly k: number;
  readonly n: number;
};

function shareContext({ setId, generation, k, n }: ShareSet): Buffer {
  const numbers = Buffer.alloc(4);
  numbers.writeUInt32BE(generation);
  return Buffer.concat([Buffer.from(setId, "hex"), numbers, Buffer.of(k, n)]);
}

export const secretCommitment = (secret: Uint8Array, set: ShareSet): string =>
  hex(hmac(secret, label("secret commitment"), shareContext(set)));
export const shareCommitment = (share: Uint8Array, set: ShareSet, index: number): string =>
  hex(hmac(share, label("share commitment"), shareContext(set), Buffer.of(index)));
