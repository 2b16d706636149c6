/* SPDX-License-Identifier: Apache-2.0 */
#include "source/place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>
#include <zlib.h>

#define PLACE_FORMAT                                                                   \
    "device=%" PRIu64 " inode=%" PRIu64 " offset=%" PRIu64 " header=%" PRIu64          \
    " head=%" PRIu32 "/%" PRIx32 " changed=%" PRId64 " born=%" PRId64

void place_print(const struct place *p, char text[PLACE_TEXT_MAX])
{
    snprintf(text, PLACE_TEXT_MAX, PLACE_FORMAT, p->device, p->inode, p->offset,
             p->header, p->head, p->crc, p->changed_ns, p->born_ns);
}

bool place_parse(const char *text, struct place *ret)
{
    struct place p = {0};
    int end = 0, n = sscanf(text,
                            "device=%" SCNu64 " inode=%" SCNu64 " offset=%" SCNu64
                            " header=%" SCNu64 " head=%" SCNu32 "/%" SCNx32
                            " changed=%" SCNd64 "%n born=%" SCNd64 "%n",
                            &p.device, &p.inode, &p.offset, &p.header, &p.head, &p.crc,
                            &p.changed_ns, &end, &p.born_ns, &end);
    /* Of earlier versions it ends before the time at which the file was made. */
    if (n < 7 || text[end] || p.head > PLACE_HEAD_MAX || p.head > p.offset ||
        p.header > p.offset)
        return false;
    *ret = p;
    return true;
}

int64_t place_changed_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

struct place place_begin(const struct stat *st)
{
    return (struct place){.device = (uint64_t)st->st_dev,
                          .inode = (uint64_t)st->st_ino,
                          .crc = (uint32_t)crc32(0, NULL, 0),
                          .changed_ns = place_changed_ns(st)};
}

static int head_crc(int fd, uint32_t size, uint32_t *ret)
{
    unsigned char head[PLACE_HEAD_MAX];
    ssize_t n = pread(fd, head, size, 0);
    if (n != (ssize_t)size)
        return n < 0 ? -errno : -ENODATA;
    *ret = (uint32_t)crc32(crc32(0, NULL, 0), head, size);
    return 0;
}

/* 0: the file system, or the C library, does not say. */
static int64_t born_ns(int fd)
{
#ifdef STATX_BTIME
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &st) < 0 ||
        !(st.stx_mask & STATX_BTIME))
        return 0;
    return st.stx_btime.tv_sec * 1000000000 + st.stx_btime.tv_nsec;
#else /* musl before 1.2.5 */
    (void)fd;
    return 0;
#endif
}

int place_note(struct place *p, int fd)
{
    if (!p->born_ns)
        p->born_ns = born_ns(fd);
    uint32_t size = p->offset < PLACE_HEAD_MAX ? (uint32_t)p->offset : PLACE_HEAD_MAX;
    if (size == p->head)
        return 0;
    int err = head_crc(fd, size, &p->crc);
    if (err == 0)
        p->head = size;
    return err;
}

bool place_is_in(const struct place *p, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_ino != p->inode)
        return false;
    int64_t now_ns = p->born_ns ? born_ns(fd) : 0;
    return !now_ns || now_ns == p->born_ns;
}

bool place_is_of(const struct place *p, int fd)
{
    struct stat st;
    uint32_t crc = 0;
    return place_is_in(p, fd) && fstat(fd, &st) == 0 &&
           (uint64_t)st.st_size >= p->offset && head_crc(fd, p->head, &crc) == 0 &&
           crc == p->crc;
}
