// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.fs.Path;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.util.Collector;

/**
 * W1 by a pipeline in Flink, and the same by windows of Flink's own in Java, one after the other in the same process: CONFIG PIPELINE
 * FILE EVENTS FOLDER [ROUNDS]. The folder has the same events in two files, which two tasks read. Rows are thrown away.
 */
final class Bench {
    private static final int CHUNK = 4 << 20;
    private static final int PARALLELISM = 2;

    private Bench() {}

    /** Fields that Flink knows how to write. */
    public static final class Trade {
        public long ts;
        public String symbol;
        public double price;
        public long qty;
    }

    public static final class Sums {
        public String symbol;
        public long count;
        public long qty;
        public double turnover;
        public double min = Double.POSITIVE_INFINITY;
        public double max = Double.NEGATIVE_INFINITY;
    }

    /** Jackson by tokens: no tree, no reflection. */
    private static final class Parse implements FlatMapFunction<byte[], Trade> {
        private static final long serialVersionUID = 1;
        private static final JsonFactory JSON = new JsonFactory();

        @Override
        public void flatMap(byte[] lines, Collector<Trade> out) throws IOException {
            try (JsonParser p = JSON.createParser(lines)) {
                while (p.nextToken() == JsonToken.START_OBJECT) {
                    out.collect(trade(p));
                }
            }
        }

        private static Trade trade(JsonParser p) throws IOException {
            Trade t = new Trade();
            while (p.nextToken() == JsonToken.FIELD_NAME) {
                String name = p.currentName();
                p.nextToken();
                switch (name) {
                    case "ts": t.ts = p.getLongValue(); break;
                    case "symbol": t.symbol = p.getText(); break;
                    case "price": t.price = p.getDoubleValue(); break;
                    case "qty": t.qty = p.getLongValue(); break;
                    default: p.skipChildren();
                }
            }
            return t;
        }
    }

    private static final class Fold implements AggregateFunction<Trade, Sums, Sums> {
        private static final long serialVersionUID = 1;

        @Override
        public Sums createAccumulator() {
            return new Sums();
        }

        @Override
        public Sums add(Trade t, Sums s) {
            s.symbol = t.symbol;
            s.count++;
            s.qty += t.qty;
            s.turnover += t.price * t.qty;
            s.min = Math.min(s.min, t.price);
            s.max = Math.max(s.max, t.price);
            return s;
        }

        @Override
        public Sums getResult(Sums s) {
            return s;
        }

        @Override
        public Sums merge(Sums a, Sums b) {
            throw new UnsupportedOperationException();
        }
    }

    private static DataStream<byte[]> lines(StreamExecutionEnvironment env, String in, int readers) {
        return env.fromSource(Weir.files(new LineFormat(CHUNK), new Path(in)), WatermarkStrategy.noWatermarks(), "lines")
                .setParallelism(readers);
    }

    private static StreamExecutionEnvironment environment(int checkpointMs) {
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(new Configuration());
        env.setParallelism(PARALLELISM);
        env.getConfig().enableObjectReuse();
        if (checkpointMs > 0) {
            env.enableCheckpointing(checkpointMs);
        }
        return env;
    }

    private static void byWeir(String[] args, String in, int readers, int checkpointMs) throws Exception {
        StreamExecutionEnvironment env = environment(checkpointMs);
        Weir.run(lines(env, in, readers), Pipeline.of(java.nio.file.Path.of(args[0]), args[1], 16))
                .sinkTo(new DiscardingSink<>());
        env.execute();
    }

    private static void byJava(String in, int readers) throws Exception {
        StreamExecutionEnvironment env = environment(0);
        lines(env, in, readers)
                .flatMap(new Parse()).returns(Types.POJO(Trade.class))
                .setParallelism(readers)
                .assignTimestampsAndWatermarks(WatermarkStrategy
                        .<Trade>forBoundedOutOfOrderness(Duration.ofSeconds(60))
                        .withTimestampAssigner((t, before) -> t.ts))
                .setParallelism(readers)
                .keyBy(t -> t.symbol)
                .window(TumblingEventTimeWindows.of(Duration.ofSeconds(10)))
                .aggregate(new Fold())
                .sinkTo(new DiscardingSink<>());
        env.execute();
    }

    private interface Job {
        void run() throws Exception;
    }

    private static void time(String name, long events, Job job) throws Exception {
        com.sun.management.OperatingSystemMXBean os =
                (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        long wall = System.nanoTime();
        long cpu = os.getProcessCpuTime();
        job.run();
        double s = (System.nanoTime() - wall) / 1e9;
        double cpuS = (os.getProcessCpuTime() - cpu) / 1e9;
        System.out.println(String.format("%-24s %6.2f M events/s  %6.3f CPU s a million events",
                name, events / s / 1e6, cpuS / events * 1e6));
    }

    public static void main(String[] args) throws Exception {
        long events = Long.parseLong(args[3]);
        int rounds = args.length > 5 ? Integer.parseInt(args[5]) : 3;
        for (int i = 0; i < rounds; i++) {
            time("weir", events, () -> byWeir(args, args[2], 1, 0));
            time("weir, a checkpoint a s", events, () -> byWeir(args, args[2], 1, 1000));
            time("weir, 2 readers", events, () -> byWeir(args, args[4], 2, 0));
            time("windows in Java", events, () -> byJava(args[2], 1));
            time("the same, 2 readers", events, () -> byJava(args[4], 2));
        }
        System.exit(0);
    }
}
