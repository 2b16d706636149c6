/* SPDX-License-Identifier: Apache-2.0
 *
 * time_weighted: the mean of a column, each value weighted by how long it held. All of it is in area.h.
 */
#include "area.h"

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct area_config, column),
     .help = "the column",
     .column_types = WEIR_NUMBERS},
    AREA_CHOICES,
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_time_weighted", WEIR_FLOAT, "mean by time", NULL},
    {.name = NULL},
};

static const struct weir_analyzer time_weighted = {
    .name = "time_weighted",
    .version = "1.0",
    .help = "Mean of a column, each value weighted by how long it held",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .reasons = "late not_finite",
    .config_size = sizeof(struct area_config),
    .state_size = sizeof(struct ordered),
    .state_version = 1,
    .drop = ordered_drop,
    .update = area_update,
    .merge = ordered_merge,
    .emit = area_emit,
    .save = ordered_save,
    .load = ordered_load,
};
WEIR_PLUGIN(time_weighted);
