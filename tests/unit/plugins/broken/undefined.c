/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin that was not linked with what it calls.
 */
#include "weir/plugin.h"

int function_that_nobody_has(struct weir_ctx *ctx, const struct weir_rows *rows);

static const struct weir_analyzer undefined = {.name = "undefined",
                                               .update = function_that_nobody_has};
WEIR_PLUGIN(undefined);
