/* SPDX-License-Identifier: Apache-2.0
 *
 * Names that are to be there after a power cut.
 */
#ifndef WEIR_BASE_SYNC_H
#define WEIR_BASE_SYNC_H

/* The folder that has `path`, a file or a folder: what was made, renamed or removed in it is on disk. */
int sync_parent(const char *path);

#endif
