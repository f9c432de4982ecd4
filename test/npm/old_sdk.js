// Asks for role credentials as AWS's SDK for JavaScript did in 2015, before IMDSv2.
import AWS from "aws-sdk-2015";

new AWS.EC2MetadataCredentials({ httpOptions: { timeout: 20_000 }, maxRetries: 0 }).refresh((failure) => {
  if (failure) throw failure;
});
