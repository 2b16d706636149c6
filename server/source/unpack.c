/* SPDX-License-Identifier: Apache-2.0 */
#include "source/unpack.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* How often it is looked at while nothing comes. A signal alone does not end a read that begins just behind it, or
 * that another thread is in. */
#define STOP_LOOK_MS 100

void unpack_init(struct unpack *u, int fd, const _Atomic bool *stop)
{
    u->fd = fd;
    u->stop = stop;
    u->taken = 0;
    u->begun = u->gzip = u->open = false;
    u->z = (z_stream){0};
}

void unpack_free(struct unpack *u)
{
    if (u->gzip)
        inflateEnd(&u->z);
}

/* Until there is something to read, or an end or an error that read tells of. */
static int wait_for_input(const struct unpack *u)
{
    struct pollfd p = {.fd = u->fd, .events = POLLIN};
    while (u->stop) {
        if (atomic_load_explicit(u->stop, memory_order_relaxed))
            return -EINTR;
        int n = poll(&p, 1, STOP_LOOK_MS);
        if (n > 0 || (n < 0 && errno != EINTR))
            break;
    }
    return 0;
}

static ssize_t take(struct unpack *u, void *to, size_t room)
{
    int rc = wait_for_input(u);
    if (rc < 0)
        return rc;
    ssize_t n = read(u->fd, to, room);
    if (n > 0)
        u->taken += (uint64_t)n;
    return n < 0 ? -errno : n;
}

/* The first two bytes tell. */
static int begin(struct unpack *u)
{
    ssize_t n = 1;
    u->z.next_in = u->in;
    while (u->z.avail_in < 2 && n > 0) {
        n = take(u, u->in + u->z.avail_in, sizeof(u->in) - u->z.avail_in);
        if (n < 0)
            return (int)n;
        u->z.avail_in += (uInt)n;
    }
    u->gzip = u->z.avail_in >= 2 && u->in[0] == 0x1f && u->in[1] == 0x8b;
    if (u->gzip && inflateInit2(&u->z, 15 + 16) != Z_OK) {
        u->gzip = false;
        return -ENOMEM;
    }
    u->begun = true;
    return 0;
}

static ssize_t read_plain(struct unpack *u, char *to, size_t room)
{
    size_t done = u->z.avail_in < room ? u->z.avail_in : room;
    ssize_t n = 1;
    memcpy(to, u->z.next_in, done);
    u->z.next_in += done;
    u->z.avail_in -= (uInt)done;
    while (done < room && n > 0) {
        n = take(u, to + done, room - done);
        if (n < 0)
            return n;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* Input for zlib. 0: the file is at its end. */
static ssize_t refill(struct unpack *u)
{
    for (;;) {
        for (; !u->open && u->z.avail_in && *u->z.next_in == 0; u->z.avail_in--)
            u->z.next_in++;
        if (u->z.avail_in)
            return 1;
        ssize_t n = take(u, u->in, sizeof(u->in));
        if (n <= 0)
            return n;
        u->z.next_in = u->in;
        u->z.avail_in = (uInt)n;
    }
}

static ssize_t read_gzip(struct unpack *u, char *to, size_t room, const char **ret_why)
{
    u->z.next_out = (unsigned char *)to;
    u->z.avail_out = (uInt)room;
    while (u->z.avail_out) {
        ssize_t n = refill(u);
        if (n < 0)
            return n;
        if (n == 0 && !u->open)
            break;
        *ret_why = "the gzip data are cut off";
        int rc = n == 0 ? Z_DATA_ERROR : inflate(&u->z, Z_NO_FLUSH);
        if (n && rc == Z_DATA_ERROR)
            *ret_why = u->open || u->z.total_out
                           ? "the gzip data are damaged"
                           : "what comes behind the gzip data is not gzip";
        if (rc == Z_MEM_ERROR)
            return -ENOMEM;
        if (rc != Z_OK && rc != Z_STREAM_END && u->z.avail_out < room)
            break; /* it comes again at the next call */
        if (rc != Z_OK && rc != Z_STREAM_END)
            return -EBADMSG;
        u->open = rc != Z_STREAM_END;
        if (!u->open && inflateReset(&u->z) != Z_OK)
            return -ENOMEM;
    }
    return (ssize_t)(room - u->z.avail_out);
}

ssize_t unpack_read(struct unpack *u, char *to, size_t room, const char **ret_why)
{
    int err = u->begun ? 0 : begin(u);
    if (err)
        return err;
    return u->gzip ? read_gzip(u, to, room, ret_why) : read_plain(u, to, room);
}
