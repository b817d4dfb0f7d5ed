// Hands a token in, reads it back, and disconnects. Against `tokenworker dev`:
//
//   tokenworker keys show > public.json
//   NATS_URL=… NATS_TOKEN=… node example.mjs public.json < token
//
// (NATS_URL and NATS_TOKEN are in the data directory's dev.json.) The token comes on standard input, because arguments and the
// environment can be read by others.
import { readFileSync } from "node:fs";
import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { acquired, disconnect, NoToken, publish, read } from "./tokenworker.mjs";

const publicKey = JSON.parse(readFileSync(process.argv[2], "utf8"));
const token = readFileSync(0, "utf8").trim();
const key = ["acme", "gusto", "Größe & Co."];
const caller = "payroll";

const nc = await connect({ servers: process.env.NATS_URL, token: process.env.NATS_TOKEN, inboxPrefix: `_INBOX.${caller}` });
const js = jetstream(nc);
try {
  const stored = nc.subscribe("tokens.v1.event.stored.acme.gusto.*", { max: 1 });
  const expiresAt = new Date(Math.floor(Date.now() / 1000) * 1000 + 3_600_000).toISOString();
  await publish(js, await acquired(key, "//example", { access_token: token, expires_at: expiresAt }, publicKey));
  for await (const _ of stored) console.log("stored");

  const first = await read(nc, caller, key);
  console.log(first.access_token === token ? "read what was handed in" : "read another token");

  const gone = nc.subscribe("tokens.v1.event.disconnected.acme.gusto.*", { max: 1 });
  await publish(js, disconnect(key, "//example"));
  for await (const _ of gone) console.log("disconnected");
  await read(nc, caller, key);
} catch (err) {
  if (!(err instanceof NoToken)) throw err;
  console.log(err.message);
} finally {
  await nc.close();
}
