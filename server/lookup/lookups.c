/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread of all look-ups, and what others hand to it.
 */
#include "lookup/lookups.h"

#include "base/clock.h"
#include "base/doing.h"
#include "base/hash.h"
#include "base/thread.h"
#include "lookup/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What others have said. False: the end. */
static bool listen_to_others(struct lookups *l)
{
    pthread_mutex_lock(&l->lock);
    struct lookup_ask *ask = l->first;
    l->first = NULL;
    l->last = &l->first;
    while (l->fresh) {
        struct service *s = l->fresh;
        l->fresh = s->next;
        s->next = l->service;
        l->service = s;
    }
    for (struct service **at = &l->service, *s; (s = *at);) {
        if (!s->leaving) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        for (struct lookup_ask **a = &ask; *a;)
            if ((*a)->service == s)
                *a = (*a)->next;
            else
                a = &(*a)->next;
        service_end(s);
        s->gone = true;
        pthread_cond_broadcast(&l->changed);
    }
    bool on = !l->ending;
    pthread_mutex_unlock(&l->lock);
    for (struct lookup_ask *next; ask; ask = next) {
        next = ask->next; /* it may be gone once it is done */
        service_ask(ask->service, ask);
    }
    return on;
}

static void *lookups_run(void *lookups)
{
    struct lookups *l = lookups;
    while (listen_to_others(l)) {
        int64_t now_us = clock_monotonic_us(), next_us = INT64_MAX;
        for (struct service *s = l->service; s; s = s->next) {
            int64_t due_us = service_run(s, now_us);
            next_us = due_us < next_us ? due_us : next_us;
        }
        now_us = clock_monotonic_us();
        sender_wait(l->sender, next_us == INT64_MAX ? INT64_MAX : next_us - now_us);
        struct sender_answer a;
        while (sender_next(l->sender, &a))
            service_answer(a.ctx, &a);
    }
    doing_over();
    return NULL;
}

int lookups_new(struct lookups **ret, struct error *error)
{
    struct lookups *l = calloc(1, sizeof(*l));
    if (!l)
        return error_set(error, -ENOMEM, "out of memory");
    l->last = &l->first;
    l->dice = hash_u64((uint64_t)clock_now_us()) | 1;
    int err = sender_new(LOOKUP_CONNECTIONS, &l->sender, error);
    if (err) {
        free(l);
        return err;
    }
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    if ((err = thread_start(&l->thread, "weir-lookups", lookups_run, l))) {
        sender_free(l->sender);
        pthread_cond_destroy(&l->changed);
        pthread_mutex_destroy(&l->lock);
        free(l);
        return error_set(error, err, "cannot start a thread: %s", strerror(-err));
    }
    *ret = l;
    return 0;
}

void lookups_free(struct lookups *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->ending = true;
    pthread_mutex_unlock(&l->lock);
    sender_wake(l->sender);
    pthread_join(l->thread, NULL);
    sender_free(l->sender);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void lookups_ask(struct service *s, struct lookup_ask *ask)
{
    struct lookups *l = s->lookups;
    ask->service = s;
    ask->next = NULL;
    pthread_mutex_lock(&l->lock);
    *l->last = ask;
    l->last = &ask->next;
    pthread_mutex_unlock(&l->lock);
    sender_wake(l->sender);
}

void lookups_wake(struct service *s)
{
    sender_wake(s->lookups->sender);
}

int service_new(struct lookups *l, const char *pipeline,
                const struct config_lookup *config, const enum weir_type *on_type,
                struct asker *asker, struct service **ret)
{
    struct service *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->lookups = l;
    s->pipeline = pipeline;
    s->config = config;
    s->asker = asker;
    memcpy(s->on_type, on_type, config->n_on * sizeof(*on_type));
    s->last = &s->first;
    s->n_buckets = 256;
    s->bucket = calloc(s->n_buckets, sizeof(struct known *));
    s->failed = answer_new(ANSWER_FAILED, config->answer->n - 1);
    if (!s->bucket || !s->failed ||
        (!asker && answer_reader_new(config, &s->reader) < 0)) {
        free(s->bucket);
        answer_unref(s->failed);
        free(s);
        return -ENOMEM;
    }
    pthread_mutex_lock(&l->lock);
    s->next = l->fresh;
    l->fresh = s;
    pthread_mutex_unlock(&l->lock);
    *ret = s;
    return 0;
}

void service_free(struct service *s)
{
    if (!s)
        return;
    struct lookups *l = s->lookups;
    pthread_mutex_lock(&l->lock);
    s->leaving = true;
    sender_wake(l->sender);
    while (!s->gone)
        pthread_cond_wait(&l->changed, &l->lock);
    pthread_mutex_unlock(&l->lock);
    answer_reader_free(s->reader);
    answer_unref(s->failed);
    buffer_free(&s->url);
    free(s->bucket);
    free(s->due);
    free(s);
}

struct service_counters *service_count(struct service *s)
{
    return &s->count;
}

bool service_is_over(struct service *s)
{
    pthread_mutex_lock(&s->lookups->lock);
    bool over = s->over;
    pthread_mutex_unlock(&s->lookups->lock);
    return over;
}

void service_error(struct service *s, char *ret, size_t size)
{
    pthread_mutex_lock(&s->lookups->lock);
    snprintf(ret, size, "%s", s->error);
    pthread_mutex_unlock(&s->lookups->lock);
}
