/* SPDX-License-Identifier: Apache-2.0
 *
 * Values as PostgreSQL has them.
 */
#ifndef WEIR_CARRY_TYPES_H
#define WEIR_CARRY_TYPES_H

#include "weir/plugin.h"

#include <postgres_ext.h>
#include <stdint.h>

/* Times count from the year 2000. */
#define TYPES_2000_US INT64_C(946684800000000)

static const struct type_there {
    const char *name; /* as format_type has it */
    Oid oid;          /* in pg_type.dat: the same in every PostgreSQL */
} type_there[] = {
    [WEIR_INT] = {"bigint", 20},
    [WEIR_FLOAT] = {"double precision", 701},
    [WEIR_BOOL] = {"boolean", 16},
    [WEIR_STRING] = {"text", 25},
    [WEIR_TIME] = {"timestamp with time zone", 1184},
};

#endif
