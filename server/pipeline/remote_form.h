/* SPDX-License-Identifier: Apache-2.0
 *
 * What is said between a worker and the process of one of its analyzers (apart/process.h). A command is a head and what
 * stands behind it:
 *
 *      OPEN    n bytes           struct remote_open, name, folder, pipeline, binding    answered: size, binding's opened
 *      BATCH   n inputs          value: number of the entry; rows, when it was written down, columns: time, then the inputs
 *      DONE                      value: number of the entry, of which no more rows come
 *      CLEAR   n groups          slots of states that begin as zeros
 *      INIT    slot              windows; the state begins as zeros
 *      DROP    slot
 *      UPDATE  n rows            value: sequence; run, slots, rows unless they are a run
 *      MERGE   n groups          slots, slots of those that are folded in, windows
 *      EMIT    n groups          slots, windows                                         answered: remote_given, ...
 *      SAVE    n groups          slots                                                  answered: size, bytes, ...
 *      LOAD    slot              value: size; version, bytes
 *      TRY     1, 0: no more     what fails from now on fails the next EMIT only
 *
 *      windows  bytes of all | start, end, flags, n_keys, cells of the key, bytes of its strings, up to 8 | the next one | ...
 *
 * Both sides are of the same version, so all stands as it is in memory.
 */
#ifndef WEIR_PIPELINE_REMOTE_FORM_H
#define WEIR_PIPELINE_REMOTE_FORM_H

#include "weir/plugin.h"

enum remote_call {
    REMOTE_OPEN = 1,
    REMOTE_BATCH,
    REMOTE_DONE,
    REMOTE_INIT,
    REMOTE_DROP,
    REMOTE_UPDATE,
    REMOTE_MERGE,
    REMOTE_EMIT,
    REMOTE_SAVE,
    REMOTE_LOAD,
    REMOTE_TRY,
    REMOTE_CLEAR,
    REMOTE_CALLS
};

struct remote_head {
    uint32_t call; /* enum remote_call */
    uint32_t n;
    uint64_t value;
};

struct remote_open {
    uint64_t plugin; /* binding_form_plugin */
    uint64_t max_slots, memory;
    uint64_t bytes_max, by_columns; /* of rows that are kept: kept_form's */
    uint32_t rows_max;
    uint32_t stride; /* bytes of a state */
    uint32_t log_least, log_json;
    uint32_t name, folder, pipeline, binding; /* sizes of what stands behind it */
};

/* Rows from `first` on, or those that are listed. */
struct remote_run {
    uint32_t is_run, first;
};

#define REMOTE_CLEAR_MAX 256u /* slots in a command */

/* A window; its key's cells and their strings stand behind it. */
struct remote_window {
    int64_t start, end;
    uint32_t flags, n_keys;
};

enum { REMOTE_END, REMOTE_GROUP, REMOTE_ROW, REMOTE_FAILED };
/* What emit gives: a group, behind it its cells unless it may have many rows, which then follow with theirs. Of a string
 * cell the bytes follow, too. In place of the end, behind TRY: why it failed. */
struct remote_given {
    uint32_t what;
    uint32_t i; /* of the groups; bytes of the text */
};

#define REMOTE_OPEN_MAX   ((size_t)16 << 20) /* bytes */
#define REMOTE_WINDOW_MAX 16384              /* bytes of a window with its key */

#endif
