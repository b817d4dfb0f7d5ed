// Opens a worked read (events/testdata/vector-get-….json), which comes on standard input, as `read` opens the worker's reply.
import { readFileSync } from "node:fs";
import { decode, hpke, open } from "./tokenworker.mjs";

const { private_key: key, subject, request, reply } = JSON.parse(readFileSync(0, "utf8"));
const suite = hpke(request.suite);
const privateKey = await suite.kem.deserializePrivateKey(decode(key));
console.log(JSON.stringify(await open(suite, privateKey, subject, request.id, reply)));
