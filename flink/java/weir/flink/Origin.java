// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.util.Arrays;

/** A source with a watermark of its own, as a {@link Router} sees it: what waits of it, and how far it is. What waits are lines, or messages. */
final class Origin {
    private static final int BYTES_AT_FIRST = 16 << 10;
    private static final int MESSAGES_AT_FIRST = 256;

    final String name;
    long newestUs = Long.MIN_VALUE;
    long watermarkUs = Long.MIN_VALUE;
    int silentTicks;

    private byte[] bytes = new byte[0];
    private int size;
    private int[] sizes = new int[0]; // of messages
    private int n;

    Origin(String name) {
        this.name = name;
    }

    /** Whole lines; the last one may lack its end. */
    void add(byte[] lines) {
        int end = lines.length == 0 || lines[lines.length - 1] == '\n' ? 0 : 1;
        makeRoom(lines.length + end);
        System.arraycopy(lines, 0, bytes, size, lines.length);
        size += lines.length + end;
        if (end > 0) {
            bytes[size - 1] = '\n';
        }
    }

    /** A message as it is. */
    void addMessage(byte[] message) {
        makeRoom(message.length);
        if (n == sizes.length) {
            sizes = Arrays.copyOf(sizes, Math.max(2 * n, MESSAGES_AT_FIRST));
        }
        System.arraycopy(message, 0, bytes, size, message.length);
        size += message.length;
        sizes[n++] = message.length;
    }

    private void makeRoom(int more) {
        if (size + more > bytes.length) {
            bytes = Arrays.copyOf(bytes, Math.max(size + more, Math.max(2 * bytes.length, BYTES_AT_FIRST)));
        }
    }

    /** The bytes of each message, of which there are {@link #messages}. */
    int[] sizes() {
        return sizes;
    }

    int messages() {
        return n;
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
        n = 0;
    }
}
