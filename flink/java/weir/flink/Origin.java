// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.util.Arrays;

/** A source with a watermark of its own, as a {@link Router} sees it: lines that wait, and how far it is. */
final class Origin {
    private static final int BYTES_AT_FIRST = 16 << 10;

    final String name;
    long newestUs = Long.MIN_VALUE;
    long watermarkUs = Long.MIN_VALUE;
    int silentTicks;

    private byte[] bytes = new byte[0];
    private int size;

    Origin(String name) {
        this.name = name;
    }

    /** Whole lines; the last one may lack its end. */
    void add(byte[] lines) {
        int end = lines.length == 0 || lines[lines.length - 1] == '\n' ? 0 : 1;
        int all = size + lines.length + end;
        if (all > bytes.length) {
            bytes = Arrays.copyOf(bytes, Math.max(all, Math.max(2 * bytes.length, BYTES_AT_FIRST)));
        }
        System.arraycopy(lines, 0, bytes, size, lines.length);
        if (end > 0) {
            bytes[all - 1] = '\n';
        }
        size = all;
    }

    int size() {
        return size;
    }

    /** Its first {@link #size} bytes. */
    byte[] bytes() {
        return bytes;
    }

    void clear() {
        size = 0;
    }
}
