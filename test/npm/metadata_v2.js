// Asks the metadata service as version 2 of the AWS SDK for JavaScript does, which joins endpoint and path
// without a look at the slashes between them, and prints the role's credentials as JSON.
import AWS from "aws-sdk";
const patient = { httpOptions: { timeout: 20_000 }, maxRetries: 0 };
const credentials = new AWS.EC2MetadataCredentials(patient);
await credentials.getPromise();
console.log(JSON.stringify({
  AccessKeyId: credentials.accessKeyId,
  SecretAccessKey: credentials.secretAccessKey,
  Token: credentials.sessionToken,
  Expiration: credentials.expireTime,
}));
