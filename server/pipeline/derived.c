/* SPDX-License-Identifier: Apache-2.0
 *
 * Columns that are a pipeline's own, derived ones and those of tables: it makes of each entry one for itself, whose batch
 * shares the arrays of the stream's, and finds its keys and dictionaries in that. On the dispatcher's thread.
 */
#include "log/entry.h"
#include "pipeline/reference.h"
#include "pipeline/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int derive_parts(const struct log_entry *e, struct log_entry *to)
{
    if (!e->n_parts)
        return 0;
    to->part = malloc(e->n_parts * sizeof(*to->part));
    if (!to->part)
        return -ENOMEM;
    memcpy(to->part, e->part, e->n_parts * sizeof(*to->part));
    to->n_parts = e->n_parts;
    return 0;
}

/* As the dispatcher does it for all pipelines of a stream. */
int derived_keys(const struct pipeline *p, struct log_entry *to)
{
    to->n_keys = 1;
    to->n_columns = p->schema->n;
    to->keys = calloc(to->n_keys, sizeof(struct key_ids *));
    to->dictionary = calloc(to->n_columns, sizeof(struct dictionary *));
    if (!to->keys || !to->dictionary)
        return -ENOMEM;
    int r = keys_new(to->batch, p->config->key, p->config->n_keys, &to->keys[0]);
    for (size_t i = 0; r == 0 && i < to->n_columns; i++)
        if (p->dictionary[i])
            r = dictionary_new(to->batch, i, &to->dictionary[i]);
    return r;
}

int derived_copy(const struct log_entry *e, struct log_entry **ret)
{
    struct log_entry *to;
    int r = entry_new(LOG_BATCH, &to);
    if (r < 0)
        return r;
    to->position = e->position;
    to->number = e->number;
    to->source = e->source;
    to->time_us = e->time_us;
    to->held = e->held;
    to->reached_us = e->reached_us;
    to->sequence = e->sequence;
    to->retract = e->retract;
    r = derive_parts(e, to);
    if (r < 0) {
        log_entry_unref(to);
        return r;
    }
    *ret = to;
    return 0;
}

int derived_entry(struct pipeline *p, const struct log_entry *e, struct log_entry **ret)
{
    struct log_entry *to;
    uint64_t errors = 0;
    int r = derived_copy(e, &to);
    if (r < 0)
        return r;
    struct batch *batch = NULL;
    r = p->references ? references_widen(p, e->batch, &batch) : 0;
    if (r == 0 && !p->derive) {
        to->batch = batch;
        batch = NULL;
    } else if (r == 0) {
        r = derive_batch(p->derive, batch ? batch : e->batch, &errors, &to->batch);
    }
    batch_unref(batch);
    if (r == 0)
        r = derived_keys(p, to);
    if (r < 0) {
        log_entry_unref(to);
        return r;
    }
    metric_add(&p->derive_errors, errors);
    *ret = to;
    return 0;
}

int derived_setup(struct pipeline *p, struct error *error)
{
    struct derive_column column[SCHEMA_COLUMNS_MAX];
    size_t n = config_derive_columns(&p->config->derive, column);
    return n ? derive_new(p->schema, column, n, &p->derive, error) : 0;
}
