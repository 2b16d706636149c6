/* SPDX-License-Identifier: Apache-2.0
 *
 * Analyzers with `run: async`: what they ask is asked by the task of the look-ups (lookup.h), each as a service of its own,
 * and their answers are the last columns of what the workers get, which only these analyzers know.
 */
#ifndef WEIR_PIPELINE_ASK_H
#define WEIR_PIPELINE_ASK_H

#include "pipeline/worker.h"

#define ASK_SERVICES_MAX (CONFIG_LOOKUPS_MAX + CONFIG_ASYNC_MAX)

/* Once its analyzers are bound: step.ask, p->asking, p->wide. -EINVAL with a place, -ENOMEM. */
int ask_setup(struct pipeline *p, struct error *error);
void ask_free(struct config_lookup *l); /* step.ask; takes NULL */

/* The services of the pipeline: look-ups first, then those of analyzers. */
size_t ask_services(const struct pipeline *p);
const struct config_lookup *ask_service(const struct pipeline *p, size_t i);
/* The analyzer of the i-th; NULL: it is a look-up. */
struct step *ask_step(const struct pipeline *p, size_t i);
/* Of the rows of the stream that it is asked about; NULL: of all. -EINVAL with a place, -ENOMEM. */
int ask_filter(const struct pipeline *p, size_t i, struct filter **ret,
               struct error *error);

#endif
