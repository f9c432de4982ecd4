// Finds the instance's role credentials by the provider that is named, and prints them as JSON.
// Clients of this service have a second for each request; a busy machine gets some more.
const { fromInstanceMetadata } = await import(process.argv[2]);
const ec2MetadataV1Disabled = process.env.AWS_EC2_METADATA_V1_DISABLED === "true";
const found = await fromInstanceMetadata({ timeout: 20_000, maxRetries: 0, ec2MetadataV1Disabled })();
console.log(JSON.stringify({
  AccessKeyId: found.accessKeyId,
  SecretAccessKey: found.secretAccessKey,
  Token: found.sessionToken,
  Expiration: found.expiration,
}));
