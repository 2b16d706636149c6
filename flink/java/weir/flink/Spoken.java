// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;

/**
 * Of each partition a watermark that says no more than that something came. Flink hands on the least of those of all partitions that
 * a task has, and so the first one says that all of them have said something: none is overtaken because another was read first.
 */
final class Spoken<T> implements WatermarkGenerator<T> {
    private boolean spoken;

    static <T> WatermarkStrategy<T> strategy() {
        return WatermarkStrategy.forGenerator(context -> new Spoken<>());
    }

    @Override
    public void onEvent(T event, long time, WatermarkOutput output) {
        if (!spoken) {
            spoken = true;
            output.emitWatermark(new Watermark(0));
        }
    }

    @Override
    public void onPeriodicEmit(WatermarkOutput output) {
        // said already
    }
}
