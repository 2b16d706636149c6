// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.assigners.FileSplitAssigner;

/** Files one after the other, in the order of their paths. */
final class InOrder implements FileSplitAssigner {
    private final List<FileSourceSplit> left = new ArrayList<>();

    InOrder(Collection<FileSourceSplit> splits) {
        addSplits(splits);
    }

    @Override
    public Optional<FileSourceSplit> getNext(String host) {
        return left.isEmpty() ? Optional.empty() : Optional.of(left.remove(0));
    }

    @Override
    public void addSplits(Collection<FileSourceSplit> splits) {
        left.addAll(splits);
        left.sort(Comparator.comparing(split -> split.path().toString()));
    }

    @Override
    public Collection<FileSourceSplit> remainingSplits() {
        return new ArrayList<>(left);
    }
}
