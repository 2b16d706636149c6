/* SPDX-License-Identifier: Apache-2.0
 *
 * last: the value of a column in the last row by event time, and when that was. All of it is in edge.h.
 */
#define EDGE_LAST 1
#include "edge.h"

static const struct weir_output outputs[] = {
    {"{of}_last", WEIR_SAME_AS(0), "value of the latest event", NULL},
    {"{of}_last_time", WEIR_TIME, "when that was", NULL},
    {.name = NULL},
};

static const struct weir_analyzer last = {
    .name = "last",
    .version = "1.0",
    .help = "Value of a column in the last event by time, and when that was",
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
WEIR_PLUGIN(last);
