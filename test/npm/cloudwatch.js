// Asks CloudWatch's API of a server with the AWS SDK for JavaScript, and prints what it learned as JSON.
import { readFileSync } from "node:fs";
import { CloudWatch } from "@aws-sdk/client-cloudwatch";

const [endpoint, file, instance] = process.argv.slice(2);
const value = (name) => readFileSync(file, "utf8").match(new RegExp(`^${name}\\s*=\\s*(\\S+)`, "m"))[1];
const api = new CloudWatch({
  endpoint, region: "us-east-1", maxAttempts: 1,
  credentials: { accessKeyId: value("aws_access_key_id"), secretAccessKey: value("aws_secret_access_key") },
});
const of = { Namespace: "AWS/EC2", MetricName: "MetadataNoToken", Dimensions: [{ Name: "InstanceId", Value: instance }] };
const now = Date.now();
const points = await api.getMetricStatistics({ ...of, StartTime: new Date(now - 3600e3), EndTime: new Date(now + 60e3), Period: 7200, Statistics: ["Sum"] });
await api.putMetricAlarm({ ...of, AlarmName: "v1", Statistic: "Sum", Period: 300, EvaluationPeriods: 1, Threshold: 0, ComparisonOperator: "GreaterThanThreshold" });
await api.setAlarmState({ AlarmName: "v1", StateValue: "ALARM", StateReason: "a drill" });
const shown = await api.describeAlarms({ AlarmNames: ["v1"] });
let failed = "";
try {
  await api.setAlarmState({ AlarmName: "absent", StateValue: "OK", StateReason: "a drill" });
} catch (e) {
  failed = e.name;
}
await api.deleteAlarms({ AlarmNames: ["v1"] });
const left = await api.describeAlarms({});
console.log(JSON.stringify({ Sum: points.Datapoints[0].Sum, State: shown.MetricAlarms[0].StateValue, Failed: failed, Left: left.MetricAlarms.length }));
