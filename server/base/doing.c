/* SPDX-License-Identifier: Apache-2.0 */
#include "base/doing.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MAX 128u /* that have a place */
#define STACK_SIZE  16384u

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
#define N_SIGNALS (sizeof(signals) / sizeof(signals[0]))

static struct doing places[THREADS_MAX];
static _Atomic bool taken[THREADS_MAX]; /* seq_cst: its place is the thread's alone */
static int file = -1;                   /* -1: not opened */
static _Thread_local struct doing *mine;
static _Thread_local const char *named; /* what stands there as analyzer */
static _Thread_local char *stack; /* of the handler: the thread's own may be used up */

static void say(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));
    (void)n;
}

/* Only what a signal handler may do. The second time the signal has its default effect. */
static void on_crash(int number)
{
    if (!mine || !mine->pipeline[0])
        return;
    mine->signal = number;
    ssize_t n = pwrite(file, mine, sizeof(*mine), 0);
    (void)n; /* it is said here, too */
    say("weir: crashed in pipeline '");
    say(mine->pipeline);
    say(mine->inside ? "', analyzer '" : "");
    say(mine->inside ? mine->analyzer : "");
    say("'\n");
}

/* Who has handlers of its own, as sanitizers do, keeps them. */
static void handle(int number)
{
    struct sigaction old, ours = {.sa_handler = on_crash};
    ours.sa_flags = SA_NODEFER | SA_ONSTACK | (int)SA_RESETHAND;
    sigemptyset(&ours.sa_mask);
    if (sigaction(number, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        sigaction(number, &ours, NULL);
}

/* What was read may be anything. */
static void tidy(struct doing *d)
{
    d->pipeline[DOING_NAME_MAX - 1] = d->analyzer[DOING_NAME_MAX - 1] = 0;
    if (!d->inside)
        d->analyzer[0] = 0;
}

bool doing_read(const char *path, struct doing *ret)
{
    struct doing d;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool whole = fd >= 0 && pread(fd, &d, sizeof(d), 0) == sizeof(d);
    if (fd >= 0)
        close(fd);
    if (!whole)
        return false;
    tidy(&d);
    *ret = d;
    return true;
}

int doing_open(const char *path)
{
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0 || ftruncate(file, 0))
        return -errno;
    for (size_t i = 0; i < N_SIGNALS; i++)
        handle(signals[i]);
    return 0;
}

void doing_close(void)
{
    if (file >= 0)
        close(file);
    file = -1;
}

/* Once a thread. */
static struct doing *my_place(void)
{
    unsigned i = 0;
    while (i < THREADS_MAX && atomic_exchange(&taken[i], true))
        i++;
    if (i == THREADS_MAX)
        return NULL;
    stack_t old;
    if (sigaltstack(NULL, &old) == 0 && !(old.ss_flags & SS_DISABLE))
        return &places[i];      /* a sanitizer's, which takes it away itself */
    stack = malloc(STACK_SIZE); /* until doing_over, or as long as the process */
    if (stack)
        sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = STACK_SIZE}, NULL);
    return &places[i];
}

void doing_over(void)
{
    if (!mine)
        return;
    if (stack)
        sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
    free(stack);
    stack = NULL;
    named = NULL;
    unsigned i = (unsigned)(mine - places);
    *mine = (struct doing){0};
    mine = NULL;
    atomic_store(&taken[i], false);
}

static void set(char *to, const char *from)
{
    size_t n = strnlen(from, DOING_NAME_MAX - 1);
    memcpy(to, from, n);
    to[n] = 0;
}

void doing_pipeline(const char *pipeline, uint64_t position)
{
    if (file < 0 || (!mine && !(mine = my_place())))
        return;
    mine->position = position;
    mine->inside = 0;
    set(mine->pipeline, pipeline ? pipeline : "");
}

void doing_analyzer(const char *analyzer, uint64_t place)
{
    if (!mine)
        return;
    mine->place = place;
    if (named != analyzer)
        set(mine->analyzer, analyzer);
    named = analyzer;
    mine->inside = 1;
}

void doing_no_analyzer(void)
{
    if (mine)
        mine->inside = 0;
}

/* What the threads write meanwhile is for people. */
__attribute__((no_sanitize("thread"))) static struct doing copy(unsigned i)
{
    return places[i];
}

void doing_each(void (*call)(void *ctx, const struct doing *d), void *ctx)
{
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        struct doing d = copy(i);
        tidy(&d);
        if (d.pipeline[0])
            call(ctx, &d);
    }
}
