/* SPDX-License-Identifier: Apache-2.0
 *
 * A counter-example as a C program that needs the plugin and its header only.
 */
#ifndef WEIR_LAWS_EXAMPLE_H
#define WEIR_LAWS_EXAMPLE_H

#include "laws/plan.h"
#include "laws/rows.h"
#include "plugin/binding.h"

#include <stdio.h>

struct example {
    const char *path; /* of the plugin */
    const char *law, *help, *said;
    const char *params; /* for people */
    const struct binding *binding;
    const struct rows *rows;
    const struct plan *plan;
    bool compare, rounded;
    uint64_t seed; /* of the layout */
};

/* False: no memory. */
bool example_write(const struct example *e, FILE *to);

#endif
