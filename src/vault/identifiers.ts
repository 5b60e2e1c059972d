/** The identifiers of the vault: lower-case hex strings, branded so that none is taken for another. */
import { randomBytes } from "node:crypto";
import { ExclaveError } from "../errors.ts";

declare const brand: unique symbol;
type Hex<Name extends string> = string & { readonly [brand]: Name };

/** SHA-256 of the payload of the State's founding charter: 32 bytes. */
export type StateId = Hex<"StateId">;
/** What a register is called in public: 16 random bytes. */
export type RegisterId = Hex<"RegisterId">;
/** 16 random bytes; a pack keeps it for ever, however often it is dispersed anew. */
export type PackId = Hex<"PackId">;
/** SHA-256 of a dispersal's descriptor: 32 bytes. */
export type DispersalId = Hex<"DispersalId">;
/** HMAC-SHA-256 of a chunk under its epoch's id key: 32 bytes. */
export type ChunkId = Hex<"ChunkId">;
/** SHA-256 of a stored document (statement, manifest, wrap, charter): 32 bytes. */
export type DocumentId = Hex<"DocumentId">;

type Identifiers = {
  StateId: StateId;
  RegisterId: RegisterId;
  PackId: PackId;
  DispersalId: DispersalId;
  ChunkId: ChunkId;
  DocumentId: DocumentId;
};

const BYTES: { readonly [Name in keyof Identifiers]: number } = {
  StateId: 32,
  RegisterId: 16,
  PackId: 16,
  DispersalId: 32,
  ChunkId: 32,
  DocumentId: 32,
};

/** Reads an identifier from text. Throws `malformed` unless it is lower-case hex of the right length. */
export function parseId<Name extends keyof Identifiers>(
  name: Name,
  text: string,
): Identifiers[Name] {
  if (text.length !== BYTES[name] * 2 || !/^[0-9a-f]*$/.test(text)) {
    throw new ExclaveError("malformed", `not a ${name}: ${JSON.stringify(text.slice(0, 80))}`);
  }
  return text as Identifiers[Name];
}

/** The identifier made of these bytes. Throws `malformed` when their number is wrong. */
export function idFromBytes<Name extends keyof Identifiers>(
  name: Name,
  bytes: Uint8Array,
): Identifiers[Name] {
  if (bytes.length !== BYTES[name]) {
    throw new ExclaveError("malformed", `a ${name} has ${BYTES[name]} bytes, not ${bytes.length}`);
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString(
    "hex",
  ) as Identifiers[Name];
}

/** A fresh random identifier. */
export function randomId<Name extends "RegisterId" | "PackId">(name: Name): Identifiers[Name] {
  return randomBytes(BYTES[name]).toString("hex") as Identifiers[Name];
}

/** The bytes of an identifier. */
export function idBytes(id: Identifiers[keyof Identifiers]): Buffer {
  return Buffer.from(id, "hex");
}

/** What every object of a register's epoch is bound to. */
export type EpochContext = {
  readonly state: StateId;
  readonly register: RegisterId;
  /** 1, 2, 3 …; an epoch is complete in itself. */
  readonly epoch: number;
};
