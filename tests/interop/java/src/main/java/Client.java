// The Java SDK v2 with its defaults: CBOR, and HTTP/2 for the asynchronous client: Client ENDPOINT
import java.net.URI;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.*;

public class Client {
    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    public static void main(String[] arguments) throws Exception {
        KinesisAsyncClient client = KinesisAsyncClient.builder()
            .endpointOverride(URI.create(arguments[0]))
            .region(Region.US_EAST_1)
            .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("any", "any")))
            .build();
        String name = "from-java", shard = "shardId-000000000000";
        client.createStream(r -> r.streamName(name).shardCount(1)).get(20, TimeUnit.SECONDS);
        String arn = client.describeStreamSummary(r -> r.streamName(name)).get(20, TimeUnit.SECONDS)
            .streamDescriptionSummary().streamARN();
        byte[] data = {0, (byte) 0xff, 7};
        List<PutRecordsRequestEntry> entries = IntStream.range(0, 10).mapToObj(n -> PutRecordsRequestEntry.builder()
            .data(SdkBytes.fromByteArray(data)).partitionKey("k" + n).build()).toList();
        check(client.putRecords(r -> r.streamName(name).records(entries)).get(20, TimeUnit.SECONDS).failedRecordCount() == 0, "put");
        String start = client.getShardIterator(r -> r.streamName(name).shardId(shard)
            .shardIteratorType(ShardIteratorType.AT_TIMESTAMP).timestamp(Instant.now().minusSeconds(60))).get(20, TimeUnit.SECONDS).shardIterator();
        List<software.amazon.awssdk.services.kinesis.model.Record> records =
            client.getRecords(r -> r.shardIterator(start)).get(20, TimeUnit.SECONDS).records();
        check(records.size() == 10, "count");
        check(java.util.Arrays.equals(records.get(0).data().asByteArray(), data), "data");
        long age = Instant.now().toEpochMilli() - records.get(0).approximateArrivalTimestamp().toEpochMilli();
        check(age >= 0 && age < 60_000, "time " + age);
        try {
            client.describeStream(r -> r.streamName("nope")).get(20, TimeUnit.SECONDS);
            check(false, "found what is not there");
        } catch (java.util.concurrent.ExecutionException error) {
            check(error.getCause() instanceof ResourceNotFoundException, "" + error.getCause());
        }
        String consumer = client.registerStreamConsumer(r -> r.streamARN(arn).consumerName("java")).get(20, TimeUnit.SECONDS)
            .consumer().consumerARN();
        List<software.amazon.awssdk.services.kinesis.model.Record> seen = new ArrayList<>();
        CompletableFuture<Void> enough = new CompletableFuture<>();
        SubscribeToShardResponseHandler handler = SubscribeToShardResponseHandler.builder()
            .onError(error -> { if (!enough.isDone()) enough.completeExceptionally(error); })
            .subscriber(event -> {
                seen.addAll(((SubscribeToShardEvent) event).records());
                if (seen.size() >= 10) enough.complete(null);
            }).build();
        client.subscribeToShard(r -> r.consumerARN(consumer).shardId(shard)
            .startingPosition(p -> p.type(ShardIteratorType.TRIM_HORIZON)), handler);
        enough.get(30, TimeUnit.SECONDS);
        check(seen.size() == 10, "fan-out");
        System.out.println("ok");
        System.exit(0);
    }
}
