/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows as an analyzer gets them: columns, each array in fenced memory that can only be read.
 */
#ifndef WEIR_LAWS_FRAME_H
#define WEIR_LAWS_FRAME_H

#include "laws/fence.h"
#include "laws/rows.h"

#include <stdint.h>

/* What may be laid out in one way or another, and must not change a result. */
#define FRAME_STRANGERS 1u /* rows between ours that are of no group */
#define FRAME_VALIDITY  2u /* a validity map also where nothing is null */
#define FRAME_CODES     4u /* another numbering of the dictionary, with words of no row */
#define FRAME_OTHERS    8u /* strangers of other values, at the same places */

#define FRAME_SEQUENCE (UINT64_C(7) << 16)

struct frame {
    size_t n;      /* rows of ours */
    uint32_t *row; /* where they are */
    const int64_t *time;
    struct weir_column column[ROWS_INPUTS_MAX];
    const struct weir_column *in[ROWS_INPUTS_MAX];
    struct fence fence[1 + 4 * ROWS_INPUTS_MAX];
    size_t n_fences;
};

/* `types` of each input, 0: not given; `dictionary`: which are to come with one. False: no memory. */
bool frame_new(struct frame *f, const struct rows *rows, const uint32_t *types,
               const bool *dictionary, unsigned layout, uint64_t seed);
void frame_free(struct frame *f);

#endif
