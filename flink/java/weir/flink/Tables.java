// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.types.DataType;

/** Result tables for the Table API, whose jars only those need who call this. */
public final class Tables {
    private Tables() {}

    /**
     * For {@code StreamTableEnvironment.fromDataStream}: types, what is never null, the primary key.
     */
    public static Schema schema(ResultTable table) {
        Schema.Builder b = Schema.newBuilder();
        for (ResultTable.Column c : table.columns()) {
            b.column(c.name(), c.nullable() ? type(c.type()) : type(c.type()).notNull());
        }
        return b.primaryKey(table.columns().stream().filter(ResultTable.Column::primary).map(ResultTable.Column::name).toList())
                .build();
    }

    private static DataType type(ResultTable.Type type) {
        switch (type) {
            case INT:
                return DataTypes.BIGINT();
            case FLOAT:
                return DataTypes.DOUBLE();
            case BOOL:
                return DataTypes.BOOLEAN();
            case TIME:
                return DataTypes.TIMESTAMP_LTZ(6);
            default:
                return DataTypes.STRING();
        }
    }
}
