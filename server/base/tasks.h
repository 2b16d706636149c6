/* SPDX-License-Identifier: Apache-2.0
 *
 * Work that wants a thread now and then: tasks, and a few threads that run them. A task runs when it is
 * woken, or at the time that it asked for, on any of the threads, never on two at once, and for a bounded
 * turn; those that are woken run in that order, so that none starves another. Nothing ticks: a thread
 * without work sleeps until the next deadline of any task.
 *
 *              task_wake, deadline                   taken by a thread
 *      idle --------------------------> queued ----------------------------> running
 *        ^ ^                               ^                                   | |
 *        | |                               +--- woken meanwhile, or at once ---+ |
 *        | +-------------------------- a time, or TASK_SLEEPS ------------------+
 *        +--- task_hold: nothing wakes it before task_release
 */
#ifndef WEIR_BASE_TASKS_H
#define WEIR_BASE_TASKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tasks;

struct task {
    int64_t (*run)(void *ctx);
    void *ctx;
    struct tasks *_Atomic tasks; /* release, the last that task_begin sets; acquire */
    _Atomic bool woken; /* set by who wakes it, taken back before it runs: what was
                         * done before a wake is seen by that turn */
    /* All below are protected by the lock of the tasks. */
    struct task *next; /* in the queue */
    int64_t due_us;    /* INT64_MAX: no deadline */
    size_t at;         /* in the heap of deadlines, where there is one */
    bool queued, running, held;
};

/* What `run` returns: when to run again, if nobody wakes the task before. Times are of clock_monotonic_us. */
#define TASK_AGAIN  INT64_MIN /* behind the others that wait */
#define TASK_SLEEPS INT64_MAX /* when it is woken */

/* `threads` threads with that name. stand_back: as thread_stand_back. -EAGAIN, -ENOMEM. */
int tasks_new(const char *name, unsigned threads, bool stand_back, struct tasks **ret);
/* Its tasks have been ended. Takes NULL. */
void tasks_free(struct tasks *t);

/* A task of `tasks` that sleeps; `t` is all zeros. Others may wake it meanwhile: until this returns that may do nothing.
 * -ENOMEM. */
int task_begin(struct task *t, struct tasks *tasks, int64_t (*run)(void *ctx),
               void *ctx);
/* Any thread, any number of times, also the task itself: it runs once more from now on. Does nothing for one that
 * was never begun, all zeros. */
void task_wake(struct task *t);
/* Waits until it does not run, and keeps it so: what is the task's is the caller's until task_release.
 * Not from the task itself. Another one who holds it is waited for. */
void task_hold(struct task *t);
void task_release(struct task *t);
/* Waits until it does not run, and is never run again; waking it does nothing. Does nothing for one that was
 * never begun. */
void task_end(struct task *t);

#endif
