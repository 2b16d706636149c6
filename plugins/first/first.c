/* SPDX-License-Identifier: Apache-2.0
 *
 * first: the value of a column in the first row by event time, and when that was. All of it is in edge.h.
 */
#define EDGE_LAST 0
#include "edge.h"

static const struct weir_output outputs[] = {
    {"{of}_first", WEIR_SAME_AS(0), "value of the earliest event", NULL},
    {"{of}_first_time", WEIR_TIME, "when that was", NULL},
    {.name = NULL},
};

static const struct weir_analyzer first = {
    .name = "first",
    .version = "1.0",
    .help = "Value of a column in the first event by time, and when that was",
    .threads = WEIR_THREADS_CTX,
    .params = edge_params,
    .outputs = outputs,
    .reasons = "nan",
    .config_size = sizeof(struct edge_config),
    .state_size = sizeof(struct edge),
    .state_version = 1,
    .drop = edge_drop,
    .update = edge_update,
    .merge = edge_merge,
    .emit = edge_emit,
    .save = edge_save,
    .load = edge_load,
};
WEIR_PLUGIN(first);
