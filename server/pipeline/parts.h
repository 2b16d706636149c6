/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts of results in two phases: where each of several servers has a part of the rows of a key, it gives out the states of its
 * analyzers instead of what they make of them (`partial: states`), a column of text each, and another pipeline merges those
 * (`parts_of`):
 *
 *      rows --update--> state --save--> text | topic by key | text --load--> state --merge--> state --emit--> cells
 *
 * A text is the hash of what the analyzer is and how it was set, 16 digits, ':', the version of the state, ':' and the bytes of a checkpoint as
 * base64. Servers with other versions send what others of them can load or cannot, as checkpoints of before can be loaded or not.
 */
#ifndef WEIR_PIPELINE_PARTS_H
#define WEIR_PIPELINE_PARTS_H

#include "log/log.h"
#include "plugin/host.h"

struct analyze_groups;
struct parts; /* of a worker: what its calls need */
struct pipeline;
struct step;
struct worker;

#define PARTS_NAME_MAX 160

/* The name of the column of an analyzer's states. */
void parts_name(const struct config_analyzer *c, char ret[PARTS_NAME_MAX]);
/* Can the states of the step go elsewhere? -EINVAL. */
int parts_check(const struct pipeline *p, const struct weir_analyzer *a,
                const struct config_analyzer *c, struct error *error);
/* Where the step finds those that it merges, in what the pipeline reads. -EINVAL. */
int parts_find(const struct pipeline *p, struct step *s, struct error *error);

/* As analyze_update: merges the states in the rows into those of their groups. */
int parts_fold(struct worker *w, size_t step, const struct log_entry *e,
               const uint32_t *row, const uint32_t *slot, uint32_t n);
/* As analyze_emit. */
int parts_emit(struct worker *w, size_t step, const struct analyze_groups *g,
               struct weir_out *out);
void parts_free(struct parts *p); /* takes NULL */

#endif
