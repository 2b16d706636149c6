/* SPDX-License-Identifier: Apache-2.0
 *
 * Which file something is: device and inode. A name says that only as long as nobody moves, removes or
 * replaces what it names.
 */
#ifndef WEIR_BASE_FILEID_H
#define WEIR_BASE_FILEID_H

#include <errno.h>
#include <stdbool.h>
#include <sys/stat.h>

struct file_id {
    dev_t dev;
    ino_t ino; /* 0: of no file */
};

static inline int file_id_of(int fd, struct file_id *ret)
{
    struct stat st;
    if (fstat(fd, &st))
        return -errno;
    *ret = (struct file_id){st.st_dev, st.st_ino};
    return 0;
}

/* The name, below `folder` (or AT_FDCWD), leads to this file. */
static inline bool file_id_is_at(const struct file_id *id, int folder, const char *name)
{
    struct stat st;
    return fstatat(folder, name, &st, 0) == 0 && st.st_dev == id->dev &&
           st.st_ino == id->ino;
}

#endif
