/* SPDX-License-Identifier: Apache-2.0
 *
 * The pipelines in force, in the order of the configuration: asked about from any thread, exchanged when
 * the configuration is read again. Who looks at one holds a reference.
 */
#ifndef WEIR_PIPELINE_RUNNING_H
#define WEIR_PIPELINE_RUNNING_H

#include "pipeline/pipeline.h"

struct running;

struct running_list {
    size_t n;
    struct pipeline **pipeline; /* each with a reference */
};

int running_new(struct running **ret); /* none yet. -ENOMEM */
void running_free(struct running *r);  /* takes NULL */

/* These n, each with a reference of its own. `pipeline` of the list is NULL: no memory. */
struct running_list running_list_of(struct pipeline *const *pipeline, size_t n);
/* From now on these. Takes the list. */
void running_set(struct running *r, struct running_list l);

/* NULL: there is none of that name. Otherwise for pipeline_unref. */
struct pipeline *running_get(struct running *r, const char *name);
/* All; empty without memory. */
struct running_list running_all(struct running *r);
void running_done(struct running_list *l);

#endif
