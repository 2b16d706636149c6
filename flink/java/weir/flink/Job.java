// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.time.Duration;
import java.util.HashMap;
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
            "checkpoints", "idle-timeout", "until", "exactly-once");
    private static final int CHUNK = 4 << 20;

    private final StreamExecutionEnvironment env;
    private final Pipeline pipeline;
    private final Map<String, String> options;

    private Job(StreamExecutionEnvironment env, Map<String, String> options) throws java.io.IOException {
        this.env = env;
        this.options = options;
        pipeline = Pipeline.of(java.nio.file.Path.of(options.get("config")), options.get("pipeline"), number("key-groups", 64));
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
        if (options.containsKey("out")) {
            DataStream<Tuple2<String, String>> rows = options.containsKey("in") ? Weir.run(lines(), pipeline) : topics().run();
            rows.sinkTo(Weir.folders(new Path(options.get("out")))).uid("weir-folders");
            return;
        }
        Settings settings = pipeline.settings();
        if (settings.names("postgresql.").isEmpty()) {
            throw new WeirException("--out is missing, and 'server' has no 'postgresql' for the tables of the pipeline");
        }
        JdbcTables to = new JdbcTables(settings);
        Results results = options.containsKey("in") ? Weir.rows(lines(), pipeline) : topics().rows();
        if (isSet("exactly-once")) {
            to.requirePrepared(results.tables().size(), env.getParallelism());
        }
        to.make(results.tables());
        for (ResultTable table : results.tables()) {
            if (isSet("exactly-once")) {
                to.insert(results.rows(table.name()), table);
            } else {
                to.put(results.rows(table.name()), table);
            }
        }
    }

    private DataStream<byte[]> lines() {
        return env.fromSource(Weir.files(new LineFormat(CHUNK), new Path(options.get("in"))), WatermarkStrategy.noWatermarks(), "lines")
                .uid("weir-lines")
                .setParallelism(number("readers", 1));
    }

    private KafkaEvents topics() {
        if (pipeline.settings().names("kafka.").isEmpty()) {
            throw new WeirException("--in is missing, and the stream of pipeline '" + pipeline.name() + "' has no 'source' with 'kafka'");
        }
        KafkaEvents events = Weir.kafka(env, pipeline)
                .readers(number("readers", 0))
                .idleTimeout(Duration.ofSeconds(number("idle-timeout", 0)));
        return "end".equals(options.get("until")) ? events.untilEnd() : events;
    }

    private boolean isSet(String option) {
        String value = options.getOrDefault(option, "no");
        if (!value.equals("yes") && !value.equals("no")) {
            throw new IllegalArgumentException("--" + option + " is 'yes' or 'no', not '" + value + "'");
        }
        return value.equals("yes");
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
