// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.List;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.runtime.state.KeyGroupStatePartitionStreamProvider;
import org.apache.flink.runtime.state.KeyedStateCheckpointOutputStream;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.types.Row;
import org.apache.flink.util.OutputTag;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Rows by key group to results: (table, a JSON object), or typed rows, to an output for each table. States are off the heap; they are saved as raw keyed state, a run of bytes for
 * each key group, so Flink deals them out anew when the parallelism changes.
 */
final class Shard extends AbstractStreamOperator<Tuple2<String, String>>
        implements OneInputStreamOperator<Tuple2<Integer, byte[]>, Tuple2<String, String>> {
    private static final long serialVersionUID = 1;
    private static final Logger LOG = LoggerFactory.getLogger(Shard.class);
    private static final String[] FIGURES = {
        "events", "late", "filtered", "whereErrors", "deriveErrors", "overMaxGroups", "rows", "groups", "stateBytes"
    };

    private static final int WINDOW_END = 1; // its column in every table
    private static final int ROWS_AT_ONCE = 4096;

    private final Pipeline pipeline;
    private final List<ResultTable> tables; // null: rows are JSON
    private transient List<OutputTag<Row>> tags;
    private transient long handle;
    private transient volatile long[] count; // gauges read it in threads of their own

    Shard(Pipeline pipeline, List<ResultTable> tables) {
        this.pipeline = pipeline;
        this.tables = tables;
    }

    @Override
    protected boolean isUsingCustomRawKeyedState() {
        return true;
    }

    @Override
    public void initializeState(StateInitializationContext context) throws Exception {
        super.initializeState(context);
        int groups = getRuntimeContext().getTaskInfo().getMaxNumberOfParallelSubtasks();
        if (groups != pipeline.keyGroups()) {
            throw new WeirException("the maximum parallelism is " + groups + ", and keys are dealt into "
                    + pipeline.keyGroups() + " groups");
        }
        handle = pipeline.openShard();
        if (tables != null) {
            tags = tables.stream().map(ResultTable::tag).toList();
        }
        for (KeyGroupStatePartitionStreamProvider saved : context.getRawKeyedStateInputs()) {
            DataInputStream in = new DataInputStream(saved.getStream());
            byte[] part = new byte[in.readInt()];
            in.readFully(part);
            Native.shardLoad(handle, part);
        }
        count = Native.shardCount(handle);
        for (int i = 0; i < FIGURES.length; i++) {
            final int at = i;
            getMetricGroup().addGroup("weir").gauge(FIGURES[i], () -> count[at]);
        }
    }

    @Override
    public void snapshotState(StateSnapshotContext context) throws Exception {
        super.snapshotState(context);
        KeyedStateCheckpointOutputStream to = context.getRawKeyedOperatorStateOutput();
        DataOutputStream out = new DataOutputStream(to);
        Native.shardSave(handle);
        for (int group : to.getKeyGroupList()) {
            byte[] part = Native.shardSaved(handle, group);
            to.startNewKeyGroup(group);
            out.writeInt(part.length);
            out.write(part);
            out.flush();
        }
        count = Native.shardCount(handle);
    }

    @Override
    public void processElement(StreamRecord<Tuple2<Integer, byte[]>> rows) {
        Native.shardFold(handle, rows.getValue().f1);
    }

    @Override
    public void processWatermark(Watermark mark) throws Exception {
        boolean end = mark.getTimestamp() == Watermark.MAX_WATERMARK.getTimestamp();
        if (end) {
            Native.shardEnd(handle);
        } else {
            Native.shardAdvance(handle, (mark.getTimestamp() + 1) * 1000);
        }
        if (tables != null) {
            emitRows();
        } else {
            emitTexts();
        }
        count = Native.shardCount(handle);
        if (end) {
            LOG.info("pipeline '{}': {} events folded, {} late, {} over max_groups, {} rows",
                    pipeline.name(), count[0], count[1], count[5], count[6]);
        }
        super.processWatermark(mark);
    }

    private static String text(ByteBuffer from) {
        int size = from.getInt();
        String text = new String(from.array(), from.position(), size, StandardCharsets.UTF_8);
        from.position(from.position() + size);
        return text;
    }

    private void emitTexts() {
        ByteBuffer from = ByteBuffer.wrap(Native.shardRows(handle)).order(ByteOrder.nativeOrder());
        while (from.hasRemaining()) {
            String table = text(from);
            output.collect(new StreamRecord<>(Tuple2.of(table, text(from))));
        }
    }

    private void emitRows() {
        for (byte[] next; (next = Native.shardNext(handle, ROWS_AT_ONCE)) != null; ) {
            Columns columns = new Columns(next);
            for (Row row : columns.rows(tables.get(columns.table).columns())) {
                long end = ((Instant) row.getField(WINDOW_END)).toEpochMilli();
                output.collect(tags.get(columns.table), new StreamRecord<>(row, end - 1));
            }
        }
    }

    @Override
    public void close() throws Exception {
        if (handle != 0) {
            Native.shardClose(handle);
            handle = 0;
        }
        super.close();
    }
}
