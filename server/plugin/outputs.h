/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of outputs, and how tables of plugins that were built with another header become ours.
 */
#ifndef WEIR_PLUGIN_OUTPUTS_H
#define WEIR_PLUGIN_OUTPUTS_H

#include "base/error.h"
#include "weir/plugin.h"

#include <stdbool.h>

#define OUTPUTS_MAX      256
#define OUTPUTS_NAME_MAX 63 /* bytes of a name, before what stands in {} is put in */

/* A copy of a table (of "outputs", as messages call them) whose rows begin with a name and end with one that is
 * NULL; NULL of NULL. Rows that are shorter than ours are filled up with zeros; what stands behind ours must be zeros.
 * -EINVAL: it is not, or there are more than `max` rows; -ENOMEM. */
int outputs_copy_table(const void *table, size_t row_size, size_t our_size, size_t max,
                       const char *what, void **ret, struct error *error);

/* Do they make sense, beside the analyzer's parameters? `bound`: which inputs there are is known, and the binding looks
 * for those that WEIR_SAME_AS names. -EINVAL with the fault. */
int outputs_check(const struct weir_analyzer *a, const struct weir_output *outputs,
                  bool bound, struct error *error);

#endif
