// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.KafkaSourceBuilder;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetResetStrategy;
import org.apache.kafka.common.TopicPartition;

/** {@code source: {kafka: ...}} of a stream, by Flink's connector: messages with the name of their partition, TOPIC/PARTITION. */
final class KafkaTopics {
    private static final String NEW_PARTITIONS_MS = "10000";

    private final Settings settings;
    private final Properties client;

    /** Refused is what Kafka's client for Java, or this, cannot do. */
    KafkaTopics(Settings settings) {
        this.settings = settings;
        if (!settings.all("kafka.sender").isEmpty()) {
            throw new WeirException("'kafka': 'senders' is weir's own: in Flink one job has both phases");
        }
        client = properties(settings);
    }

    /** Each message is read by itself, as it is JSON, CSV or line protocol; of NDJSON many are read at once. */
    boolean areWhole() {
        return !"ndjson".equals(settings.get("kafka.format"));
    }

    /** The partitions that are read, as the brokers know them now. */
    Set<TopicPartition> partitions() {
        Set<TopicPartition> found = new HashSet<>();
        List<String> wanted = settings.all("kafka.partition");
        try (Admin admin = Admin.create(client)) {
            admin.describeTopics(settings.all("kafka.topic")).allTopicNames().get().forEach((topic, d) -> d.partitions().stream()
                    .filter(p -> wanted.isEmpty() || wanted.contains(Integer.toString(p.partition())))
                    .forEach(p -> found.add(new TopicPartition(topic, p.partition()))));
        } catch (ExecutionException e) {
            throw new WeirException("'kafka': " + settings.get("kafka.brokers") + ": " + e.getCause().getMessage());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new WeirException("'kafka': interrupted");
        }
        return found;
    }

    /** @param bounded it ends where the partitions end now */
    KafkaSource<Tuple2<String, byte[]>> source(boolean bounded) {
        boolean newest = "newest".equals(settings.get("kafka.begin"));
        boolean goesOn = "go_on".equals(settings.get("kafka.on_lost"));
        KafkaSourceBuilder<Tuple2<String, byte[]>> b = KafkaSource.<Tuple2<String, byte[]>>builder()
                .setBootstrapServers(settings.get("kafka.brokers"))
                .setProperties(client)
                .setProperty("partition.discovery.interval.ms", NEW_PARTITIONS_MS)
                .setStartingOffsets(new Begin(newest, goesOn))
                .setDeserializer(new Messages());
        if (settings.all("kafka.partition").isEmpty()) {
            b.setTopics(settings.all("kafka.topic"));
        } else {
            b.setPartitions(partitions());
        }
        if (settings.get("kafka.group") != null) {
            b.setGroupId(settings.get("kafka.group"));
        } else {
            b.setProperty("commit.offsets.on.checkpoint", "false");
        }
        return (bounded ? b.setBounded(OffsetsInitializer.latest()) : b).build();
    }

    // ---- Properties of librdkafka as those of the client for Java

    private static Properties properties(Settings s) {
        Properties p = new Properties();
        p.setProperty("bootstrap.servers", s.get("kafka.brokers"));
        for (String name : s.names("kafka.option.")) {
            put(p, name, s.get("kafka.option." + name));
        }
        for (String name : s.names("kafka.option_file.")) {
            put(p, name, Settings.file(s.get("kafka.option_file." + name)));
        }
        String user = (String) p.remove("sasl.username");
        String password = (String) p.remove("sasl.password");
        if (user != null) {
            String module = p.getProperty("sasl.mechanism", "").startsWith("SCRAM-") ? "scram.ScramLoginModule" : "plain.PlainLoginModule";
            p.setProperty("sasl.jaas.config", "org.apache.kafka.common.security." + module + " required username=" + quoted(user)
                    + " password=" + quoted(password == null ? "" : password) + ";");
        }
        return p;
    }

    private static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    private static void put(Properties p, String name, String value) {
        switch (name) {
            case "security.protocol":
                p.setProperty(name, value.toUpperCase(Locale.ROOT));
                break;
            case "sasl.mechanism":
            case "sasl.mechanisms":
                p.setProperty("sasl.mechanism", value);
                break;
            case "sasl.username":
            case "sasl.password":
                p.setProperty(name, value);
                break;
            case "ssl.ca.location":
                p.setProperty("ssl.truststore.type", "PEM");
                p.setProperty("ssl.truststore.location", value);
                break;
            case "ssl.certificate.location":
                p.setProperty("ssl.keystore.type", "PEM");
                p.setProperty("ssl.keystore.certificate.chain", Settings.file(value));
                break;
            case "ssl.key.location":
                p.setProperty("ssl.keystore.type", "PEM");
                p.setProperty("ssl.keystore.key", Settings.file(value));
                break;
            default:
                if (!ConsumerConfig.configNames().contains(name)) {
                    throw new WeirException("'kafka': Kafka's client for Java has no property '" + name + "'");
                }
                p.setProperty(name, value);
        }
    }

    // ---- What the source is made of

    /** Where partitions are begun. Messages that are gone before they were read end the job, unless it goes on without them. */
    private record Begin(boolean newest, boolean goesOn) implements OffsetsInitializer {
        private static final long serialVersionUID = 1;

        @Override
        public Map<TopicPartition, Long> getPartitionOffsets(Collection<TopicPartition> partitions, PartitionOffsetsRetriever where) {
            return newest ? where.endOffsets(partitions) : where.beginningOffsets(partitions);
        }

        @Override
        public OffsetResetStrategy getAutoOffsetResetStrategy() {
            return goesOn ? OffsetResetStrategy.EARLIEST : OffsetResetStrategy.NONE;
        }
    }

    private static final class Messages implements KafkaRecordDeserializationSchema<Tuple2<String, byte[]>> {
        private static final long serialVersionUID = 1;
        private transient Map<TopicPartition, String> names;

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> message, Collector<Tuple2<String, byte[]>> out) {
            if (message.value() == null || message.value().length == 0) {
                return;
            }
            if (names == null) {
                names = new HashMap<>();
            }
            out.collect(Tuple2.of(names.computeIfAbsent(new TopicPartition(message.topic(), message.partition()),
                    p -> p.topic() + "/" + p.partition()), message.value()));
        }

        @Override
        public TypeInformation<Tuple2<String, byte[]>> getProducedType() {
            return Types.TUPLE(Types.STRING, PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO);
        }
    }
}
