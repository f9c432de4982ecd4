// Asks EC2's API of a server with the AWS SDK for JavaScript, and prints what it learned as JSON.
import { readFileSync } from "node:fs";
import { EC2, paginateDescribeInstances, waitUntilInstanceRunning, waitUntilInstanceTerminated } from "@aws-sdk/client-ec2";

const [endpoint, file, instance] = process.argv.slice(2);
const value = (name) => readFileSync(file, "utf8").match(new RegExp(`^${name}\\s*=\\s*(\\S+)`, "m"))[1];
const client = new EC2({
  endpoint, region: "us-east-1", maxAttempts: 1,
  credentials: { accessKeyId: value("aws_access_key_id"), secretAccessKey: value("aws_secret_access_key") },
});
const changed = await client.modifyInstanceMetadataOptions({ InstanceId: instance, HttpTokens: "required", HttpPutResponseHopLimit: 2 });
const images = await client.describeImages({ Filters: [{ Name: "name", Values: ["debian_12"] }] });
const made = await client.runInstances({ ImageId: images.Images[0].ImageId, MinCount: 1, MaxCount: 1, MetadataOptions: { InstanceMetadataTags: "enabled" } });
const InstanceIds = [made.Instances[0].InstanceId];
const waiting = { client, maxWaitTime: 600, minDelay: 1, maxDelay: 1 };
await waitUntilInstanceRunning(waiting, { InstanceIds });
await client.terminateInstances({ InstanceIds });
await waitUntilInstanceTerminated(waiting, { InstanceIds });
let instances = 0;
for await (const page of paginateDescribeInstances({ client, pageSize: 5 }, {})) {
  instances += page.Reservations.flatMap((r) => r.Instances).length;
}
let failed = "";
try {
  await client.startInstances({ InstanceIds });
} catch (e) {
  failed = e.name;
}
console.log(JSON.stringify({
  HttpTokens: changed.InstanceMetadataOptions.HttpTokens, HopLimit: changed.InstanceMetadataOptions.HttpPutResponseHopLimit,
  Tags: made.Instances[0].MetadataOptions.InstanceMetadataTags, Instances: instances, Failed: failed,
}));
