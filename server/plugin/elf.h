/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks at a shared object before dlopen does: dlopen waits for ever on a FIFO, and dies of SIGBUS when the
 * file is shorter than it says, as one is that is being copied.
 */
#ifndef WEIR_PLUGIN_ELF_H
#define WEIR_PLUGIN_ELF_H

#include "base/error.h"

/* -EINVAL for what is no ELF file, or only the beginning of one; -errno if it cannot be read. All else is
 * left to dlopen. The text does not name the path. */
int elf_check(const char *path, struct error *error);

#endif
