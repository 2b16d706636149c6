/* SPDX-License-Identifier: Apache-2.0 */
#include "hook/alert.h"
#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_FIRST 64u

struct alert_key {
    struct hook_state state;
    struct alert_key *next;
    char text[];
};

struct alerts {
    struct alert_rule rule;
    struct alert_key **bucket; /* a power of two of them */
    size_t n_buckets, n, firing;
};

int alerts_new(const struct alert_rule *rule, struct alerts **ret)
{
    struct alerts *a = calloc(1, sizeof(*a));
    if (a && !(a->bucket = calloc(BUCKETS_FIRST, sizeof(struct alert_key *)))) {
        free(a);
        a = NULL;
    }
    if (!a)
        return -ENOMEM;
    a->n_buckets = BUCKETS_FIRST;
    a->rule = *rule;
    *ret = a;
    return 0;
}

void alerts_free(struct alerts *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n_buckets; i++)
        for (struct alert_key *k = a->bucket[i], *next; k; k = next) {
            next = k->next;
            free(k);
        }
    free(a->bucket);
    free(a);
}

void alerts_set_rule(struct alerts *a, const struct alert_rule *rule)
{
    a->rule = *rule;
}

uint64_t alerts_firing(const struct alerts *a)
{
    return a->firing;
}

uint64_t alerts_keys(const struct alerts *a)
{
    return a->n;
}

static struct alert_key **find(const struct alerts *a, const char *key)
{
    uint64_t hash = hash_bytes(key, strlen(key));
    struct alert_key **at = &a->bucket[hash & (a->n_buckets - 1)];
    while (*at && strcmp((*at)->text, key) != 0)
        at = &(*at)->next;
    return at;
}

/* Without memory it stays as it is: chains are longer. */
static void grow(struct alerts *a)
{
    size_t n = a->n_buckets * 2;
    struct alert_key **bucket = calloc(n, sizeof(*bucket)), **old = a->bucket;
    if (!bucket)
        return;
    size_t n_old = a->n_buckets;
    a->bucket = bucket;
    a->n_buckets = n;
    for (size_t i = 0; i < n_old; i++)
        for (struct alert_key *k = old[i], *next; k; k = next) {
            next = k->next;
            struct alert_key **at =
                &bucket[hash_bytes(k->text, strlen(k->text)) & (n - 1)];
            k->next = *at;
            *at = k;
        }
    free(old);
}

int alerts_put(struct alerts *a, const char *key, const struct hook_state *state)
{
    size_t size = strlen(key) + 1;
    struct alert_key *k = malloc(sizeof(*k) + size);
    if (!k)
        return -ENOMEM;
    if (a->n >= a->n_buckets)
        grow(a);
    k->state = *state;
    k->next = NULL;
    memcpy(k->text, key, size);
    *find(a, key) = k;
    a->n++;
    a->firing += state->told_us != INT64_MIN;
    return 0;
}

static void forget(struct alerts *a, struct alert_key **at, struct alert_step *ret)
{
    struct alert_key *k = *at;
    bool firing = k->state.told_us != INT64_MIN;
    ret->state = k->state;
    ret->gone = true;
    if (firing && a->rule.resolved)
        ret->notice = ALERT_RESOLVED;
    a->firing -= firing;
    a->n--;
    *at = k->next;
    free(k);
}

int alerts_step(struct alerts *a, const char *key, int64_t time_us, bool holds,
                struct alert_step *ret)
{
    struct alert_key **at = find(a, key), *k = *at;
    *ret = (struct alert_step){.notice = ALERT_NONE};
    if (!k && !holds)
        return 0;
    if (!k && a->n >= a->rule.max_keys) {
        ret->over = true;
        return 0;
    }
    if (!k) {
        const struct hook_state first = {
            .since_us = time_us, .last_us = time_us, .told_us = INT64_MIN};
        int err = alerts_put(a, key, &first);
        if (err)
            return err;
        k = *find(a, key);
    } else if (time_us < k->state.last_us) {
        return 0;
    }
    if (!holds) {
        forget(a, at, ret);
        return 0;
    }
    struct hook_state *s = &k->state;
    s->last_us = time_us;
    if (s->told_us == INT64_MIN && time_us - s->since_us >= a->rule.for_us) {
        ret->notice = ALERT_FIRING;
        a->firing++;
        s->told_us = time_us;
    } else if (s->told_us != INT64_MIN && a->rule.repeat_us != INT64_MAX &&
               time_us - s->told_us >= a->rule.repeat_us) {
        ret->notice = ALERT_REPEATED;
        s->told_us = time_us;
    }
    ret->changed = true;
    ret->state = *s;
    return 0;
}
