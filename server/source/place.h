/* SPDX-License-Identifier: Apache-2.0
 *
 * A place in a file that is written to: which file it is, and how far it was read. Its text is a bookmark.
 *
 * An inode is given to another file as soon as its own is removed, so a file is also known by its first bytes: as many
 * of them as were read, 256 at most, and by when it was made, where the file system says so. The device is told for people: its number
 * may be another one after a reboot.
 */
#ifndef WEIR_SOURCE_PLACE_H
#define WEIR_SOURCE_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define PLACE_TEXT_MAX 200
#define PLACE_HEAD_MAX 256u

struct place {
    uint64_t device, inode;
    uint64_t offset;    /* bytes that were read, all of them whole records */
    uint64_t header;    /* of them the header of CSV; 0: none, or not read yet */
    uint32_t head, crc; /* so many first bytes have this CRC-32 */
    int64_t changed_ns; /* its time of change, as of then */
    int64_t born_ns;    /* when it was made; 0: not known */
};

void place_print(const struct place *p, char text[PLACE_TEXT_MAX]);
/* False: it is none. */
bool place_parse(const char *text, struct place *ret);

/* The beginning of a file. */
struct place place_begin(const struct stat *st);
/* The file at `fd` has been read up to p->offset: remembers its first bytes, and when it was made. -errno. */
int place_note(struct place *p, int fd);
/* Is it that file, though it may have been written anew? */
bool place_is_in(const struct place *p, int fd);
/* Is it, as far as it was read? */
bool place_is_of(const struct place *p, int fd);
int64_t place_changed_ns(const struct stat *st);

#endif
