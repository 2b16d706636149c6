/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process for an analyzer may not: kept by the kernel, from within.
 */
#ifndef WEIR_APART_LIMITS_H
#define WEIR_APART_LIMITS_H

#include <stdint.h>

/* Before any code of strangers: it ends with the server, gets no rights by exec, takes no signals of the server's, has no
 * files of it but standard error and `files` and below. -1: not so. */
int limits_begin(int files);
/* Once the plugin is loaded and open: `memory` bytes more than there are now; no network, no files to write, no
 * processes, no signals to others: such calls fail with EPERM. -1: not so, errno says why. */
int limits_close(uint64_t memory);

#endif
