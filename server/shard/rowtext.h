/* SPDX-License-Identifier: Apache-2.0
 *
 * Result rows as objects of JSON.
 */
#ifndef WEIR_SHARD_ROWTEXT_H
#define WEIR_SHARD_ROWTEXT_H

#include "base/buffer.h"
#include "pipeline/rowset.h"
#include "weir/shard.h"

struct rowtext {
    struct buffer text;
    struct weir_shard_row
        *row; /* until rowtext_list, json is where it begins in `text` */
    size_t n, room;
};

void rowtext_clear(struct rowtext *r);
void rowtext_free(struct rowtext *r);

/* Behind those there are. -ENOMEM; -EFBIG: more than can be kept. */
int rowtext_add(struct rowtext *r, const struct rowset *set);
const struct weir_shard_row *rowtext_list(const struct rowtext *r, size_t *ret_n);
/* Nothing more is added: rows can be listed. */
void rowtext_close(struct rowtext *r);

#endif
