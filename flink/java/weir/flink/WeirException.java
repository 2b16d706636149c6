// SPDX-License-Identifier: Apache-2.0
package weir.flink;

/** What weir cannot do, in its own words: the configuration is wrong, an analyzer has failed, ... */
public final class WeirException extends RuntimeException {
    private static final long serialVersionUID = 1;

    public WeirException(String text) {
        super(text);
    }
}
