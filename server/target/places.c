/* SPDX-License-Identifier: Apache-2.0
 *
 * Places of tables are saved in the file.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "target/kind.h"

#include <stdlib.h>
#include <string.h>

/* Once it is posted the writer has it, and frees it; a store that has failed does not: then target_free does. */
struct saving {
    struct target *target;
    struct error error;
    size_t n;
    struct carried_place place[];
};

static int save_call(struct store *s, void *saving)
{
    struct saving *w = saving;
    return carried_save(s, w->target->kind->to, w->place, w->n, &w->error);
}

/* On the writer thread. */
static void save(struct store *s, void *saving)
{
    struct saving *w = saving;
    struct target *t = w->target;
    int err = save_call(s, w);
    pthread_mutex_lock(&t->lock);
    t->saved = true;
    t->saved_err = err;
    t->saved_error = w->error;
    t->saving = NULL;
    pthread_cond_broadcast(&t->changed);
    target_wake(t);
    pthread_mutex_unlock(&t->lock);
    free(w);
}

static struct saving *collect(struct target *t)
{
    size_t n = 0;
    for (struct target_table *k = t->set->first; k; k = k->next)
        n += k->dirty;
    struct saving *w = n ? calloc(1, sizeof(*w) + n * sizeof(w->place[0])) : NULL;
    if (!w)
        return NULL;
    w->target = t;
    for (struct target_table *k = t->set->first; k; k = k->next)
        if (k->dirty)
            w->place[w->n++] = k->place;
    return w;
}

/* All that is dirty. False: not now, what the last one has come to is not looked at yet, others are to be read from the file, or the writer
 * has no time for it. */
static bool post(struct target *t, struct saving *w)
{
    pthread_mutex_lock(&t->lock);
    const bool now = !t->saving && !t->saved && !t->held && !t->fresh;
    if (now)
        t->saving = w;
    pthread_mutex_unlock(&t->lock);
    if (!now)
        return false;
    for (struct target_table *k = t->set->first; k; k = k->next) {
        k->posted = k->dirty;
        k->will_say = strcmp(k->place.writer, t->writer) == 0;
    }
    if (store_post(t->store, save, w) == 0) {
        for (struct target_table *k = t->set->first; k; k = k->next)
            k->dirty = false;
        return true;
    }
    pthread_mutex_lock(&t->lock);
    t->saving = NULL;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    return false;
}

void target_note(struct target *t, struct target_table *k)
{
    k->dirty = true;
    t->save_us = 0;
}

void target_save(struct target *t, int64_t now_us)
{
    struct saving *w = now_us < t->save_us ? NULL : collect(t);
    if (w && post(t, w))
        t->save_us = now_us + TARGET_EVERY_US;
    else
        free(w);
}

/* What was not saved is saved with what comes next: all of it, as it is no trouble. err 1: there is more to forget, by the next call. */
static void end_save(struct target *t, int err, const struct error *error)
{
    if (err < 0 && !t->told_saving)
        logger_warn(t->kind->log,
                    "how far tables were %s cannot be noted: %s; tried again, and %s "
                    "knows",
                    t->kind->done, error->text, t->kind->name);
    t->told_saving = err < 0;
    for (struct target_table *k = t->set->first; k; k = k->next) {
        k->dirty = k->dirty || err;
        k->noted = k->noted || (k->posted && k->will_say && err >= 0);
        k->posted = false;
    }
    if (err == 1)
        t->save_us = 0;
}

void target_saved(struct target *t)
{
    pthread_mutex_lock(&t->lock);
    const bool saved = t->saved;
    const int err = t->saved_err;
    const struct error error = t->saved_error;
    t->saved = false;
    pthread_mutex_unlock(&t->lock);
    if (saved)
        end_save(t, err, &error);
}

/* Behind one that is under way. */
void target_save_last(struct target *t)
{
    struct saving *w = store_trouble(t->store) ? NULL : collect(t);
    if (w && store_call(t->store, save_call, w) < 0)
        logger_warn(t->kind->log, "how far tables were %s last is not noted: %s knows",
                    t->kind->done, t->kind->name);
    free(w);
}
