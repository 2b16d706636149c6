/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a file holds all that its ELF program headers speak of.
 */
#include "plugin/elf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENTS_MAX 64 /* a shared object has about ten */

static int check_segments(int fd, const ElfW(Ehdr) * header, uint64_t file_size,
                          struct error *error)
{
    ElfW(Phdr) segment[SEGMENTS_MAX];
    if (header->e_phnum > SEGMENTS_MAX)
        return error_set(error, -EINVAL, "it has %u segments, the limit is %d",
                         header->e_phnum, SEGMENTS_MAX);
    size_t size = header->e_phnum * sizeof(*segment);
    if (header->e_phoff > file_size || size > file_size - header->e_phoff ||
        pread(fd, segment, size, (off_t)header->e_phoff) != (ssize_t)size)
        return error_set(error, -EINVAL, "the file is cut off");
    for (size_t i = 0; i < header->e_phnum; i++)
        if (segment[i].p_type == PT_LOAD &&
            (segment[i].p_offset > file_size ||
             segment[i].p_filesz > file_size - segment[i].p_offset))
            return error_set(error, -EINVAL,
                             "the file is cut off: it has only %llu bytes",
                             (unsigned long long)file_size);
    return 0;
}

static int check_open(int fd, struct error *error)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(error, -errno, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(error, -EINVAL, "it is not a regular file");
    ElfW(Ehdr) header;
    ssize_t n = pread(fd, &header, sizeof(header), 0);
    if (n < 0)
        return error_set(error, -errno, "%s", strerror(errno));
    if (n < SELFMAG || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        return error_set(error, -EINVAL, "it is not a shared object (no ELF header)");
    if ((size_t)n < sizeof(header))
        return error_set(error, -EINVAL, "the file is cut off");
    /* Of another machine: dlopen says so better. */
    int native = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
    if (header.e_ident[EI_CLASS] != native || header.e_phentsize != sizeof(ElfW(Phdr)))
        return 0;
    return check_segments(fd, &header, (uint64_t)st.st_size, error);
}

int elf_check(const char *path, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(error, -errno, "%s", strerror(errno));
    int err = check_open(fd, error);
    close(fd);
    return err;
}
