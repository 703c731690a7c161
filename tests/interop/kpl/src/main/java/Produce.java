import com.google.common.util.concurrent.ListenableFuture;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordResult;

/** The Kinesis Producer Library: Produce KINESIS_PORT STS_PORT STREAM COUNT; prints where each record came to stand. */
public class Produce {
    public static void main(String[] arguments) throws Exception {
        KinesisProducerConfiguration options = new KinesisProducerConfiguration()
            .setCredentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("any", "any")))
            .setRegion("us-east-1").setKinesisEndpoint("localhost").setKinesisPort(Long.parseLong(arguments[0]))
            .setStsEndpoint("localhost").setStsPort(Long.parseLong(arguments[1]))
            .setCloudwatchEndpoint("localhost").setCloudwatchPort(Long.parseLong(arguments[1]))
            .setVerifyCertificate(false).setMetricsLevel("none").setRecordTtl(120_000).setLogLevel("info");
        KinesisProducer producer = new KinesisProducer(options);
        List<ListenableFuture<UserRecordResult>> asked = new ArrayList<>();
        for (int number = 0; number < Integer.parseInt(arguments[3]); number++) {
            ByteBuffer data = ByteBuffer.wrap(String.valueOf(number).getBytes(StandardCharsets.UTF_8));
            asked.add(producer.addUserRecord(arguments[2], "key-" + number, data));
        }
        producer.flush();
        for (ListenableFuture<UserRecordResult> each : asked) {
            UserRecordResult result = each.get(150, TimeUnit.SECONDS);
            System.out.println("PUT " + result.getShardId() + " " + result.getSequenceNumber());
        }
        producer.destroy();
        System.exit(0);
    }
}
