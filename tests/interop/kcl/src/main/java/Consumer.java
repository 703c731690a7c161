import java.net.URI;
import java.nio.charset.StandardCharsets;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.client.builder.AwsClientBuilder;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.MetricsLevel;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/** The Kinesis Client Library over a stream, until it is killed: a line for every shard begun and ended and every record. */
public class Consumer {
    static final class Processor implements ShardRecordProcessor {
        private String shard;

        public void initialize(InitializationInput input) {
            shard = input.shardId();
            say("BEGIN " + shard);
        }

        public void processRecords(ProcessRecordsInput input) {
            input.records().forEach(record ->
                say("RECORD " + shard + " " + record.sequenceNumber() + " " + StandardCharsets.UTF_8.decode(record.data())));
        }

        public void leaseLost(LeaseLostInput input) {
            say("LOST " + shard);
        }

        public void shardEnded(ShardEndedInput input) {
            say("END " + shard);
            try {
                input.checkpointer().checkpoint();
            } catch (InvalidStateException | ShutdownException error) {
                throw new IllegalStateException(error);
            }
        }

        public void shutdownRequested(ShutdownRequestedInput input) {
            say("SHUTDOWN " + shard);
        }
    }

    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    static <B extends AwsClientBuilder<B, ?>> B at(B builder, String url) {
        return builder.endpointOverride(URI.create(url)).region(Region.US_EAST_1)
            .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("any", "any")));
    }

    public static void main(String[] arguments) {
        String stream = arguments[2];
        boolean polls = arguments[3].equals("polling");
        KinesisAsyncClient kinesis = KinesisClientUtil.createKinesisAsyncClient(at(KinesisAsyncClient.builder(), arguments[0]));
        DynamoDbAsyncClient dynamo = at(DynamoDbAsyncClient.builder(), arguments[1]).build();
        CloudWatchAsyncClient cloudWatch = at(CloudWatchAsyncClient.builder(), arguments[1]).build();
        InitialPositionInStreamExtended start =
            InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON);
        ConfigsBuilder configs = new ConfigsBuilder(
            new SingleStreamTracker(stream, start), "app-" + arguments[3], kinesis, dynamo, cloudWatch, "worker", Processor::new);
        var retrieval = configs.retrievalConfig();
        if (polls) {
            retrieval.retrievalSpecificConfig(new PollingConfig(stream, kinesis).idleTimeBetweenReadsInMillis(200));
        }
        var leases = configs.leaseManagementConfig().failoverTimeMillis(2000).shardSyncIntervalMillis(1000);
        var coordinator = configs.coordinatorConfig().parentShardPollIntervalMillis(500);
        var metrics = configs.metricsConfig().metricsLevel(MetricsLevel.NONE).metricsFactory(new NullMetricsFactory());
        new Scheduler(configs.checkpointConfig(), coordinator, leases, configs.lifecycleConfig(), metrics,
            configs.processorConfig(), retrieval).run();
    }
}
