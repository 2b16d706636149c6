// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import org.apache.flink.types.Row;

/** What Native.shardNext gives: rows of one table, as columns. */
final class Columns {
    private final ByteBuffer from;

    /** The place of the table. */
    final int table;

    private final int size;

    Columns(byte[] bytes) {
        from = ByteBuffer.wrap(bytes).order(ByteOrder.nativeOrder());
        table = from.getInt();
        size = from.getInt();
    }

    Row[] rows(List<ResultTable.Column> columns) {
        Row[] rows = new Row[size];
        for (int i = 0; i < size; i++) {
            rows[i] = Row.withPositions(columns.size());
        }
        for (int c = 0; c < columns.size(); c++) {
            if (columns.get(c).type() == ResultTable.Type.STRING) {
                fillStrings(rows, c);
            } else {
                fill(rows, c, columns.get(c).type());
            }
        }
        return rows;
    }

    private void fill(Row[] rows, int column, ResultTable.Type type) {
        int nulls = from.position();
        int values = nulls + size;
        for (int i = 0; i < size; i++) {
            if (from.get(nulls + i) == 0) {
                rows[i].setField(column, value(values + Long.BYTES * i, type));
            }
        }
        from.position(values + Long.BYTES * size);
    }

    private Object value(int at, ResultTable.Type type) {
        switch (type) {
            case FLOAT:
                return from.getDouble(at);
            case BOOL:
                return from.getLong(at) != 0;
            case TIME:
                return Instant.EPOCH.plus(from.getLong(at), ChronoUnit.MICROS);
            default:
                return from.getLong(at);
        }
    }

    private void fillStrings(Row[] rows, int column) {
        int nulls = from.position();
        int offsets = nulls + size;
        int bytes = offsets + Integer.BYTES * (size + 1);
        for (int i = 0; i < size; i++) {
            if (from.get(nulls + i) == 0) {
                int begin = from.getInt(offsets + Integer.BYTES * i);
                int end = from.getInt(offsets + Integer.BYTES * (i + 1));
                rows[i].setField(column, new String(from.array(), bytes + begin, end - begin, StandardCharsets.UTF_8));
            }
        }
        from.position(bytes + from.getInt(offsets + Integer.BYTES * size));
    }
}
