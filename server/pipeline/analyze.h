/* SPDX-License-Identifier: Apache-2.0
 *
 * The calls of analyzers: all of init, drop, update, merge and emit that a worker makes. What a call hands over is
 * made here; what comes back is checked by plugin/host.h. They return 0 or -EINVAL, the text is in the host
 * of the step.
 */
#ifndef WEIR_PIPELINE_ANALYZE_H
#define WEIR_PIPELINE_ANALYZE_H

#include "log/log.h"
#include "plugin/host.h"

struct worker;
struct group_key;

#define ANALYZE_GROUPS 256u /* given to emit in one call, at most */

/* Some groups, as a call of emit gets them. */
struct analyze_groups {
    size_t n;
    const uint32_t *slot;
    const struct weir_window *window[ANALYZE_GROUPS];
    const void *state[ANALYZE_GROUPS]; /* of the step that is called */
    union host_window windows[ANALYZE_GROUPS];
    struct weir_cell *key; /* the pipeline's key columns of each */
    char *bytes;           /* of strings in them */
    size_t bytes_room;
};
int analyze_groups_new(const struct worker *w,
                       struct analyze_groups **ret); /* -ENOMEM */
void analyze_groups_free(struct analyze_groups *g);  /* takes NULL */

/* Fills in windows and keys of the groups at slot[0..n); `flags`: WEIR_FINAL, ... Valid until groups are
 * closed. -ENOMEM. */
int analyze_groups_read(const struct worker *w, struct analyze_groups *g,
                        const uint32_t *slot, size_t n, uint32_t flags);

/* The pipeline's key columns of a key; strings go to `bytes`, which has room for all of the key. */
void analyze_key(const struct worker *w, const struct group_key *k,
                 struct weir_cell *key, char *bytes);

/* The states of a new group, from zeros. On failure they are as before. */
int analyze_init(struct worker *w, uint32_t slot);

/* Gives the states of steps [first, end) of a group back to their plugins. */
void analyze_drop(struct worker *w, uint32_t slot, size_t first, size_t end);

/* Rows row[0..n) of the entry, whose groups are slot[0..n) of the worker: folded in, or, where the entry says so, taken out
 * again. Rows of one call come from one entry
 * of the journal: where small ones were joined, there are several calls. */
int analyze_update(struct worker *w, size_t step, const struct log_entry *e,
                   const uint32_t *row, const uint32_t *slot, uint32_t n);
/* No more of the entry. Processes of analyzers go on with it; what has failed in them may show now. */
int analyze_end(struct worker *w);

/* Folds the states of the groups at from[0..n) into those of other groups of the same keys: in `g`, read. */
int analyze_merge(struct worker *w, struct analyze_groups *g, const uint32_t *from);

/* Has the step give the results of the groups to `out`, whose group, row, keep and ctx are set. */
int analyze_emit(struct worker *w, size_t step, struct analyze_groups *g,
                 struct weir_out *out);

#endif
