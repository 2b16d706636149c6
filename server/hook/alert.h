/* SPDX-License-Identifier: Apache-2.0
 *
 * A condition that is watched, key by key, in event time:
 *
 *                 true                      true, `for` has passed
 *      (nothing) ------> since = time ----------------------------> told: FIRING
 *          ^                  | false           true, `repeat` has passed since it was told: REPEATED
 *          +------------------+---------------- false: RESOLVED
 *
 * A row that is older than the last one that the key's condition held for says nothing: it was revised, or is late.
 */
#ifndef WEIR_HOOK_ALERT_H
#define WEIR_HOOK_ALERT_H

#include "store/hooks.h"

#include <stdbool.h>

struct alert_rule {
    int64_t for_us, repeat_us; /* repeat_us INT64_MAX: never */
    bool resolved;             /* is told */
    uint64_t max_keys;
};

struct alerts; /* the keys for which the condition holds */

int alerts_new(const struct alert_rule *rule, struct alerts **ret);
void alerts_free(struct alerts *a); /* takes NULL */
void alerts_set_rule(struct alerts *a, const struct alert_rule *rule);
/* Of an earlier time. -ENOMEM. */
int alerts_put(struct alerts *a, const char *key, const struct hook_state *state);
uint64_t alerts_firing(const struct alerts *a), alerts_keys(const struct alerts *a);

enum alert_notice { ALERT_NONE, ALERT_FIRING, ALERT_REPEATED, ALERT_RESOLVED };

struct alert_step {
    enum alert_notice notice;
    bool changed, gone;      /* the state of the key: to be saved, or forgotten */
    bool over;               /* there are too many keys: the row says nothing */
    struct hook_state state; /* now; if it is gone, before */
};

/* A row of the key, of that event time. -ENOMEM. */
int alerts_step(struct alerts *a, const char *key, int64_t time_us, bool holds,
                struct alert_step *ret);

#endif
