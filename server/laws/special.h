/* SPDX-License-Identifier: Apache-2.0
 *
 * Laws that are no comparison of two ways: of memory, damaged bytes, threads, the process.
 */
#ifndef WEIR_LAWS_SPECIAL_H
#define WEIR_LAWS_SPECIAL_H

#include "laws/run.h"

typedef enum run_verdict special_fn(const struct binding *b, const struct rows *rows,
                                    uint64_t seed, struct run_report *report);

special_fn special_process; /* settings of the process stay as they are */
special_fn special_memory;  /* alloc gives none: an error, nothing else */
special_fn special_damage;  /* load gets bytes that save has not written so */
special_fn special_leaks;   /* the process does not grow, whoever took the memory */
special_fn special_many;    /* thousands of groups */
special_fn special_threads; /* two contexts on two threads */

/* What special_many has seen last: bytes of a state and what it took by alloc, a group. */
extern double special_group_bytes;

#endif
