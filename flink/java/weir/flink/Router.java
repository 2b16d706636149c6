// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple4;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Lines of NDJSON, byte[], or messages, (the name of the source that they are from, byte[]), to rows by key group: each is (a key of
 * that group, columns).
 *
 * <p>Watermarks are made of the events here, as weir makes them: each source has one, and the least of them is handed on. Of those
 * that come no more matters than that there is one: all sources have said something by then ({@link Spoken}); and the last.
 */
final class Router<T> extends AbstractStreamOperator<Tuple2<Integer, byte[]>>
        implements OneInputStreamOperator<T, Tuple2<Integer, byte[]>> {
    private static final long serialVersionUID = 1;
    private static final Logger LOG = LoggerFactory.getLogger(Router.class);
    private static final int REJECTED_LOGGED = 10;
    private static final int READ_BYTES = 256 << 10; // of a source, from which on it is worth a call
    private static final int WAIT_BYTES = 4 << 20; // of all sources
    private static final long WAIT_MS = 10;
    private static final long TICK_MS = 100;

    private final Pipeline pipeline;
    private final boolean announced;
    private final boolean whole;
    private final long idleMs;
    private transient long handle;
    private transient ListState<Tuple4<String, Long, Long, String>> saved;
    private transient Map<String, Origin> known; // where sources were that may come here
    private transient Map<String, Origin> origins;
    private transient boolean all; // that there are
    private transient boolean idle;
    private transient long ticks;
    private transient long watermarkUs;
    private transient int waiting; // bytes
    private transient boolean flushes; // soon
    private transient int[] keyOf;
    private transient volatile long[] count; // gauges read it in threads of their own
    private transient int logged;

    /**
     * @param announced elements have names, and a watermark comes once all sources have said something; otherwise there is one
     * @param whole elements are messages that are not NDJSON: each is read by itself
     * @param idleMs a source that is silent for so long holds windows open no more; 0: they all do
     */
    Router(Pipeline pipeline, boolean announced, boolean whole, long idleMs) {
        this.pipeline = pipeline;
        this.announced = announced;
        this.whole = whole;
        this.idleMs = idleMs;
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

    // ---- States: (source, its newest event time, its watermark, who had it)

    /** As long as there are as many readers, Flink gives each the sources that it had. */
    private String self() {
        return getRuntimeContext().getTaskInfo().getIndexOfThisSubtask() + " of "
                + getRuntimeContext().getTaskInfo().getNumberOfParallelSubtasks();
    }

    @Override
    public void initializeState(StateInitializationContext context) throws Exception {
        super.initializeState(context);
        keyOf = keys(pipeline.keyGroups());
        handle = pipeline.openRouter();
        count = Native.routerCount(handle);
        known = new HashMap<>();
        origins = new LinkedHashMap<>();
        all = !announced;
        watermarkUs = Long.MIN_VALUE;
        saved = context.getOperatorStateStore().getUnionListState(new ListStateDescriptor<>("sources",
                Types.TUPLE(Types.STRING, Types.LONG, Types.LONG, Types.STRING)));
        for (Tuple4<String, Long, Long, String> was : saved.get()) {
            Origin origin = known.computeIfAbsent(was.f0, Origin::new);
            origin.newestUs = Math.max(origin.newestUs, was.f1);
            origin.watermarkUs = Math.max(origin.watermarkUs, was.f2);
            if (was.f3.equals(self())) {
                origins.put(was.f0, origin);
                all = true;
            }
        }
        String[] names = {"events", "rejected", "nullKeys", "longKeys"};
        for (int i = 0; i < names.length; i++) {
            final int at = i;
            getMetricGroup().addGroup("weir").gauge(names[i], () -> count[at]);
        }
    }

    @Override
    public void open() throws Exception {
        super.open();
        if (idleMs > 0) {
            awaitTick();
        }
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpoint) {
        readAll(); // the source says that they were read
    }

    @Override
    public void snapshotState(StateSnapshotContext context) throws Exception {
        super.snapshotState(context);
        List<Tuple4<String, Long, Long, String>> list = new ArrayList<>();
        for (Origin o : origins.values()) {
            list.add(Tuple4.of(o.name, o.newestUs, o.watermarkUs, all ? self() : ""));
        }
        if (getRuntimeContext().getTaskInfo().getIndexOfThisSubtask() == 0) {
            for (Origin o : known.values()) { // those that have said nothing since are somewhere
                list.add(Tuple4.of(o.name, o.newestUs, o.watermarkUs, ""));
            }
        }
        saved.update(list);
    }

    // ---- Lines

    private Origin origin(String name) {
        Origin origin = origins.get(name);
        if (origin == null) {
            origin = known.getOrDefault(name, new Origin(name));
            origins.put(name, origin);
        }
        return origin;
    }

    /** What has no name is called as the task is that reads it. */
    @Override
    public void processElement(StreamRecord<T> element) {
        if (element.getValue() instanceof byte[] lines) {
            take(origin(self()), lines);
        } else if (element.getValue() instanceof Tuple2<?, ?> named) {
            take(origin((String) named.f0), (byte[]) named.f1);
        }
    }

    private void take(Origin origin, byte[] lines) {
        origin.silentTicks = 0;
        tellIdle(false);
        if (whole) {
            origin.addMessage(lines);
        } else if (lines.length >= READ_BYTES && origin.size() == 0) {
            handOn(origin, Native.routerRead(handle, origin.newestUs, lines, lines.length));
            return;
        } else {
            origin.add(lines);
        }
        waiting += lines.length;
        if (waiting >= WAIT_BYTES) {
            readAll();
        } else if (origin.size() >= READ_BYTES) {
            read(origin);
        } else if (!flushes) {
            flushes = true;
            getProcessingTimeService().registerTimer(
                    getProcessingTimeService().getCurrentProcessingTime() + WAIT_MS, now -> readAll());
        }
    }

    private void readAll() {
        flushes = false;
        for (Origin origin : origins.values()) {
            if (origin.size() > 0) {
                read(origin);
            }
        }
        waiting = 0;
    }

    private void read(Origin origin) {
        waiting -= origin.size();
        handOn(origin, whole
                ? Native.routerReadMessages(handle, origin.newestUs, origin.bytes(), origin.sizes(), origin.messages())
                : Native.routerRead(handle, origin.newestUs, origin.bytes(), origin.size()));
        origin.clear();
    }

    private void handOn(Origin origin, byte[] read) {
        ByteBuffer pieces = ByteBuffer.wrap(read).order(ByteOrder.nativeOrder());
        origin.newestUs = Native.routerNewest(handle);
        while (pieces.hasRemaining()) {
            int part = pieces.getInt();
            byte[] rows = new byte[pieces.getInt()];
            long reachedUs = pieces.getLong();
            pieces.get(rows);
            if (part < 0) {
                origin.watermarkUs = Math.max(origin.watermarkUs, reachedUs);
                advance();
            } else {
                output.collect(new StreamRecord<>(Tuple2.of(keyOf[part], rows)));
            }
        }
        tell(origin, Native.routerCount(handle));
    }

    private void tell(Origin origin, long[] now) {
        if (now[1] > count[1] && logged < REJECTED_LOGGED) {
            logged++;
            LOG.warn("pipeline '{}': source '{}': {} records were rejected, one of them at {}", pipeline.name(), origin.name,
                    now[1] - count[1], Native.routerRejected(handle));
        }
        count = now;
    }

    // ---- Watermarks

    private boolean isIdle(Origin origin) {
        return idleMs > 0 && origin.silentTicks * TICK_MS >= idleMs;
    }

    private void advance() {
        long least = Long.MAX_VALUE;
        for (Origin origin : origins.values()) {
            least = isIdle(origin) ? least : Math.min(least, origin.watermarkUs);
        }
        if (all && least > watermarkUs && least < Long.MAX_VALUE) {
            watermarkUs = least;
            // Flink's says that nothing at or before it comes; windows end at whole milliseconds.
            output.emitWatermark(new Watermark(Math.floorDiv(least, 1000) - 1));
        }
    }

    private void awaitTick() {
        getProcessingTimeService().registerTimer(
                getProcessingTimeService().getCurrentProcessingTime() + TICK_MS, now -> tick());
    }

    /**
     * One more tick without anything of those that said nothing since the last one. While this task is held up there are no ticks, so
     * what is only not read yet does not become idle.
     */
    private void tick() {
        boolean active = false;
        for (Origin origin : origins.values()) {
            origin.silentTicks++;
            active = active || !isIdle(origin);
        }
        all = all || ++ticks * TICK_MS >= idleMs; // the others have been silent from the beginning
        tellIdle(all && !active);
        advance();
        awaitTick();
    }

    private void tellIdle(boolean now) {
        if (now != idle) {
            idle = now;
            output.emitWatermarkStatus(now ? WatermarkStatus.IDLE : WatermarkStatus.ACTIVE);
        }
    }

    @Override
    public void processWatermarkStatus(WatermarkStatus status) {
        // who is idle is found here
    }

    @Override
    public void processWatermark(Watermark mark) throws Exception {
        if (mark.getTimestamp() != Watermark.MAX_WATERMARK.getTimestamp()) {
            all = true;
            advance();
            return;
        }
        readAll();
        LOG.info("pipeline '{}': {} events, {} rejected, {} without a key, {} with one that is too long",
                pipeline.name(), count[0], count[1], count[2], count[3]);
        output.emitWatermark(mark);
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
