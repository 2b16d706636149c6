/* SPDX-License-Identifier: Apache-2.0
 *
 * The side of `weir run`.
 */
#include "base/clock.h"
#include "control.h"
#include "runs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS 100 /* for a signal */
#define GRACE_US                                                                       \
    50000 /* of one that ended who writes to us: it may still be on its way */

struct handing {
    const struct runs_handing *is;
    struct source_result *result;
    uint64_t before; /* events of all files that had been taken before */
    uint64_t bytes, accepted, total; /* of the files before the one at hand */
    int fd;
    bool ready;   /* it has said so */
    bool stopped; /* it was said */
    char text[RUNS_PACKET];
};

/* ---- Packets ----------------------------------------------------------------------------------- */

static int ended(const struct handing *h, struct error *error)
{
    return error_set(error, -EPIPE,
                     "the server of '%s' ended; what it has taken it does not take "
                     "again: once it runs, run this again",
                     h->is->folder);
}

static bool is_told_to_stop(const struct handing *h)
{
    const _Atomic bool *stop = h->is->files->stop;
    return stop && atomic_load_explicit(stop, memory_order_relaxed);
}

/* The next packet. After a signal the server is told to stop, and says how far it is. */
static int hear(struct handing *h, struct error *error)
{
    struct pollfd at = {.fd = h->fd, .events = POLLIN};
    while (poll(&at, 1, LOOK_MS) <= 0) {
        if (h->stopped || !is_told_to_stop(h))
            continue;
        if (!h->ready) /* it has no room for us yet */
            return error_set(error, -EINTR, "stopped");
        h->stopped = true;
        shutdown(h->fd, SHUT_WR);
    }
    ssize_t n = recv(h->fd, h->text, sizeof(h->text) - 1, 0);
    if (n < 0 && errno == ECONNRESET) /* what it said before is behind that */
        n = recv(h->fd, h->text, sizeof(h->text) - 1, 0);
    if (n <= 0 && h->stopped)
        return error_set(error, -EINTR, "stopped");
    if (n <= 0)
        return ended(h, error);
    h->text[n] = 0;
    return 0;
}

static int say(const struct handing *h, const char *text, int fd, struct error *error)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = ""};
    struct iovec piece = {(char *)(uintptr_t)text, strlen(text)};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    return sendmsg(h->fd, &m, MSG_NOSIGNAL) < 0 ? ended(h, error) : 0;
}

/* The next number of a packet. */
static uint64_t number(char **text)
{
    return strtoull(*text, text, 10);
}

static const char *rest(char *text)
{
    return *text == ' ' ? text + 1 : text;
}

/* ---- A file ------------------------------------------------------------------------------------ */

static uint64_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

static uint64_t total_size(const struct source_files *f)
{
    uint64_t total = 0;
    for (size_t i = 0; i < f->n; i++) {
        uint64_t size = size_of(f->path[i]);
        if (!size)
            return 0;
        total += size;
    }
    return total;
}

static void note_progress(const struct handing *h, char *text)
{
    const struct source_files *f = h->is->files;
    uint64_t bytes = number(&text), rows = number(&text);
    if (f->progress)
        f->progress(f->ctx, h->bytes + bytes, h->total, h->accepted + rows);
}

static void note_fault(const struct handing *h, const char *path, char *text)
{
    struct source_result *r = h->result;
    if (r->n_faults == DECODE_ERRORS_MAX)
        return;
    struct source_fault *f = &r->fault[r->n_faults++];
    f->path = path;
    f->error.line = number(&text);
    f->error.column = (uint32_t)number(&text);
    snprintf(f->error.message, sizeof(f->error.message), "%s", rest(text));
}

static int note_done(struct handing *h, char *text, struct error *error)
{
    int err = (int)strtol(text, &text, 10);
    uint64_t accepted = number(&text);
    h->result->accepted += accepted;
    h->accepted += accepted;
    h->result->rejected += number(&text);
    h->before += number(&text);
    if (err == -EINTR && !h->stopped) /* it is the server that stops */
        return ended(h, error);
    return err < 0 ? error_set(error, err, "%s", rest(text)) : 0;
}

/* A pipe is at its end. If that is for the signal that is for us, too, the next hear tells that we stop. */
static int note_last(const struct handing *h, struct error *error)
{
    clock_sleep_us(GRACE_US);
    return is_told_to_stop(h) ? 0 : say(h, "last", -1, error);
}

static int hear_of_file(struct handing *h, const char *path, struct error *error)
{
    int err;
    while ((err = hear(h, error)) == 0) {
        if (strncmp(h->text, "at ", 3) == 0)
            note_progress(h, h->text + 3);
        else if (strncmp(h->text, "fault ", 6) == 0)
            note_fault(h, path, h->text + 6);
        else if (strncmp(h->text, "done ", 5) == 0)
            return note_done(h, h->text + 5, error);
        else if (strcmp(h->text, "last?") == 0 && (err = note_last(h, error)) < 0)
            return err;
    }
    return err;
}

static int hand_file(struct handing *h, const char *path, struct error *error)
{
    char text[RUNS_PACKET];
    bool standard = strcmp(path, "-") == 0;
    int n = snprintf(text, sizeof(text), "file %d %s", h->is->files->format, path);
    if (n >= (int)sizeof(text) - 1)
        return error_set(error, -ENAMETOOLONG, "\"%.100s...\": the name is too long",
                         path);
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(error, -errno, "\"%s\": %s", path, strerror(errno));
    int err = say(h, text, fd, error);
    if (!standard)
        close(fd);
    if (err == 0)
        err = hear_of_file(h, path, error);
    h->bytes += size_of(path);
    return err;
}

/* ---- All --------------------------------------------------------------------------------------- */

static int begin(struct handing *h, struct error *error)
{
    char text[RUNS_PACKET];
    snprintf(text, sizeof(text), "stream %s", h->is->stream);
    say(h, text, -1, error); /* if it did not hear it, it may have said why */
    int err = hear(h, error);
    h->ready = err == 0 && strcmp(h->text, "ready") == 0;
    if (err < 0 || h->ready)
        return err;
    return error_set(error, -EINVAL, "%s",
                     strncmp(h->text, "no ", 3) == 0 ? h->text + 3 : h->text);
}

static void note_pipeline(const struct handing *h, char *text)
{
    struct runs_pipeline p;
    p.state = (enum runs_state)number(&text);
    p.rows = number(&text);
    p.not_joined = number(&text);
    for (size_t i = 0; i < sizeof(p.late_by) / sizeof(p.late_by[0]); i++)
        p.late_by[i] = number(&text);
    p.watermark_us = strtoll(text, &text, 10);
    snprintf(p.name, sizeof(p.name), "%s", rest(text));
    h->is->pipeline(h->is->ctx, &p);
}

static int hear_the_end(struct handing *h, struct error *error)
{
    int err = say(h, "end", -1, error);
    while (err == 0 && (err = hear(h, error)) == 0 && strcmp(h->text, "over") != 0)
        if (strncmp(h->text, "pipeline ", 9) == 0)
            note_pipeline(h, h->text + 9);
    return err;
}

int runs_hand(const struct runs_handing *handing, struct source_result *ret,
              uint64_t *ret_before, struct error *error)
{
    const struct source_files *f = handing->files;
    *ret = (struct source_result){0};
    *ret_before = 0;
    struct handing *h = calloc(1, sizeof(*h));
    if (!h)
        return error_set(error, -ENOMEM, "no memory");
    *h = (struct handing){.is = handing, .result = ret, .total = total_size(f)};
    int err = h->fd = control_reach(handing->folder, RUNS_KIND, SOCK_SEQPACKET);
    if (err == -ENOENT || err == -ECONNREFUSED)
        err = ended(h, error);
    else if (err == -EINTR)
        error_set(error, err, "stopped");
    else if (err < 0)
        error_set(error, err, "no server hears on '%s' (%s)", handing->folder,
                  strerror(-err));
    else
        err = begin(h, error);
    for (size_t i = 0; err == 0 && i < f->n; i++)
        err = hand_file(h, f->path[i], error);
    if (err == 0)
        err = hear_the_end(h, error);
    *ret_before = h->before;
    if (h->fd >= 0)
        close(h->fd);
    free(h);
    return err;
}
