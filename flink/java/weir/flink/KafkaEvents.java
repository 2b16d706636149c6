// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.time.Duration;
import java.util.List;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** The topics that the stream of a pipeline reads, {@code source: {kafka: ...}}, and the results of the pipeline; see {@link Weir#kafka}. */
public final class KafkaEvents {
    private final StreamExecutionEnvironment env;
    private final Pipeline pipeline;
    private final KafkaTopics topics;
    private int readers; // 0: it was not said
    private long idleMs;
    private boolean untilEnd;

    KafkaEvents(StreamExecutionEnvironment env, Pipeline pipeline) {
        Settings settings = pipeline.settings();
        if (settings.names("kafka.").isEmpty()) {
            throw new WeirException("the stream of pipeline '" + pipeline.name() + "' has no 'source' with 'kafka'");
        }
        this.env = env;
        this.pipeline = pipeline;
        topics = new KafkaTopics(settings);
    }

    /** How many tasks read and decode; without it as many as there are partitions, at most the environment's parallelism. */
    public KafkaEvents readers(int tasks) {
        readers = tasks;
        return this;
    }

    /** A partition that is silent for so long holds windows open no more; without it all do. */
    public KafkaEvents idleTimeout(Duration silent) {
        idleMs = silent.toMillis();
        return this;
    }

    /** What is there now, and no more. */
    public KafkaEvents untilEnd() {
        untilEnd = true;
        return this;
    }

    /** (table, a JSON object), as {@link Weir#run}. */
    public DataStream<Tuple2<String, String>> run() {
        pipeline.tables(); // or it is refused
        return Weir.shard(pieces(), pipeline, null);
    }

    /** The same as typed rows, a stream for each table. */
    public Results rows() {
        List<ResultTable> tables = pipeline.tables();
        return new Results(Weir.shard(pieces(), pipeline, tables), tables);
    }

    private DataStream<Tuple2<Integer, byte[]>> pieces() {
        int partitions = topics.partitions().size();
        int tasks = readers != 0 ? readers : Math.min(partitions, env.getParallelism());
        if (tasks < 1 || tasks > partitions) {
            throw new WeirException("of " + partitions + " partitions " + tasks + " tasks cannot read");
        }
        return Weir.router(env.fromSource(topics.source(untilEnd), Spoken.strategy(), "kafka")
                .uid("weir-kafka")
                .setParallelism(tasks), pipeline, true, topics.areWhole(), idleMs);
    }
}
