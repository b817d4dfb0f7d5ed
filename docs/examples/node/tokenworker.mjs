// What a service in JavaScript needs to hand tokens to the token worker and to read them, by docs/events/publishers.md and
// docs/reading.md. Copy it.
import { createHash, randomUUID } from "node:crypto";
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { XWing } from "@hpke/hybridkem-x-wing";

const HYBRID = "MLKEM768-X25519,HKDF-SHA256,AES-256-GCM";
const KEMS = { [HYBRID]: XWing, "X25519,HKDF-SHA256,AES-256-GCM": DhkemX25519HkdfSha256 };

export const hpke = (suite) => new CipherSuite({ kem: new KEMS[suite](), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const encode = (bytes) => Buffer.from(bytes).toString("base64url");
export const decode = (text) => new Uint8Array(Buffer.from(text, "base64url"));

// escapePart: A–Z a–z 0–9 _ - ~ stand for themselves, every other byte is %XX in upper-case hex.
const escapePart = (part) =>
  [...Buffer.from(part, "utf8")]
    .map((byte) => String.fromCharCode(byte))
    .map((char) => (/[A-Za-z0-9_~-]/.test(char) ? char : "%" + char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")))
    .join("");

// sealInfo is what a seal is bound to: the label, then each field with its length in four bytes.
function sealInfo(...fields) {
  const parts = [Buffer.from("tokenworker/v1")];
  for (const field of fields) {
    const bytes = Buffer.from(field, "utf8");
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    parts.push(length, bytes);
  }
  return new Uint8Array(Buffer.concat(parts));
}

// event makes a message for the outbox: store it, publish it until it is acknowledged, then delete it. key is
// [organization, provider, company].
function event(kind, key, source) {
  const parts = key.map(escapePart);
  const body = {
    specversion: "1.0", id: randomUUID(), source, type: `com.github.tokenworker.${kind}.v1`, subject: parts.join(":"),
    time: new Date().toISOString(),
  };
  const subject = `tokens.v1.${kind}.${parts.join(".")}`;
  const id = createHash("sha256").update(`${subject}\n${source}\n${body.id}`).digest("hex");
  return { subject, id, body };
}

export const disconnect = (key, source) => event("disconnect", key, source);

// acquired seals a token set to the worker's public key, as `tokenworker keys show` prints it.
export async function acquired(key, source, tokenSet, publicKey) {
  const message = event("acquired", key, source);
  const { type, subject, id, time } = message.body;
  const suite = hpke(publicKey.suite);
  const sender = await suite.createSenderContext({
    recipientPublicKey: await suite.kem.deserializePublicKey(decode(publicKey.public_key)),
    info: sealInfo(type, subject, source, id, time),
  });
  const ct = await sender.seal(Buffer.from(JSON.stringify(tokenSet), "utf8"));
  message.body.data = { kid: publicKey.kid, enc: encode(sender.enc), ct: encode(ct) };
  return message;
}

// publish returns when JetStream has acknowledged. Until then, publish the same message again.
export async function publish(js, message) {
  const ack = await js.publish(message.subject, JSON.stringify(message.body), { msgID: message.id });
  return ack.seq;
}

// NoToken says why there is none.
export class NoToken extends Error {
  constructor(code) {
    super(`no token: ${code}`);
    this.code = code;
  }
}

// read asks for an access token that lives at least so many seconds. refused is what an earlier read returned whose token the
// provider's API has answered with 401. Connect with inboxPrefix `_INBOX.${caller}`.
export async function read(nc, caller, key, { minLifetime = 60, refused } = {}) {
  const subject = ["tokens.v1.get", escapePart(caller), ...key.map(escapePart)].join(".");
  const suite = hpke(HYBRID);
  const oneTime = await suite.kem.generateKeyPair();
  const id = randomUUID();
  const request = {
    id, suite: HYBRID, public_key: encode(await suite.kem.serializePublicKey(oneTime.publicKey)), min_lifetime: minLifetime,
  };
  if (refused) {
    request.refused = { epoch: refused.epoch, sequence: refused.sequence, generation: refused.generation };
  }
  const reply = await nc.request(subject, JSON.stringify(request), { timeout: 15_000 });
  const code = reply.headers?.get("Nats-Service-Error");
  if (code) {
    throw new NoToken(code);
  }
  return open(suite, oneTime.privateKey, subject, id, reply.json());
}

// open opens the reply to a request with its one-time key.
export async function open(suite, privateKey, subject, id, { enc, ct }) {
  const recipient = await suite.createRecipientContext({
    recipientKey: privateKey, enc: decode(enc), info: sealInfo("com.github.tokenworker.get.v1", subject, id),
  });
  return JSON.parse(Buffer.from(await recipient.open(decode(ct))).toString("utf8"));
}
