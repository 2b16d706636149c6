/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a database and its journals are whole and belong together, from their files, which a running
 * server may be writing to. Nothing is changed.
 *
 *      file        the pages and indexes (PRAGMA quick_check, then integrity_check), schema version,
 *                  result tables, stored groups
 *      journals    every frame; then whether each holds what the checkpoints need, with trimming held
 *                  off meanwhile
 */
#ifndef WEIR_ADMIN_VERIFY_H
#define WEIR_ADMIN_VERIFY_H

#include "base/error.h"
#include "config/config.h"

#include <stddef.h>

enum verify_said {
    VERIFY_FOUND, /* what there is */
    VERIFY_FAULT, /* what is wrong */
    VERIFY_TO_DO, /* about the faults before it */
};

struct verify_options {
    const char *database;        /* file */
    const char *journal;         /* folder of the journals; need not be there */
    const struct config *config; /* NULL: which stream a pipeline reads is not known */
    void (*say)(void *ctx, enum verify_said what, const char *text); /* one line */
    void *ctx;
};

/* *ret_faults: how many were told. -ENOENT: no database; -EEXIST: made by a newer weir; -EIO, ...: it
 * cannot be read. */
int verify_database(const struct verify_options *o, size_t *ret_faults,
                    struct error *error);

#endif
