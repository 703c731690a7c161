// The JS SDK v3 with its default handler, which speaks HTTP/2 with prior knowledge: node client.mjs ENDPOINT
import {
  KinesisClient, CreateStreamCommand, DescribeStreamSummaryCommand, GetRecordsCommand, GetShardIteratorCommand,
  PutRecordsCommand, RegisterStreamConsumerCommand, SubscribeToShardCommand, DeleteStreamCommand,
} from "@aws-sdk/client-kinesis";
import assert from "node:assert";

const client = new KinesisClient({
  endpoint: process.argv[2], region: "us-east-1", credentials: { accessKeyId: "any", secretAccessKey: "any" },
});
const name = { StreamName: "from-js" };
const shard = { ...name, ShardId: "shardId-000000000000" };

await client.send(new CreateStreamCommand({ ...name, ShardCount: 1 }));
const summary = (await client.send(new DescribeStreamSummaryCommand(name))).StreamDescriptionSummary;
assert.equal(summary.StreamStatus, "ACTIVE");
const records = [...Array(10).keys()].map((n) => ({ Data: Buffer.from(`${n}`), PartitionKey: `${n}` }));
assert.equal((await client.send(new PutRecordsCommand({ ...name, Records: records }))).FailedRecordCount, 0);
const { ShardIterator } = await client.send(new GetShardIteratorCommand({ ...shard, ShardIteratorType: "TRIM_HORIZON" }));
const got = await client.send(new GetRecordsCommand({ ShardIterator }));
assert.deepEqual(got.Records.map((record) => Buffer.from(record.Data).toString()), [..."0123456789"]);
await assert.rejects(client.send(new GetRecordsCommand({ ShardIterator: "damaged" })), { name: "InvalidArgumentException" });

const { Consumer } = await client.send(
  new RegisterStreamConsumerCommand({ StreamARN: summary.StreamARN, ConsumerName: "js" }));
const { EventStream } = await client.send(new SubscribeToShardCommand({
  ConsumerARN: Consumer.ConsumerARN, ShardId: shard.ShardId, StartingPosition: { Type: "TRIM_HORIZON" },
}));
const seen = [];
for await (const event of EventStream) {
  seen.push(...event.SubscribeToShardEvent.Records.map((record) => Buffer.from(record.Data).toString()));
  assert.ok(event.SubscribeToShardEvent.ContinuationSequenceNumber);
  if (seen.length === 10) {
    await client.send(new PutRecordsCommand({ ...name, Records: [{ Data: Buffer.from("late"), PartitionKey: "k" }] }));
  }
  if (seen.length > 10) break;
}
assert.deepEqual(seen, [..."0123456789", "late"]);
await client.send(new DeleteStreamCommand({ ...name, EnforceConsumerDeletion: true }));
console.log("ok");
client.destroy();
process.exit(0);
