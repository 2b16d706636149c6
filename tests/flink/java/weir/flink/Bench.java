// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.fs.Path;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
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
 * FILE EVENTS FOLDER [ROUNDS]. The folder has the same events in two files, which two tasks read. Both read the same lines by the same
 * source, with the same tasks and checkpoints, and make the same sums; rows, as objects of Java, are thrown away. Figures are medians
 * of the rounds, and the least and the most.
 */
final class Bench {
    private static final int CHUNK = 4 << 20;
    private static final int PARALLELISM = 2;

    private static MiniCluster cluster;

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
        public double price;
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
            s.price += t.price;
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

    /** In a cluster that is there: how long one takes to begin is not what is compared. */
    private static void run(StreamExecutionEnvironment env) throws Exception {
        JobGraph job = env.getStreamGraph().getJobGraph();
        cluster.submitJob(job).get();
        cluster.requestJobResult(job.getJobID()).get().toJobExecutionResult(Bench.class.getClassLoader());
    }

    private static void byWeir(String[] args, String in, int readers, int checkpointMs) throws Exception {
        StreamExecutionEnvironment env = environment(checkpointMs);
        Results results = Weir.rows(lines(env, in, readers), Pipeline.of(java.nio.file.Path.of(args[0]), args[1], 16));
        for (ResultTable table : results.tables()) {
            results.rows(table.name()).sinkTo(new DiscardingSink<>());
        }
        run(env);
    }

    private static void byJava(String in, int readers, int checkpointMs) throws Exception {
        StreamExecutionEnvironment env = environment(checkpointMs);
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
        run(env);
    }

    private interface Job {
        void run(int checkpointMs) throws Exception;
    }

    /** One of what is compared: M events/s, and CPU seconds a million events, of each round. */
    private static final class Figures {
        final List<Double> rate = new ArrayList<>();
        final List<Double> cpu = new ArrayList<>();

        void time(long events, Job job, int checkpointMs) throws Exception {
            com.sun.management.OperatingSystemMXBean os =
                    (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
            System.gc(); // what the others have left is not this one's
            long wall = System.nanoTime();
            long before = os.getProcessCpuTime();
            job.run(checkpointMs);
            rate.add(events / 1e6 / ((System.nanoTime() - wall) / 1e9));
            cpu.add((os.getProcessCpuTime() - before) / 1e9 / events * 1e6);
        }
    }

    private static double median(List<Double> values) {
        List<Double> sorted = values.stream().sorted().toList();
        int n = sorted.size();
        return (sorted.get((n - 1) / 2) + sorted.get(n / 2)) / 2;
    }

    private static String text(List<Double> values, String format) {
        return String.format(Locale.ROOT, format + " (" + format.trim() + " to " + format.trim() + ")", median(values),
                Collections.min(values), Collections.max(values));
    }

    /** The same by weir and by Java, in turn, so that both have what the machine does meanwhile. */
    private static void compare(String name, long events, int rounds, int checkpointMs, Job weir, Job java) throws Exception {
        Figures w = new Figures();
        Figures j = new Figures();
        List<Double> times = new ArrayList<>();
        for (int i = 0; i < rounds; i++) {
            w.time(events, weir, checkpointMs);
            j.time(events, java, checkpointMs);
            times.add(w.rate.get(i) / j.rate.get(i));
        }
        System.out.println(name + (checkpointMs > 0 ? ", a checkpoint a second" : ", no checkpoints"));
        System.out.println("  weir     " + text(w.rate, "%5.2f") + " M events/s   " + text(w.cpu, "%5.3f") + " CPU s/M");
        System.out.println("  Java     " + text(j.rate, "%5.2f") + " M events/s   " + text(j.cpu, "%5.3f") + " CPU s/M");
        System.out.println("  times    " + text(times, "%5.2f") + "                " + String.format(Locale.ROOT, "%5.2f",
                median(j.cpu) / median(w.cpu)) + " of its CPU");
    }

    public static void main(String[] args) throws Exception {
        long events = Long.parseLong(args[3]);
        int rounds = args.length > 5 ? Integer.parseInt(args[5]) : 3;
        cluster = new MiniCluster(new MiniClusterConfiguration.Builder()
                .setNumTaskManagers(1).setNumSlotsPerTaskManager(PARALLELISM).withRandomPorts().build());
        cluster.start();
        byWeir(args, args[2], 1, 0); // what is compiled by the JVM is compiled
        byJava(args[2], 1, 0);
        for (int checkpointMs : new int[] {0, 1000}) {
            compare("one reader", events, rounds, checkpointMs, ms -> byWeir(args, args[2], 1, ms), ms -> byJava(args[2], 1, ms));
            compare("two readers", events, rounds, checkpointMs, ms -> byWeir(args, args[4], 2, ms), ms -> byJava(args[4], 2, ms));
        }
        System.exit(0);
    }
}
