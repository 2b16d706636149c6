/* SPDX-License-Identifier: Apache-2.0
 *
 * A webhook as configured, checked against the table that it sends: `weir check` comes as far as this.
 */
#ifndef WEIR_HOOK_SPEC_H
#define WEIR_HOOK_SPEC_H

#include "config/config.h"
#include "expr/single.h"
#include "hook/template.h"
#include "pipeline/pipeline.h"

struct hook_spec {
    struct config *owner; /* a reference, as of the pipeline */
    const struct config_hook *config;
    struct pipeline *pipeline;
    const char *pipeline_name;
    const struct table *table; /* NULL: it is left out; nothing below is there either */
    struct schema *columns;    /* as people see them */
    size_t time;               /* which of them is the event time */
    size_t n_keys, *key;       /* which are the key */
    int revision;              /* likewise; -1: rows are not revised */
    struct single *when;       /* NULL: all rows */
    struct template *body;     /* NULL: our own */
    struct buffer secret;      /* empty: not signed */
    struct hook_spec *next;
};

/* Those of the pipelines, of which config->pipeline has the settings. Of one that is left out (NULL, or without tables), only
 * the names are known: what they have sent is to be kept. -EINVAL with the place, -ENOMEM. */
int hook_specs_new(struct config *config, struct pipeline *const *pipeline, size_t n,
                   struct hook_spec **ret, struct error *error);
void hook_specs_free(struct hook_spec *list);
void hook_spec_free(struct hook_spec *s); /* one; takes NULL */

/* Would they send the same? */
bool hook_spec_same(const struct hook_spec *a, const struct hook_spec *b);

#endif
