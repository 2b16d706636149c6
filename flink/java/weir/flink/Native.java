// SPDX-License-Identifier: Apache-2.0
package weir.flink;

/**
 * The calls of libweir-shard (weir/shard.h). A handle is one thread's at a time. What fails there is a {@link WeirException} with
 * the text.
 *
 * <p>The library is the file that the system property {@code weir.library} names, or {@code libweir-shard.so} on
 * {@code java.library.path}. A library belongs to one class loader: weir-flink.jar stands in Flink's lib folder, not in a job.
 */
final class Native {
    static {
        String file = System.getProperty("weir.library");
        if (file != null) {
            System.load(file);
        } else {
            System.loadLibrary("weir-shard");
        }
    }

    private Native() {}

    /** {@code program}: path of weir, for `run: process`; null: such is refused. */
    static native long routerOpen(String file, byte[] config, String pipeline, int parts, String program);

    static native void routerClose(long router);

    /**
     * The first {@code size} bytes, of a source of which the newest event time so far is {@code newestUs}, Long.MIN_VALUE: none. For
     * each piece, in native byte order: int part, int size, long watermark in microseconds, {@code size} bytes; part -1 is a watermark.
     */
    static native byte[] routerRead(long router, long newestUs, byte[] bytes, int size);

    /** The same of the first {@code n} messages, of so many bytes each, in the format that the configuration says. */
    static native byte[] routerReadMessages(long router, long newestUs, byte[] bytes, int[] sizes, int n);

    /** After routerRead: the newest event time of that source. */
    static native long routerNewest(long router);

    /** Events, rejected, without a key, with one that is too long. */
    static native long[] routerCount(long router);

    /** The last record that routerRead has rejected, and why; empty: none. */
    static native String routerRejected(long router);

    static native long shardOpen(String file, byte[] config, String pipeline, int parts, String program);

    static native void shardClose(long shard);

    static native void shardFold(long shard, byte[] rows);

    static native void shardAdvance(long shard, long watermarkUs);

    static native void shardEnd(long shard);

    /**
     * The rows that the last call gave, for each: int size, bytes of the table's name; int size, bytes of a JSON object; native byte
     * order, UTF-8.
     */
    static native byte[] shardRows(long shard);

    /**
     * The next of these rows as columns, at most so many, of one table; null: there are no more. Native byte order: int place of the
     * table, int rows, and for each column a byte for each row, 1: null, then long, double bits, or of strings int offsets, one more
     * than rows, and the bytes, UTF-8.
     */
    static native byte[] shardNext(long shard, int most);

    /** Lines of UTF-8, for each table "NAME COLUMNS", then for each of its columns "TYPE FLAGS NAME"; see weir/shard.h. */
    static native byte[] shardTables(long shard);

    /** Names and values, UTF-8, each with a zero behind it. */
    static native byte[] shardSettings(long shard);

    static native void shardSave(long shard);

    static native byte[] shardSaved(long shard, int part);

    static native void shardLoad(long shard, byte[] part);

    /** Events, late, filtered, where errors, derive errors, over max_groups, rows, groups, bytes of states. */
    static native long[] shardCount(long shard);
}
