// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.reader.StreamFormat;
import org.apache.flink.connector.file.src.util.CheckpointedPosition;
import org.apache.flink.core.fs.FSDataInputStream;

/**
 * Whole lines, many at a time. Which lines are together depends on the file and on where one begins alone, so a checkpoint is where
 * the next ones begin.
 */
public class LineFormat implements StreamFormat<byte[]> {
    private static final long serialVersionUID = 1;

    /** Bytes of a line, beyond which a file is no NDJSON. */
    private static final int LINE_MAX = 64 << 20;

    private final int chunk;

    /** @param chunk bytes that are read at once, about */
    public LineFormat(int chunk) {
        this.chunk = chunk;
    }

    @Override
    public Reader<byte[]> createReader(Configuration c, FSDataInputStream in, long size, long end)
            throws IOException {
        return new Lines(in, 0, chunk);
    }

    @Override
    public Reader<byte[]> restoreReader(
            Configuration c, FSDataInputStream in, long offset, long size, long end) throws IOException {
        in.seek(offset);
        return new Lines(in, offset, chunk);
    }

    /** Their order is that of events. */
    @Override
    public boolean isSplittable() {
        return false;
    }

    @Override
    public TypeInformation<byte[]> getProducedType() {
        return PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
    }

    /** Reads lines; what stands behind the last end of a line is kept for the next time. */
    protected static class Lines implements Reader<byte[]> {
        private final FSDataInputStream in;
        private final int chunk;
        private byte[] bytes;
        private int size;
        private long offset;
        private boolean ended;

        protected Lines(FSDataInputStream in, long offset, int chunk) {
            this.in = in;
            this.offset = offset;
            this.chunk = chunk;
            this.bytes = new byte[chunk];
        }

        /** What is given depends on `offset` alone, not on what was read before: a checkpoint is an offset, and so many behind it. */
        @Override
        public byte[] read() throws IOException {
            int limit = chunk, end;
            do {
                fill(limit);
                end = size < limit ? size : lastEnd(limit);
                limit = end > 0 || size < limit ? limit : grown(limit);
            } while (end == 0 && (!ended || size > 0));
            if (end == 0) {
                return null;
            }
            byte[] lines = Arrays.copyOf(bytes, end);
            System.arraycopy(bytes, end, bytes, 0, size - end);
            size -= end;
            offset += end;
            return lines;
        }

        private static int grown(int limit) throws IOException {
            if (limit >= LINE_MAX) {
                throw new IOException("a line is longer than " + LINE_MAX + " bytes");
            }
            return Math.min(2 * limit, LINE_MAX);
        }

        private void fill(int limit) throws IOException {
            if (limit > bytes.length) {
                bytes = Arrays.copyOf(bytes, limit);
            }
            while (!ended && size < limit) {
                int n = in.read(bytes, size, limit - size);
                ended = n < 0;
                size += Math.max(n, 0);
            }
        }

        private int lastEnd(int limit) {
            int end = limit;
            while (end > 0 && bytes[end - 1] != '\n') {
                end--;
            }
            return end;
        }

        @Override
        public CheckpointedPosition getCheckpointedPosition() {
            return new CheckpointedPosition(offset, 0);
        }

        @Override
        public void close() throws IOException {
            in.close();
        }
    }
}
