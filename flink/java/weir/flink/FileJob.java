// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.core.fs.Path;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * A job that runs a pipeline over files: {@code --config weir.yaml --pipeline NAME --in FILE --out FOLDER}, and, if wanted,
 * {@code --parallelism N --key-groups N --checkpoints MILLISECONDS}. Without Flink around it, it runs in a cluster of its own, in this
 * process.
 */
public final class FileJob {
    private static final Set<String> OPTIONS =
            Set.of("config", "pipeline", "in", "out", "parallelism", "key-groups", "checkpoints");
    private static final int CHUNK = 4 << 20;

    private FileJob() {}

    public static void main(String[] args) throws Exception {
        Map<String, String> o = options(args);
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment();
        if (o.containsKey("parallelism")) {
            env.setParallelism(Integer.parseInt(o.get("parallelism")));
        }
        env.enableCheckpointing(Duration.ofMillis(Long.parseLong(o.getOrDefault("checkpoints", "10000"))).toMillis());
        Pipeline pipeline = Pipeline.of(java.nio.file.Path.of(o.get("config")), o.get("pipeline"),
                Integer.parseInt(o.getOrDefault("key-groups", "64")));
        build(env, pipeline, new LineFormat(CHUNK), new Path(o.get("in")), new Path(o.get("out")));
        env.execute("weir " + pipeline.name());
    }

    /** Source, pipeline and sink, with names that savepoints know. */
    static void build(StreamExecutionEnvironment env, Pipeline pipeline, LineFormat format, Path in, Path out) {
        Weir.run(env.fromSource(Weir.files(format, in), WatermarkStrategy.noWatermarks(), "lines")
                        .uid("weir-lines")
                        .setParallelism(1), pipeline)
                .sinkTo(Weir.folders(out))
                .uid("weir-folders");
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
        for (String name : new String[] {"config", "pipeline", "in", "out"}) {
            if (!o.containsKey(name)) {
                throw new IllegalArgumentException("--" + name + " is missing");
            }
        }
        return o;
    }
}
