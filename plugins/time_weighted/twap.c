/* SPDX-License-Identifier: Apache-2.0
 *
 * twap: the time-weighted average price. All of it is in area.h.
 */
#include "area.h"

static const struct weir_param params[] = {
    {.name = "price",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct area_config, column),
     .help = "the price",
     .column_types = WEIR_NUMBERS},
    AREA_CHOICES,
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"twap", WEIR_FLOAT, "time-weighted average price", NULL},
    {.name = NULL},
};

static const struct weir_analyzer twap = {
    .name = "twap",
    .version = "1.0",
    .help = "Time-weighted average price",
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
WEIR_PLUGIN(twap);
