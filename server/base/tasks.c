/* SPDX-License-Identifier: Apache-2.0
 *
 * Each thread that has nothing to do sleeps on a condition of its own. As many of them as it takes keep
 * watch: the first deadline of all tasks is slept for by at least one thread, unless all are busy, and then
 * the first that is done looks at it. Who is woken for a task is, of those asleep, the one that watched for
 * its deadline, which has passed with it; otherwise the one with the latest, so that watch goes on. It is chosen with the
 * lock held and signalled without it, as the first thing that it wants is the lock.
 */
#include "base/tasks.h"

#include "base/clock.h"
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct sleeper { /* a thread */
    struct tasks *tasks;
    pthread_t thread;
    pthread_cond_t call;
    bool asleep;
    int64_t until_us; /* while asleep; INT64_MAX: does not watch */
};

struct tasks {
    bool stand_back;

    pthread_mutex_t lock; /* protects all below, and the tasks */
    pthread_cond_t still; /* a task has ended its turn, and somebody waits for that */
    struct task *first, **last;
    struct task **heap; /* of those with deadlines, the first in front */
    size_t n_heap, n_tasks, room;
    bool stop;
    unsigned n;
    struct sleeper sleeper[];
};

/* ---- Deadlines, with the lock held --------------------------------------------------------------- */

static void heap_set(struct tasks *p, size_t at, struct task *t)
{
    p->heap[at] = t;
    t->at = at;
}

static void heap_up(struct tasks *p, size_t at, struct task *t)
{
    for (; at > 0 && t->due_us < p->heap[(at - 1) / 2]->due_us; at = (at - 1) / 2)
        heap_set(p, at, p->heap[(at - 1) / 2]);
    heap_set(p, at, t);
}

static void heap_down(struct tasks *p, size_t at, struct task *t)
{
    for (size_t child; (child = 2 * at + 1) < p->n_heap; at = child) {
        if (child + 1 < p->n_heap &&
            p->heap[child + 1]->due_us < p->heap[child]->due_us)
            child++;
        if (t->due_us <= p->heap[child]->due_us)
            break;
        heap_set(p, at, p->heap[child]);
    }
    heap_set(p, at, t);
}

static void set_deadline(struct tasks *p, struct task *t, int64_t due_us)
{
    assert(p->n_heap < p->room);
    t->due_us = due_us;
    heap_up(p, p->n_heap++, t);
}

static void clear_deadline(struct tasks *p, struct task *t)
{
    if (t->due_us == INT64_MAX)
        return;
    struct task *moved = p->heap[--p->n_heap];
    size_t at = t->at;
    t->due_us = INT64_MAX;
    if (moved == t)
        return;
    if (at > 0 && moved->due_us < p->heap[(at - 1) / 2]->due_us)
        heap_up(p, at, moved);
    else
        heap_down(p, at, moved);
}

static int64_t first_deadline(const struct tasks *p)
{
    return p->n_heap ? p->heap[0]->due_us : INT64_MAX;
}

/* ---- Threads, with the lock held ----------------------------------------------------------------- */

/* The first time that somebody asleep watches for. */
static int64_t watched(const struct tasks *p)
{
    int64_t until_us = INT64_MAX;
    for (unsigned i = 0; i < p->n; i++)
        if (p->sleeper[i].asleep && p->sleeper[i].until_us < until_us)
            until_us = p->sleeper[i].until_us;
    return until_us;
}

/* One of those asleep, if there is one, to be signalled: who watched for due_us, or else the latest. */
static struct sleeper *call_one(struct tasks *p, int64_t due_us)
{
    struct sleeper *best = NULL;
    for (unsigned i = 0; i < p->n; i++) {
        struct sleeper *s = &p->sleeper[i];
        if (!s->asleep)
            continue;
        if (due_us != INT64_MAX && s->until_us == due_us) {
            best = s;
            break;
        }
        if (!best || s->until_us > best->until_us)
            best = s;
    }
    if (best)
        best->asleep = false;
    return best;
}

static void enqueue(struct tasks *p, struct task *t)
{
    clear_deadline(p, t);
    t->queued = true;
    t->next = NULL;
    *p->last = t;
    p->last = &t->next;
}

static void enqueue_due(struct tasks *p)
{
    if (!p->n_heap)
        return;
    for (int64_t now_us = clock_monotonic_us(); first_deadline(p) <= now_us;)
        enqueue(p, p->heap[0]);
}

static struct task *dequeue(struct tasks *p)
{
    struct task *t = p->first;
    if (!t)
        return NULL;
    p->first = t->next;
    if (!p->first)
        p->last = &p->first;
    t->queued = false;
    return t;
}

/* Without the lock. */
static void signal_one(struct sleeper *s)
{
    if (s)
        pthread_cond_signal(&s->call);
}

/* Who goes to work leaves others of the queue, or the watch, to somebody else. */
static struct sleeper *hand_over(struct tasks *p)
{
    return p->first || first_deadline(p) < watched(p) ? call_one(p, INT64_MAX) : NULL;
}

static void sleep_now(struct tasks *p, struct sleeper *s)
{
    int64_t first_us = first_deadline(p);
    s->until_us = first_us < watched(p) ? first_us : INT64_MAX;
    s->asleep = true;
    while (s->asleep && !p->stop)
        if (clock_cond_wait(&s->call, &p->lock, s->until_us) == ETIMEDOUT)
            break;
    s->asleep = false;
}

/* The lock is given away while it runs. */
static void run(struct tasks *p, struct task *t)
{
    struct sleeper *other = hand_over(p);
    t->running = true;
    pthread_mutex_unlock(&p->lock);
    signal_one(other);
    atomic_exchange(&t->woken, false);
    int64_t again_us = t->run(t->ctx);
    pthread_mutex_lock(&p->lock);
    t->running = false;
    if (t->held) {
        if (again_us != TASK_SLEEPS) /* looked at when it is released */
            atomic_store(&t->woken, true);
        pthread_cond_broadcast(&p->still);
    } else if (again_us == TASK_AGAIN || atomic_load(&t->woken))
        enqueue(p, t);
    else if (again_us != TASK_SLEEPS)
        set_deadline(p, t, again_us);
}

static void *thread_run(void *sleeper)
{
    struct sleeper *s = sleeper;
    struct tasks *p = s->tasks;
    if (p->stand_back)
        thread_stand_back();
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        enqueue_due(p);
        struct task *t = dequeue(p);
        if (!t) {
            sleep_now(p, s);
            continue;
        }
        run(p, t);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- What others see -------------------------------------------------------------------------------- */

int tasks_new(const char *name, unsigned threads, bool stand_back, struct tasks **ret)
{
    struct tasks *p = calloc(1, sizeof(*p) + threads * sizeof(p->sleeper[0]));
    if (!p)
        return -ENOMEM;
    p->stand_back = stand_back;
    p->last = &p->first;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->still, NULL);
    int err = 0;
    while (err == 0 && p->n < threads) {
        struct sleeper *s = &p->sleeper[p->n];
        s->tasks = p;
        clock_cond_init(&s->call);
        pthread_mutex_lock(&p->lock); /* it waits until it is counted */
        err = thread_start(&s->thread, name, thread_run, s);
        if (err)
            pthread_cond_destroy(&s->call);
        else
            p->n++;
        pthread_mutex_unlock(&p->lock);
    }
    if (err) {
        tasks_free(p);
        return err;
    }
    *ret = p;
    return 0;
}

void tasks_free(struct tasks *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->n; i++)
        pthread_cond_signal(&p->sleeper[i].call);
    for (unsigned i = 0; i < p->n; i++) {
        pthread_join(p->sleeper[i].thread, NULL);
        pthread_cond_destroy(&p->sleeper[i].call);
    }
    pthread_cond_destroy(&p->still);
    pthread_mutex_destroy(&p->lock);
    free(p->heap);
    free(p);
}

int task_begin(struct task *t, struct tasks *p, int64_t (*run_task)(void *ctx),
               void *ctx)
{
    pthread_mutex_lock(&p->lock);
    if (p->n_tasks == p->room) { /* each has room for its deadline */
        size_t room = p->room ? 2 * p->room : 16;
        struct task **heap = realloc(p->heap, room * sizeof(struct task *));
        if (heap) {
            p->heap = heap;
            p->room = room;
        }
    }
    bool has_room = p->n_tasks < p->room;
    p->n_tasks += has_room;
    pthread_mutex_unlock(&p->lock);
    if (!has_room)
        return -ENOMEM;
    t->run = run_task;
    t->ctx = ctx;
    t->due_us = INT64_MAX;
    atomic_store_explicit(&t->tasks, p, memory_order_release);
    return 0;
}

/* With the lock held. Who is to be signalled, or NULL. */
static struct sleeper *look(struct tasks *p, struct task *t)
{
    if (t->queued || t->running || t->held || !atomic_load(&t->woken))
        return NULL;
    int64_t due_us = t->due_us;
    enqueue(p, t);
    return call_one(p, due_us);
}

void task_wake(struct task *t)
{
    struct tasks *p = atomic_load_explicit(&t->tasks, memory_order_acquire);
    if (!p || atomic_exchange(&t->woken, true))
        return; /* whoever set it sees to it */
    pthread_mutex_lock(&p->lock);
    struct sleeper *s = look(p, t);
    pthread_mutex_unlock(&p->lock);
    signal_one(s);
}

static void take_out(struct tasks *p, struct task *t)
{
    struct task **link = &p->first;
    while (*link != t)
        link = &(*link)->next;
    *link = t->next;
    if (p->last == &t->next)
        p->last = link;
    t->queued = false;
}

void task_hold(struct task *t)
{
    struct tasks *p = t->tasks;
    pthread_mutex_lock(&p->lock);
    while (t->held)
        pthread_cond_wait(&p->still, &p->lock);
    t->held = true;
    if (t->queued) {
        take_out(p, t);
        atomic_store(&t->woken, true);
    } else if (t->due_us != INT64_MAX) {
        clear_deadline(p, t);
        atomic_store(&t->woken, true); /* it says anew when it wants to run */
    }
    while (t->running)
        pthread_cond_wait(&p->still, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void task_release(struct task *t)
{
    struct tasks *p = t->tasks;
    pthread_mutex_lock(&p->lock);
    t->held = false;
    struct sleeper *s = look(p, t);
    pthread_cond_broadcast(&p->still);
    pthread_mutex_unlock(&p->lock);
    signal_one(s);
}

void task_end(struct task *t)
{
    if (!t->run)
        return;
    struct tasks *p = t->tasks;
    task_hold(t);
    pthread_mutex_lock(&p->lock);
    p->n_tasks--;
    pthread_mutex_unlock(&p->lock);
    t->run = NULL;
}
