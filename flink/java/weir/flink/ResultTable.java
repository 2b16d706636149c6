// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.io.Serializable;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Scanner;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.typeutils.RowTypeInfo;
import org.apache.flink.types.Row;
import org.apache.flink.util.OutputTag;

/**
 * A table of results of a pipeline, with its columns in the order of its rows.
 *
 * @param name as in the database
 */
public record ResultTable(String name, List<Column> columns) implements Serializable {
    /** What a value is in a row: a Long, a Double, a Boolean, a String, or an Instant of whole microseconds. */
    public enum Type {
        INT(Types.LONG),
        FLOAT(Types.DOUBLE),
        BOOL(Types.BOOLEAN),
        STRING(Types.STRING),
        TIME(Types.INSTANT);

        private final TypeInformation<?> info;

        Type(TypeInformation<?> info) {
            this.info = info;
        }
    }

    /**
     * @param primary of the primary key
     * @param nullable those of the primary key are not, nor is window_end
     */
    public record Column(String name, Type type, boolean primary, boolean nullable) implements Serializable {}

    private static final int PRIMARY = 1; // as in weir/shard.h
    private static final int NOT_NULL = 2;

    /** The columns by name and position. */
    public RowTypeInfo rowType() {
        return new RowTypeInfo(columns.stream().map(c -> c.type().info).toArray(TypeInformation<?>[]::new),
                columns.stream().map(Column::name).toArray(String[]::new));
    }

    OutputTag<Row> tag() {
        return new OutputTag<>(name, rowType());
    }

    /** What Native.shardTables gives. */
    static List<ResultTable> read(byte[] lines) {
        List<ResultTable> tables = new ArrayList<>();
        Scanner in = new Scanner(new String(lines, StandardCharsets.UTF_8));
        while (in.hasNext()) {
            String name = in.next();
            List<Column> columns = new ArrayList<>();
            for (int left = in.nextInt(); left > 0; left--) {
                Type type = Type.values()[in.nextInt() - 1];
                int flags = in.nextInt();
                columns.add(new Column(in.next(), type, (flags & PRIMARY) != 0, (flags & NOT_NULL) == 0));
            }
            tables.add(new ResultTable(name, columns));
        }
        return tables;
    }
}
