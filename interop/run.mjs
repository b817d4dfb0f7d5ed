// Reads one JSON request from standard input and writes one JSON answer: `node run.mjs seal` or `node run.mjs open`.
// Requests travel on standard input because they hold tokens, and arguments can be read by every user of a machine.
import { readFileSync } from "node:fs";
import { openAcquired, sealAcquired } from "./contract.mjs";

const request = JSON.parse(readFileSync(0, "utf8"));
switch (process.argv[2]) {
  case "seal":
    console.log(JSON.stringify(await sealAcquired(request)));
    break;
  case "open":
    console.log(JSON.stringify({ plaintext: await openAcquired(request) }));
    break;
  default:
    console.error("usage: node run.mjs seal|open < request.json");
    process.exit(2);
}
