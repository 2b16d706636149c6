// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.util.List;
import org.apache.flink.api.common.serialization.Encoder;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.connector.file.sink.FileSink;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.StreamFormat;
import org.apache.flink.core.fs.Path;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.filesystem.BucketAssigner;
import org.apache.flink.streaming.api.functions.sink.filesystem.bucketassigners.SimpleVersionedStringSerializer;
import org.apache.flink.streaming.api.functions.sink.filesystem.rollingpolicies.OnCheckpointRollingPolicy;

/** The parts of a job: a source of lines, a pipeline of a weir.yaml, a sink of result rows. */
public final class Weir {
    private Weir() {}

    private static final TypeInformation<Tuple2<Integer, byte[]>> PIECE =
            TypeInformation.of(new TypeHint<Tuple2<Integer, byte[]>>() {});
    private static final TypeInformation<Tuple2<String, String>> ROW =
            TypeInformation.of(new TypeHint<Tuple2<String, String>>() {});

    /** Files of NDJSON, or folders of them, one after the other in the order of their paths. */
    public static FileSource<byte[]> files(StreamFormat<byte[]> format, Path... paths) {
        return FileSource.forRecordStreamFormat(format, paths).setSplitAssigner(InOrder::new).build();
    }

    /**
     * The topics of Kafka that the stream of a pipeline reads, as its configuration says: each partition has a watermark of its own.
     * {@code Weir.kafka(env, pipeline).rows()} are the results.
     */
    public static KafkaEvents kafka(StreamExecutionEnvironment env, Pipeline pipeline) {
        return new KafkaEvents(env, pipeline);
    }

    /**
     * The results of a pipeline: (table, a JSON object). Tasks read `lines`, whole ones, and each makes a watermark of what it reads, in
     * its order; as many as the environment's parallelism fold.
     */
    public static DataStream<Tuple2<String, String>> run(DataStream<byte[]> lines, Pipeline pipeline) {
        pipeline.tables(); // or it is refused
        return shard(router(lines, pipeline, false, false, 0), pipeline, null);
    }

    /** The same as typed rows, a stream for each table. */
    public static Results rows(DataStream<byte[]> lines, Pipeline pipeline) {
        List<ResultTable> tables = pipeline.tables();
        return new Results(shard(router(lines, pipeline, false, false, 0), pipeline, tables), tables);
    }

    static <T> DataStream<Tuple2<Integer, byte[]>> router(
            DataStream<T> lines, Pipeline pipeline, boolean announced, boolean whole, long idleMs) {
        return lines.transform("weir router", PIECE, new Router<T>(pipeline, announced, whole, idleMs))
                .uid("weir-router-" + pipeline.name())
                .setParallelism(lines.getParallelism());
    }

    /** @param tables null: rows are JSON */
    static SingleOutputStreamOperator<Tuple2<String, String>> shard(
            DataStream<Tuple2<Integer, byte[]>> pieces, Pipeline pipeline, List<ResultTable> tables) {
        return pieces.keyBy(piece -> piece.f0)
                .transform("weir shard", ROW, new Shard(pipeline, tables))
                .uid("weir-shard-" + pipeline.name())
                .setMaxParallelism(pipeline.keyGroups());
    }

    /** A folder for each table, a line for each row. Files are there when a checkpoint has passed them, so each row once. */
    public static FileSink<Tuple2<String, String>> folders(Path out) {
        Encoder<Tuple2<String, String>> lines = (row, stream) -> {
            stream.write(row.f1.getBytes(java.nio.charset.StandardCharsets.UTF_8));
            stream.write('\n');
        };
        return FileSink.forRowFormat(out, lines)
                .withBucketAssigner(new ByTable())
                .withRollingPolicy(OnCheckpointRollingPolicy.build())
                .build();
    }

    private static final class ByTable implements BucketAssigner<Tuple2<String, String>, String> {
        private static final long serialVersionUID = 1;

        @Override
        public String getBucketId(Tuple2<String, String> row, Context context) {
            return row.f0;
        }

        @Override
        public SimpleVersionedSerializer<String> getSerializer() {
            return SimpleVersionedStringSerializer.INSTANCE;
        }
    }
}
