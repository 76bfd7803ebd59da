// Asks STS who it is with the AWS SDK for JavaScript v3; see ../README.md.
const { setTimeout: sleep } = require("node:timers/promises");
const { GetCallerIdentityCommand, STSClient } = require("@aws-sdk/client-sts");

const [endpoint, seconds, profile] = process.argv.slice(2);
const clients = [new STSClient({ endpoint }), new STSClient({ endpoint, profile })];

async function main() {
  const end = performance.now() + 1000 * Number(seconds);
  let rounds = 0;
  for (; performance.now() < end; rounds++) {
    for (const client of clients) await client.send(new GetCallerIdentityCommand({}));
    await sleep(1000);
  }
  console.log("javascript: rounds", rounds);
}

main().catch((error) => {
  console.error("javascript:", error);
  process.exitCode = 1;
});
