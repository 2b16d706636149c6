/* SPDX-License-Identifier: Apache-2.0
 *
 * What hooks remember, to the file: all of them in one transaction, on the store's thread, which is not waited for.
 * Rows: how far a hook is, after they were delivered. Alerts: states and notices before these are sent, and that they were.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "hook/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_EVERY_US (SECOND_US / 20)
#define KEEP_RETRY_US SECOND_US

struct keeping {
    struct hooks *hooks;
    struct hook_save *save;
    struct hook **hook;
    size_t n;
    struct hook_change *change; /* of all, one behind the other */
    struct error error;
};

void keep_free(struct keeping *k)
{
    if (!k)
        return;
    free(k->save);
    free(k->hook);
    free(k->change);
    free(k);
}

static bool is_due(const struct item *i)
{
    return i->stage == ITEM_FRESH || i->stage == ITEM_SENT;
}

/* What an item has to say, at most two things. */
static size_t put_item(const struct item *i, struct hook_change *to)
{
    size_t n = 0;
    if (i->stage == ITEM_SENT) {
        to[n++] = (struct hook_change){.what = HOOK_DELIVERED, .seq = i->seq};
        return n;
    }
    if (i->step.changed || i->step.gone)
        to[n++] =
            (struct hook_change){.what = i->step.gone ? HOOK_NO_STATE : HOOK_STATE,
                                 .key = i->key,
                                 .state = i->step.state};
    if (i->notice)
        to[n++] = (struct hook_change){
            .what = HOOK_NOTICE, .key = i->key, .seq = i->seq, .body = i->text};
    return n;
}

static void put_hook(struct hook *k, struct hook_save *to, struct hook_change *change)
{
    *to = (struct hook_save){.id = k->id,
                             .since_us = k->since_us,
                             .position = k->alerts ? k->read : hook_position(k),
                             .change = change};
    for (struct item *i = k->first; k->alerts && i; i = i->next) {
        i->saving = is_due(i);
        if (i->saving)
            to->n += put_item(i, change + to->n);
    }
}

static bool needs_saving(const struct hook *k)
{
    bool needs = (k->alerts ? k->read : hook_position(k)) != k->saved;
    for (const struct item *i = k->first; k->alerts && !needs && i; i = i->next)
        needs = is_due(i);
    return needs;
}

static int collect(struct hooks *h, struct keeping **ret)
{
    size_t n = 0, items = 0;
    bool needs = false;
    for (struct hook *k = h->first; k; k = k->next) {
        n++;
        items += k->alerts ? k->n : 0;
        needs = needs || (!k->broken && needs_saving(k));
    }
    if (!needs)
        return -ENOENT;
    struct keeping *w = calloc(1, sizeof(*w));
    if (w) {
        w->hooks = h;
        w->save = calloc(n, sizeof(*w->save));
        w->hook = calloc(n, sizeof(struct hook *));
        w->change = calloc(2 * items + 1, sizeof(*w->change));
    }
    if (!w || !w->save || !w->hook || !w->change) {
        keep_free(w);
        return -ENOMEM;
    }
    size_t used = 0;
    for (struct hook *k = h->first; k; k = k->next) {
        if (k->broken) /* its place is kept as it is */
            w->save[w->n] = (struct hook_save){
                .id = k->id, .since_us = k->since_us, .position = k->saved};
        else
            put_hook(k, &w->save[w->n], w->change + used);
        used += w->save[w->n].n;
        w->hook[w->n++] = k;
    }
    *ret = w;
    return 0;
}

static void settle(struct keeping *w, int err)
{
    for (size_t n = 0; n < w->n; n++) {
        struct hook *k = w->hook[n];
        if (!err)
            k->saved = w->save[n].position;
        for (struct item *i = k->first; i; i = i->next) {
            bool saved = i->saving && !err;
            i->saving = false;
            if (!saved)
                continue;
            if (i->stage == ITEM_FRESH && i->notice)
                hook_ready(k, i);
            else
                i->stage = ITEM_OVER;
        }
        hook_sweep(k);
        k->look = k->look || !k->first;
    }
}

/* On the writer thread. */
static void save(struct store *s, void *keeping)
{
    struct keeping *w = keeping;
    struct hooks *h = w->hooks;
    int err = hooks_save(s, w->save, w->n, &w->error);
    pthread_mutex_lock(&h->lock);
    h->kept = true;
    h->kept_err = err;
    sender_wake(h->sender);
    pthread_mutex_unlock(&h->lock);
}

static void set_busy(struct hooks *h, bool busy)
{
    pthread_mutex_lock(&h->lock);
    h->busy = busy;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

int64_t keep_begin(struct hooks *h, int64_t now_us)
{
    if (h->keeping)
        return INT64_MAX;
    if (now_us < h->keep_us)
        return h->keep_us;
    pthread_mutex_lock(&h->lock);
    bool held = h->held || h->exchanged; /* then these are of the set before */
    h->busy = !held;
    pthread_mutex_unlock(&h->lock);
    if (held)
        return INT64_MAX;
    int err = collect(h, &h->keeping);
    if (!err && (err = store_post(h->store, save, h->keeping)) < 0) {
        settle(h->keeping, err);
        keep_free(h->keeping);
        h->keeping = NULL;
    }
    if (!err)
        return INT64_MAX;
    set_busy(h, false);
    if (err == -ENOENT)
        return INT64_MAX;
    h->keep_us = now_us + KEEP_RETRY_US;
    return h->keep_us;
}

void keep_done(struct hooks *h)
{
    int err = h->kept_err;
    if (err)
        logger_warn(
            "hook",
            "what webhooks have sent cannot be noted: %s; tried again, and what "
            "is sent twice has the same id",
            h->keeping->error.text);
    settle(h->keeping, err);
    keep_free(h->keeping);
    h->keeping = NULL;
    h->keep_us = clock_monotonic_us() + (err ? KEEP_RETRY_US : KEEP_EVERY_US);
    set_busy(h, false);
}

static int save_last(struct store *s, void *keeping)
{
    struct keeping *w = keeping;
    return hooks_save(s, w->save, w->n, &w->error);
}

/* Behind one that is under way, which belongs to the store until it is freed if that cannot write. */
void keep_last(struct hooks *h)
{
    struct keeping *w = NULL;
    if (store_trouble(h->store))
        return;
    if (collect(h, &w) == 0 && store_call(h->store, save_last, w) < 0)
        logger_warn("hook", "what webhooks have sent last is not noted: it is sent "
                            "again, with the same id");
    keep_free(w);
}
