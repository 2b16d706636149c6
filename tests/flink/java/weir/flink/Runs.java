// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.io.IOException;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.flink.api.common.JobID;
import org.apache.flink.api.common.TaskInfoImpl;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.connector.sink2.Committer;
import org.apache.flink.api.connector.sink2.CommittingSinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.core.fs.FSDataInputStream;
import org.apache.flink.core.fs.Path;
import org.apache.flink.runtime.execution.ExecutionState;
import org.apache.flink.runtime.executiongraph.AccessExecutionVertex;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.jobgraph.SavepointRestoreSettings;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * Runs of the tests on a MiniCluster: SCENARIO CONFIG PIPELINE IN OUT FOLDER; OUT "postgresql" are the tables of the configuration,
 * and savepoints are beside FOLDER. What is waited for is a checkpoint, or a savepoint, never a time.
 */
final class Runs {
    private static final int CHUNK = 64 << 10;
    private static final int KEY_GROUPS = 16;
    private static final int SOME = 400 << 10; // bytes that every file has

    private static final AtomicInteger CHECKPOINTS = new AtomicInteger();
    private static final Set<String> SEEN = ConcurrentHashMap.newKeySet(); // messages, no two of which are the same
    private static volatile long stopAt = Long.MAX_VALUE; // where readers wait in the file
    private static volatile CompletableFuture<Void> arrived = new CompletableFuture<>();
    private static volatile CompletableFuture<Void> go = new CompletableFuture<>();
    private static volatile boolean fails; // once, where they would wait
    private static volatile boolean kills; // instead, processes of analyzers
    private static volatile boolean failed; // once
    private static volatile long again; // bytes behind which it fails once more, whatever is in a checkpoint; 0: it does not

    private Runs() {}

    /** Lines of a file, of which a reader stops at a place. */
    private static final class Stopping extends LineFormat {
        private static final long serialVersionUID = 1;

        Stopping() {
            super(CHUNK);
        }

        @Override
        public Reader<byte[]> createReader(Configuration c, FSDataInputStream in, long size, long end) {
            return new Waiting(in, 0);
        }

        @Override
        public Reader<byte[]> restoreReader(Configuration c, FSDataInputStream in, long offset, long size, long end)
                throws IOException {
            in.seek(offset);
            return new Waiting(in, offset);
        }
    }

    private static final class Waiting extends LineFormat.Lines {
        Waiting(FSDataInputStream in, long offset) {
            super(in, offset, CHUNK);
        }

        @Override
        public byte[] read() throws IOException {
            if (getCheckpointedPosition().getOffset() >= stopAt) {
                arrived.complete(null);
                if (fails) {
                    if (!failed) {
                        awaitCheckpoints();
                    }
                    fail(getCheckpointedPosition().getOffset());
                    return super.read();
                }
                go.join();
            }
            return super.read();
        }
    }

    /** Nothing, if another reader has done so meanwhile. */
    private static synchronized void fail(long at) throws IOException {
        if (at < stopAt) {
            return;
        }
        fails = !failed && again > 0;
        stopAt = fails ? stopAt + again : Long.MAX_VALUE;
        failed = true;
        if (!kills) {
            throw new IOException("the reader fails, as it was told to");
        }
        ProcessHandle.current().children().forEach(ProcessHandle::destroyForcibly);
    }

    /** A checkpoint that was triggered after all that was read is complete. */
    private static void awaitCheckpoints() throws IOException {
        int two = CHECKPOINTS.get() + 2;
        while (CHECKPOINTS.get() < two) {
            try {
                Thread.sleep(10);
            } catch (InterruptedException e) {
                throw new IOException(e);
            }
        }
    }

    private static final class Counting extends RichMapFunction<byte[], byte[]> implements CheckpointListener {
        private static final long serialVersionUID = 1;

        @Override
        public byte[] map(byte[] lines) {
            return lines;
        }

        @Override
        public void notifyCheckpointComplete(long id) {
            CHECKPOINTS.incrementAndGet();
        }
    }

    /** As many as there are files: each is a source of its own. */
    private static int readers(String[] args) throws IOException {
        java.nio.file.Path in = java.nio.file.Path.of(args[3]);
        try (Stream<java.nio.file.Path> files = Files.isDirectory(in) ? Files.list(in) : Stream.of(in)) {
            return (int) files.count();
        }
    }

    private static Configuration restarting(int restarts) {
        Configuration c = new Configuration();
        c.set(RestartStrategyOptions.RESTART_STRATEGY, restarts > 0 ? "fixed-delay" : "none");
        if (restarts > 0) {
            c.set(RestartStrategyOptions.RESTART_STRATEGY_FIXED_DELAY_ATTEMPTS, restarts);
            c.set(RestartStrategyOptions.RESTART_STRATEGY_FIXED_DELAY_DELAY, java.time.Duration.ofMillis(10));
        }
        return c;
    }

    private static JobGraph job(String[] args, int parallelism, int restarts, int checkpointMs) throws IOException {
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(restarting(restarts));
        env.setParallelism(parallelism);
        if (checkpointMs > 0) {
            env.enableCheckpointing(checkpointMs);
        }
        Pipeline pipeline = Pipeline.of(java.nio.file.Path.of(args[1]), args[2], KEY_GROUPS);
        DataStream<byte[]> lines =
                env.fromSource(Weir.files(new Stopping(), new Path(args[3])), WatermarkStrategy.noWatermarks(), "lines")
                        .uid("weir-lines").setParallelism(readers(args))
                        .map(new Counting()).uid("counting").setParallelism(readers(args));
        if (args[4].equals("postgresql")) {
            insert(Weir.rows(lines, pipeline), pipeline);
        } else if (args[4].equals("postgresql upserts")) {
            Results results = Weir.rows(lines, pipeline);
            for (ResultTable table : results.tables()) {
                new JdbcTables(pipeline.settings()).put(results.rows(table.name()), table);
            }
        } else {
            (args[0].equals("rows") ? texts(Weir.rows(lines, pipeline)) : Weir.run(lines, pipeline))
                    .sinkTo(Weir.folders(new Path(args[4])))
                    .uid("weir-folders");
        }
        return env.getStreamGraph().getJobGraph();
    }

    private static void insert(Results results, Pipeline pipeline) {
        JdbcTables to = new JdbcTables(pipeline.settings());
        for (ResultTable table : results.tables()) {
            to.insert(results.rows(table.name()), table);
        }
    }

    /** Typed rows as the database has them: times as microseconds, bools as 0 and 1. */
    private static DataStream<Tuple2<String, String>> texts(Results results) {
        DataStream<Tuple2<String, String>> all = null;
        for (ResultTable table : results.tables()) {
            List<String> names = table.columns().stream().map(ResultTable.Column::name).toList();
            String name = table.name();
            DataStream<Tuple2<String, String>> one = results.rows(name)
                    .map(row -> Tuple2.of(name, names.stream()
                            .map(c -> '"' + c + "\": " + text(row.getField(c)))
                            .collect(Collectors.joining(", ", "{", "}"))))
                    .returns(Types.TUPLE(Types.STRING, Types.STRING));
            all = all == null ? one : all.union(one);
        }
        return all;
    }

    private static String text(Object value) {
        if (value instanceof Instant) {
            return Long.toString(ChronoUnit.MICROS.between(Instant.EPOCH, (Instant) value));
        }
        if (value instanceof Boolean) {
            return (Boolean) value ? "1" : "0";
        }
        return value instanceof String ? '"' + (String) value + '"' : String.valueOf(value);
    }

    /** Fails once, after some messages and checkpoints; until then it is slow. */
    private static final class Failing extends RichMapFunction<Tuple2<String, byte[]>, Tuple2<String, byte[]>>
            implements CheckpointListener {
        private static final long serialVersionUID = 1;
        private int seen;

        @Override
        public Tuple2<String, byte[]> map(Tuple2<String, byte[]> message) throws Exception {
            if (fails && CHECKPOINTS.get() >= 2 && ++seen > 20) {
                fails = false;
                throw new IOException("the reader fails, as it was told to");
            }
            if (fails) {
                Thread.sleep(10);
            }
            return message;
        }

        @Override
        public void notifyCheckpointComplete(long id) {
            CHECKPOINTS.incrementAndGet();
        }
    }

    /** Once some messages have come it is slow until it may go on, so that a savepoint is made in the middle. */
    private static final class Slowing extends RichMapFunction<Tuple2<String, byte[]>, Tuple2<String, byte[]>> {
        private static final long serialVersionUID = 1;

        @Override
        public Tuple2<String, byte[]> map(Tuple2<String, byte[]> message) throws Exception {
            SEEN.add(new String(message.f1, StandardCharsets.UTF_8));
            if (SEEN.size() >= stopAt && !go.isDone()) {
                arrived.complete(null);
                Thread.sleep(100);
            }
            return message;
        }
    }

    private static JobGraph kafkaJob(String[] args, RichMapFunction<Tuple2<String, byte[]>, Tuple2<String, byte[]>> map, int parallelism,
            int restarts, int checkpointMs) throws IOException {
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(restarting(restarts));
        env.setParallelism(parallelism);
        if (checkpointMs > 0) {
            env.enableCheckpointing(checkpointMs);
        }
        Pipeline pipeline = Pipeline.of(java.nio.file.Path.of(args[1]), args[2], KEY_GROUPS);
        DataStream<Tuple2<String, byte[]>> messages =
                env.fromSource(new KafkaTopics(pipeline.settings()).source(checkpointMs > 0), Spoken.strategy(), "kafka").uid("weir-kafka");
        Weir.shard(Weir.router(messages.map(map).uid("map"), pipeline, true, false, 0), pipeline, null)
                .sinkTo(Weir.folders(new Path(args[4])))
                .uid("weir-folders");
        return env.getStreamGraph().getJobGraph();
    }

    /** A query of SQL over result tables, in this process; its rows go to standard output, with a tab between values. */
    private static void query(String[] args) throws Exception {
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(new Configuration());
        env.setParallelism(2);
        StreamTableEnvironment tables = StreamTableEnvironment.create(env);
        tables.getConfig().setLocalTimeZone(ZoneOffset.UTC);
        Results results = Weir.rows(
                env.fromSource(Weir.files(new LineFormat(CHUNK), new Path(args[3])), WatermarkStrategy.noWatermarks(), "lines")
                        .setParallelism(1),
                Pipeline.of(java.nio.file.Path.of(args[1]), args[2], KEY_GROUPS));
        for (ResultTable table : results.tables()) {
            tables.createTemporaryView(table.name(),
                    tables.fromDataStream(results.rows(table.name()), Tables.schema(table)));
            System.out.println(tables.from(table.name()).getResolvedSchema());
        }
        CloseableIterator<Row> rows = tables.executeSql(args[4]).collect();
        while (rows.hasNext()) {
            Row row = rows.next();
            System.out.println(IntStream.range(0, row.getArity()).mapToObj(i -> text(row.getField(i)))
                    .collect(Collectors.joining("\t", "row\t", "")));
        }
        rows.close();
    }

    private static void finish(MiniCluster cluster, JobID id) throws Exception {
        cluster.requestJobResult(id).get().toJobExecutionResult(Runs.class.getClassLoader());
    }

    /** As far as `at`, then a savepoint, from which the next one goes on. */
    private static String savepoint(MiniCluster cluster, JobGraph job, long at, java.nio.file.Path folder)
            throws Exception {
        stopAt = at;
        arrived = new CompletableFuture<>();
        go = new CompletableFuture<>();
        cluster.submitJob(job).get();
        arrived.join();
        await(() -> allRun(cluster, job.getJobID())); // before that there is no savepoint
        CompletableFuture<String> stopped =
                cluster.stopWithSavepoint(job.getJobID(), folder.toString(), false, SavepointFormatType.CANONICAL);
        await(() -> stopped.isDone() || isSaved(folder));
        stopAt = Long.MAX_VALUE;
        go.complete(null); // the reader may end
        String path = stopped.get();
        finish(cluster, job.getJobID());
        return path;
    }

    private static boolean allRun(MiniCluster cluster, JobID id) throws Exception {
        for (AccessExecutionVertex task : cluster.getExecutionGraph(id).get().getAllExecutionVertices()) {
            if (task.getExecutionState() != ExecutionState.RUNNING) {
                return false;
            }
        }
        return true;
    }

    private static boolean isSaved(java.nio.file.Path folder) throws IOException {
        if (!Files.isDirectory(folder)) {
            return false;
        }
        try (DirectoryStream<java.nio.file.Path> list = Files.newDirectoryStream(folder)) {
            for (java.nio.file.Path savepoint : list) {
                if (Files.exists(savepoint.resolve("_metadata"))) {
                    return true;
                }
            }
        }
        return false;
    }

    private interface Made {
        JobGraph of(int parallelism) throws IOException;
    }

    /** Of three parts of the input, `size` bytes or messages, each by another number of tasks. Of messages the last job has no end. */
    private static void rescale(MiniCluster cluster, String[] args, long size, Made made) throws Exception {
        int[] parallelism = {2, 3, 1};
        String from = null;
        for (int i = 0; i < parallelism.length; i++) {
            JobGraph job = made.of(parallelism[i]);
            if (from != null) {
                job.setSavepointRestoreSettings(SavepointRestoreSettings.forPath(from));
            }
            if (i + 1 < parallelism.length) {
                from = savepoint(cluster, job, size * (i + 1) / parallelism.length,
                        java.nio.file.Path.of(args[5] + ".savepoint" + i));
            } else {
                cluster.submitJob(job).get();
                if (args[0].equals("kafka-rescale")) {
                    await(() -> SEEN.size() >= size && allRun(cluster, job.getJobID()));
                    cluster.stopWithSavepoint(job.getJobID(), args[5] + ".end", true, SavepointFormatType.CANONICAL).get();
                }
                finish(cluster, job.getJobID());
            }
        }
    }

    /** From a savepoint of a job with other tables. */
    private static void switchTo(MiniCluster cluster, String[] args) throws Exception {
        String[] before = args.clone();
        before[4] = args[4].equals("postgresql") ? "postgresql upserts" : "postgresql";
        Pipeline pipeline = Pipeline.of(java.nio.file.Path.of(args[1]), args[2], KEY_GROUPS);
        new JdbcTables(pipeline.settings()).make(pipeline.tables());
        JobGraph job = job(args, 2, 0, 0);
        job.setSavepointRestoreSettings(SavepointRestoreSettings.forPath(savepoint(cluster, job(before, 2, 0, 0),
                Files.size(java.nio.file.Path.of(args[3])) / 2, java.nio.file.Path.of(args[5] + ".savepoint"))));
        cluster.submitJob(job).get();
        finish(cluster, job.getJobID());
    }

    private static void await(Callable<Boolean> condition) throws Exception {
        while (!condition.call()) {
            Thread.sleep(10);
        }
    }

    /** A transaction as it is committed once a checkpoint is complete. */
    private static void commit(String[] args) throws Exception {
        Pipeline pipeline = Pipeline.of(java.nio.file.Path.of(args[1]), args[2], KEY_GROUPS);
        new JdbcTables(pipeline.settings()).transactions(pipeline.tables().get(0)).createCommitter(null)
                .commit(List.of(new Request(args[3])));
    }

    /** A task of an attempt that goes on from checkpoint 6, with a row that it has inserted. */
    private static CommittingSinkWriter<Row, String> begin(JdbcTransactions sink, ResultTable table, int task, int tasks)
            throws Exception {
        WriterInitContext context = (WriterInitContext) Proxy.newProxyInstance(Runs.class.getClassLoader(),
                new Class<?>[] {WriterInitContext.class}, (proxy, method, args) -> method.getName().equals("getTaskInfo")
                        ? new TaskInfoImpl("sink", tasks, task, tasks, 0) : OptionalLong.of(6));
        CommittingSinkWriter<Row, String> writer = (CommittingSinkWriter<Row, String>) sink.createWriter(context);
        writer.write(Row.withPositions(table.columns().size()), null);
        return writer;
    }

    /**
     * Three tasks, of which the first is in PREPARE TRANSACTION, which a trigger holds up; two that begin while they live; what became
     * of each goes to standard output.
     */
    private static void attempts(String[] args) throws Exception {
        Pipeline pipeline = Pipeline.of(java.nio.file.Path.of(args[1]), args[2], KEY_GROUPS);
        ResultTable table = pipeline.tables().get(0);
        JdbcTransactions sink = new JdbcTables(pipeline.settings()).transactions(table);
        List<CommittingSinkWriter<Row, String>> first = List.of(
                begin(sink, table, 0, 3), begin(sink, table, 1, 3), begin(sink, table, 2, 3));
        CompletableFuture<String> held = CompletableFuture.supplyAsync(() -> prepared(first.get(0)));
        try (Connection c = DriverManager.getConnection(args[3]);
                Statement s = c.createStatement()) {
            await(() -> {
                try (ResultSet found = s.executeQuery("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'PREPARE %' AND state = 'active'"
                        + " AND wait_event = 'PgSleep'")) {
                    return found.next();
                }
            });
        }
        CommittingSinkWriter<Row, String> zero = begin(sink, table, 0, 2);
        System.out.println("task 0 of 3: " + held.get());
        System.out.println("task 2 of 3: " + prepared(first.get(2)));
        CommittingSinkWriter<Row, String> one = begin(sink, table, 1, 2);
        System.out.println("task 1 of 3: " + prepared(first.get(1)));
        one.close();
        zero.close();
    }

    private static String prepared(CommittingSinkWriter<Row, String> writer) {
        try {
            return "prepared: " + writer.prepareCommit();
        } catch (IOException | InterruptedException e) {
            return "failed: " + e.getMessage();
        }
    }

    private record Request(String committable) implements Committer.CommitRequest<String> {
        @Override
        public String getCommittable() {
            return committable;
        }

        @Override
        public int getNumberOfRetries() {
            return 0;
        }

        @Override
        public void signalFailedWithKnownReason(Throwable t) {
            throw new IllegalStateException(t);
        }

        @Override
        public void signalFailedWithUnknownReason(Throwable t) {
            throw new IllegalStateException(t);
        }

        @Override
        public void retryLater() {
            throw new IllegalStateException();
        }

        @Override
        public void updateAndRetryLater(String changed) {
            throw new IllegalStateException();
        }

        @Override
        public void signalAlreadyCommitted() {
            System.out.println("it was committed already");
        }
    }

    private static void run(MiniCluster cluster, String[] args) throws Exception {
        if (args[0].equals("kafka")) {
            fails = true;
            finishOnceFailed(cluster, kafkaJob(args, new Failing(), 2, 3, 20));
            return;
        }
        if (args[0].equals("commit")) {
            commit(args);
            return;
        }
        if (args[0].equals("attempts")) {
            attempts(args);
            return;
        }
        if (args[0].equals("switch")) {
            switchTo(cluster, args);
            return;
        }
        if (args[0].equals("kafka-rescale")) {
            rescale(cluster, args, Long.parseLong(args[3]), parallelism -> kafkaJob(args, new Slowing(), parallelism, 0, 0));
            return;
        }
        java.nio.file.Path in = java.nio.file.Path.of(args[3]);
        long size = Files.isDirectory(in) ? 2 * SOME : Files.size(in);
        JobGraph job;
        switch (args[0]) {
            case "plain":
            case "rows":
                job = job(args, 2, 0, 0);
                break;
            case "crash":
            case "failure":
                kills = args[0].equals("crash");
                again = kills ? 0 : SOME / 2;
                fails = true;
                stopAt = size / 2;
                job = job(args, 2, 3, 20);
                break;
            case "tries":
                job = job(args, 2, 2, 0);
                break;
            case "rescale":
                rescale(cluster, args, size, parallelism -> job(args, parallelism, 0, 0));
                return;
            default:
                throw new IllegalArgumentException(args[0]);
        }
        finishOnceFailed(cluster, job);
    }

    private static void finishOnceFailed(MiniCluster cluster, JobGraph job) throws Exception {
        cluster.submitJob(job).get();
        finish(cluster, job.getJobID());
        if (fails) {
            throw new IllegalStateException("nothing has failed");
        }
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("query")) {
            query(args);
            return;
        }
        MiniClusterConfiguration c = new MiniClusterConfiguration.Builder()
                .setNumTaskManagers(1)
                .setNumSlotsPerTaskManager(4)
                .withRandomPorts()
                .build();
        MiniCluster cluster = new MiniCluster(c);
        int status = 0;
        try {
            cluster.start();
            run(cluster, args);
        } catch (Throwable e) { // threads of the cluster would go on
            for (Throwable t = e; t != null; t = t.getCause()) {
                System.err.println(t);
            }
            status = 1;
        }
        System.exit(status);
    }
}
