/* SPDX-License-Identifier: Apache-2.0
 *
 * A file as it was before gzip(1). Members behind each other are one text, zeros behind them are padding; what does
 * not begin as gzip does comes as it lies. Unlike gzread(3), something else behind a member is a fault: it may be
 * most of what the file once held.
 */
#ifndef WEIR_SOURCE_UNPACK_H
#define WEIR_SOURCE_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <zlib.h>

struct unpack {
    int fd;                   /* not owned */
    const _Atomic bool *stop; /* true: reading ends with -EINTR; may be NULL */
    uint64_t taken;           /* bytes of the file */
    bool begun, gzip;
    bool open; /* in the middle of a member */
    z_stream z;
    unsigned char in[128 << 10];
};

void unpack_init(struct unpack *u, int fd, const _Atomic bool *stop);
void unpack_free(struct unpack *u);

/* Fills `to`; less only at the end: 0. Negative errno of read(2); -ENOMEM; -EBADMSG and *ret_why, which lives as
 * long as u: not gzip, or cut off. What came before it has been given then. */
ssize_t unpack_read(struct unpack *u, char *to, size_t room, const char **ret_why);

#endif
