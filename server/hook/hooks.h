/* SPDX-License-Identifier: Apache-2.0
 *
 * Webhooks: rows of result tables to other services by HTTP, at least once, in the order in which they were put for each
 * key. One thread for all:
 *
 *      commit --wake--> feed.c: changes -> items --> [alert.c: notices -> keep.c: saved] --> lane.c: requests
 *                                                                                              |
 *                       keep.c: how far it is, saved behind what was delivered <--- answers ---+
 *
 * Nothing waits for a receiver: what it has not taken lies in the database, and of it at most some thousand rows in
 * memory. One way to start, whatever ended the last run: from what is saved; what was delivered behind it is sent
 * again, under the same id.
 */
#ifndef WEIR_HOOK_HOOKS_H
#define WEIR_HOOK_HOOKS_H

#include "base/metrics.h"
#include "hook/spec.h"
#include "store/store.h"

struct hooks;

/* Makes the tables of these specs followed, in time: before their pipelines begin. The store runs. */
int hooks_prepare(struct store *store, const struct hook_spec *specs,
                  struct error *error);

/* Takes the specs, which hooks_prepare has had, and begins to send. All outlive it but the store, which is to be freed
 * before hooks_free is called. */
int hooks_new(struct store *store, struct metrics *metrics, struct hook_spec *specs,
              struct hooks **ret, struct error *error);
/* Requests under way are given up, what was delivered is saved. While the store runs. Takes NULL. */
void hooks_end(struct hooks *h);
void hooks_free(struct hooks *h); /* takes NULL */

/* Another configuration: nothing is saved from hold on, hooks_prepare is called, then set, which takes the specs, or release,
 * and all stays as it was. Any thread, one at a time. Hold waits for the store; -EIO: it has failed, nothing is held. */
int hooks_hold(struct hooks *h, struct error *error);
void hooks_release(struct hooks *h);
void hooks_set(struct hooks *h, struct hook_spec *specs);

/* For the API. */
enum hook_state_shown {
    HOOK_WELL,
    HOOK_RETRIES, /* the last request failed */
    HOOK_BROKEN,  /* many in a row did: one at a time is tried */
};
struct hook_status {
    const char *name, *table;
    enum hook_state_shown state;
    bool alert;
    int64_t position; /* of the last row that is done with */
    uint64_t lag;     /* rows behind it */
    uint64_t sent, refused, retries, deleted, skipped, errors, over_keys, firing;
    char error[256];              /* the last; "": none yet */
    int64_t error_us, success_us; /* wall clock; INT64_MIN: not yet */
};
void hooks_each(struct hooks *h, const char *pipeline,
                void (*call)(void *ctx, const struct hook_status *s), void *ctx);

#endif
