// The token worker's event contract in JavaScript, from docs/events/publishers.md and nothing else: what a publisher in
// another language has to write. It shares no code with the worker.
import { createHash } from "node:crypto";
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { XWing } from "@hpke/hybridkem-x-wing";

const KEMS = {
  "MLKEM768-X25519,HKDF-SHA256,AES-256-GCM": XWing,
  "X25519,HKDF-SHA256,AES-256-GCM": DhkemX25519HkdfSha256,
};

export const ACQUIRED = "com.github.tokenworker.acquired.v1";

function hpke(suite) {
  return new CipherSuite({ kem: new KEMS[suite](), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
}

const encode = (bytes) => Buffer.from(bytes).toString("base64url");
// A Buffer shares its memory with others; WebCrypto wants one of its own.
const decode = (text) => new Uint8Array(Buffer.from(text, "base64url"));

// escapePart: A–Z a–z 0–9 _ - ~ stand for themselves, every other byte is %XX in upper-case hex.
export function escapePart(part) {
  let escaped = "";
  for (const byte of Buffer.from(part, "utf8")) {
    const char = String.fromCharCode(byte);
    escaped += /[A-Za-z0-9_~-]/.test(char) ? char : "%" + byte.toString(16).toUpperCase().padStart(2, "0");
  }
  return escaped;
}

// sealInfo: the label, then each field with its length in four bytes, most significant first.
export function sealInfo(event) {
  const parts = [Buffer.from("tokenworker/v1")];
  for (const field of [event.type, event.subject, event.source, event.id, event.time]) {
    const bytes = Buffer.from(field, "utf8");
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    parts.push(length, bytes);
  }
  return new Uint8Array(Buffer.concat(parts));
}

export function messageID(subject, event) {
  return createHash("sha256").update(`${subject}\n${event.source}\n${event.id}`).digest("hex");
}

// sealAcquired makes the message of an acquired event. parts are organization, provider and, if known, company.
export async function sealAcquired({ publicKey, parts, source, id, time, plaintext }) {
  const escaped = parts.map(escapePart);
  const event = {
    specversion: "1.0",
    id,
    source,
    type: ACQUIRED,
    subject: escaped.join(":"),
    time,
    datacontenttype: "application/json",
  };
  const suite = hpke(publicKey.suite);
  const sender = await suite.createSenderContext({
    recipientPublicKey: await suite.kem.deserializePublicKey(decode(publicKey.public_key)),
    info: sealInfo(event),
  });
  const ct = await sender.seal(Buffer.from(plaintext, "utf8"));
  event.data = { kid: publicKey.kid, enc: encode(sender.enc), ct: encode(ct) };
  const subject = "tokens.v1.acquired." + escaped.join(".");
  return { subject, message_id: messageID(subject, event), info: Buffer.from(sealInfo(event)).toString("hex"), event };
}

// openAcquired is what a worker does, here to check seals made by the worker's own code.
export async function openAcquired({ suite: name, privateKey, event }) {
  const suite = hpke(name);
  const recipient = await suite.createRecipientContext({
    recipientKey: await suite.kem.deserializePrivateKey(decode(privateKey)),
    enc: decode(event.data.enc),
    info: sealInfo(event),
  });
  return Buffer.from(await recipient.open(decode(event.data.ct))).toString("utf8");
}
