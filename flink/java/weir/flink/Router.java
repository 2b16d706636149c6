// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Lines of NDJSON to rows by key group: each is (a key of that group, columns). Watermarks are made of the events here, as weir makes
 * them; those that come are not looked at, but for that of the end.
 */
final class Router extends AbstractStreamOperator<Tuple2<Integer, byte[]>>
        implements OneInputStreamOperator<byte[], Tuple2<Integer, byte[]>> {
    private static final long serialVersionUID = 1;
    private static final int REJECTED_LOGGED = 10;

    private final Pipeline pipeline;
    private transient long handle;
    private transient ListState<Long> newest;
    private transient int[] keyOf;
    private transient volatile long[] count; // gauges read it in threads of their own
    private transient int logged;

    Router(Pipeline pipeline) {
        this.pipeline = pipeline;
    }

    /** For each key group the least number that Flink assigns to it. */
    private static int[] keys(int groups) {
        int[] key = new int[groups];
        boolean[] found = new boolean[groups];
        int missing = groups;
        for (int i = 0; missing > 0; i++) {
            int group = KeyGroupRangeAssignment.assignToKeyGroup(i, groups);
            if (!found[group]) {
                found[group] = true;
                key[group] = i;
                missing--;
            }
        }
        return key;
    }

    @Override
    public void initializeState(StateInitializationContext context) throws Exception {
        super.initializeState(context);
        keyOf = keys(pipeline.keyGroups());
        handle = pipeline.openRouter();
        count = Native.routerCount(handle);
        newest = context.getOperatorStateStore()
                .getListState(new ListStateDescriptor<>("newest", Types.LONG));
        for (long us : newest.get()) {
            Native.routerGoOn(handle, us);
        }
        String[] names = {"events", "rejected", "nullKeys", "longKeys"};
        for (int i = 0; i < names.length; i++) {
            final int at = i;
            getMetricGroup().addGroup("weir").gauge(names[i], () -> count[at]);
        }
    }

    @Override
    public void snapshotState(StateSnapshotContext context) throws Exception {
        super.snapshotState(context);
        newest.update(List.of(Native.routerNewest(handle)));
    }

    @Override
    public void processElement(StreamRecord<byte[]> lines) {
        ByteBuffer pieces = ByteBuffer.wrap(Native.routerRead(handle, lines.getValue()))
                .order(ByteOrder.nativeOrder());
        while (pieces.hasRemaining()) {
            int part = pieces.getInt();
            byte[] rows = new byte[pieces.getInt()];
            long watermarkUs = pieces.getLong();
            pieces.get(rows);
            if (part < 0) {
                // Flink's says that nothing at or before it comes; windows end at whole milliseconds.
                output.emitWatermark(new Watermark(Math.floorDiv(watermarkUs, 1000) - 1));
            } else {
                output.collect(new StreamRecord<>(Tuple2.of(keyOf[part], rows)));
            }
        }
        tell(Native.routerCount(handle));
    }

    private void tell(long[] now) {
        if (now[1] > count[1] && logged < REJECTED_LOGGED) {
            logged++;
            LOG.warn("pipeline '{}': {} records were rejected, one of them at {}", pipeline.name(),
                    now[1] - count[1], Native.routerRejected(handle));
        }
        count = now;
    }

    @Override
    public void processWatermark(Watermark mark) throws Exception {
        if (mark.getTimestamp() == Watermark.MAX_WATERMARK.getTimestamp()) {
            LOG.info("pipeline '{}': {} events, {} rejected, {} without a key, {} with one that is too long",
                    pipeline.name(), count[0], count[1], count[2], count[3]);
            output.emitWatermark(mark);
        }
    }

    @Override
    public void close() throws Exception {
        if (handle != 0) {
            Native.routerClose(handle);
            handle = 0;
        }
        super.close();
    }
}
