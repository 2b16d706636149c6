// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.util.List;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.types.Row;

/** The results of a pipeline as typed rows: a stream for each of its tables. */
public final class Results {
    private final SingleOutputStreamOperator<?> shard;
    private final List<ResultTable> tables;

    Results(SingleOutputStreamOperator<?> shard, List<ResultTable> tables) {
        this.shard = shard;
        this.tables = tables;
    }

    public List<ResultTable> tables() {
        return tables;
    }

    public ResultTable table(String name) {
        return tables.stream().filter(t -> t.name().equals(name)).findFirst()
                .orElseThrow(() -> new WeirException("there is no table '" + name + "'"));
    }

    /** The rows of a table, with the names of its columns; their time stamp is the last millisecond of their window. */
    public DataStream<Row> rows(String table) {
        return shard.getSideOutput(table(table).tag());
    }
}
