/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/running.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct running {
    pthread_mutex_t lock; /* protects the list */
    struct running_list list;
};

int running_new(struct running **ret)
{
    struct running *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    pthread_mutex_init(&r->lock, NULL);
    *ret = r;
    return 0;
}

void running_free(struct running *r)
{
    if (!r)
        return;
    running_done(&r->list);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

struct running_list running_list_of(struct pipeline *const *pipeline, size_t n)
{
    struct running_list l = {.pipeline = calloc(n + 1, sizeof(struct pipeline *))};
    for (; l.pipeline && l.n < n; l.n++)
        l.pipeline[l.n] = pipeline_ref(pipeline[l.n]);
    return l;
}

void running_set(struct running *r, struct running_list l)
{
    pthread_mutex_lock(&r->lock);
    struct running_list old = r->list;
    r->list = l;
    pthread_mutex_unlock(&r->lock);
    running_done(&old);
}

struct pipeline *running_get(struct running *r, const char *name)
{
    struct pipeline *found = NULL;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->list.n && !found; i++)
        if (strcmp(pipeline_config(r->list.pipeline[i])->name, name) == 0)
            found = pipeline_ref(r->list.pipeline[i]);
    pthread_mutex_unlock(&r->lock);
    return found;
}

struct running_list running_all(struct running *r)
{
    pthread_mutex_lock(&r->lock);
    struct running_list l = running_list_of(r->list.pipeline, r->list.n);
    pthread_mutex_unlock(&r->lock);
    return l;
}

void running_done(struct running_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        pipeline_unref(l->pipeline[i]);
    free(l->pipeline);
    *l = (struct running_list){0};
}
