// aws-kinesis-agg of npm: for each line of standard input, a case, a line with the aggregate that it makes of the case's
// records, and with what it finds in the aggregate that was made elsewhere.
import agg from "aws-kinesis-agg";
import readline from "node:readline";

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { records, made } = JSON.parse(line);
  const aggregator = new agg.RecordAggregator();
  for (const [data, partitionKey, explicitHashKey] of records) {
    aggregator.addUserRecord({ data: Buffer.from(data, "base64"), partitionKey, explicitHashKey });
  }
  const theirs = aggregator.build().data.toString("base64");
  let seen;
  agg.deaggregateSync({ data: made, sequenceNumber: "1", partitionKey: "a" }, true, (error, found) => {
    if (error) throw error;
    seen = found.map((each) => [each.data, each.partitionKey, each.explicitPartitionKey]);
  });
  console.log(JSON.stringify({ theirs, seen }));
}
