// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.core.fs.Path;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * A job that runs a pipeline of a weir.yaml: {@code --config weir.yaml --pipeline NAME}. Events come from the topics of Kafka that the
 * stream reads, or with {@code --in} from files; rows go to the tables of {@code postgresql}, or with {@code --out} to files. Without
 * Flink around it, it runs in a cluster of its own, in this process.
 */
public final class Job {
    private static final Set<String> OPTIONS = Set.of("config", "pipeline", "in", "out", "parallelism", "readers", "key-groups",
            "checkpoints", "idle-timeout", "until");
    private static final int CHUNK = 4 << 20;

    private final StreamExecutionEnvironment env;
    private final Pipeline pipeline;
    private final Map<String, String> options;
    private final Settings settings;

    private Job(StreamExecutionEnvironment env, Map<String, String> options) throws java.io.IOException {
        this.env = env;
        this.options = options;
        pipeline = Pipeline.of(java.nio.file.Path.of(options.get("config")), options.get("pipeline"), number("key-groups", 64));
        settings = pipeline.settings();
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> o = options(args);
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment();
        Job job = new Job(env, o);
        env.setParallelism(job.number("parallelism", env.getParallelism()));
        env.enableCheckpointing(job.number("checkpoints", 10000));
        env.getConfig().enableObjectReuse();
        job.build();
        env.execute("weir " + job.pipeline.name());
    }

    /** Source, pipeline and sink, with names that savepoints know. */
    private void build() throws Exception {
        List<ResultTable> tables = pipeline.tables();
        if (options.containsKey("out")) {
            Weir.shard(pieces(), pipeline, null).sinkTo(Weir.folders(new Path(options.get("out")))).uid("weir-folders");
            return;
        }
        if (settings.names("postgresql.").isEmpty()) {
            throw new WeirException("--out is missing, and 'server' has no 'postgresql' for the tables of the pipeline");
        }
        JdbcTables to = new JdbcTables(settings);
        Results results = new Results(Weir.shard(pieces(), pipeline, tables), tables);
        to.make(tables);
        for (ResultTable table : tables) {
            to.put(results.rows(table.name()), table);
        }
    }

    private DataStream<Tuple2<Integer, byte[]>> pieces() {
        if (options.containsKey("in")) {
            return Weir.router(env.fromSource(Weir.files(new LineFormat(CHUNK), new Path(options.get("in"))),
                            WatermarkStrategy.noWatermarks(), "lines")
                    .uid("weir-lines")
                    .setParallelism(number("readers", 1)), pipeline, false, 0);
        }
        if (settings.names("kafka.").isEmpty()) {
            throw new WeirException("--in is missing, and the stream has no 'source' with 'kafka'");
        }
        KafkaTopics topics = new KafkaTopics(settings);
        int partitions = topics.partitions().size();
        int readers = number("readers", Math.min(partitions, env.getParallelism()));
        if (readers < 1 || readers > partitions) {
            throw new WeirException("of " + partitions + " partitions " + readers + " tasks cannot read");
        }
        return Weir.router(env.fromSource(topics.source("end".equals(options.get("until"))), Spoken.strategy(), "kafka")
                .uid("weir-kafka")
                .setParallelism(readers), pipeline, true, 1000L * number("idle-timeout", 0));
    }

    private int number(String option, int otherwise) {
        return options.containsKey(option) ? Integer.parseInt(options.get(option)) : otherwise;
    }

    private static Map<String, String> options(String[] args) {
        Map<String, String> o = new HashMap<>();
        for (int i = 0; i + 1 < args.length; i += 2) {
            String name = args[i].startsWith("--") ? args[i].substring(2) : "";
            if (!OPTIONS.contains(name)) {
                throw new IllegalArgumentException("'" + args[i] + "' is none of the options " + OPTIONS);
            }
            o.put(name, args[i + 1]);
        }
        for (String name : new String[] {"config", "pipeline"}) {
            if (!o.containsKey(name)) {
                throw new IllegalArgumentException("--" + name + " is missing");
            }
        }
        return o;
    }
}
