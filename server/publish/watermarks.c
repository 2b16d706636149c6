/* SPDX-License-Identifier: Apache-2.0
 *
 * Watermarks of tables among their messages, for those who put together what several servers publish: what is behind such a
 * message, in its partition and of this server, is of windows that begin at its time or later.
 */
#include "publish/internal.h"
#include "window/window.h"

#include <errno.h>
#include <string.h>

/* Windows by key may begin as long ago as their keys like. */
int64_t watermarks_begin(const struct published *k, int64_t watermark_us)
{
    const struct window_kind *kind = pipeline_window(k->base.pipeline);
    const struct table *t = k->base.table;
    struct window around;
    int64_t us;
    if (watermark_us == INT64_MIN || t->rows || t->late || window_is_by_key(kind) ||
        __builtin_sub_overflow(watermark_us, k->base.late_us, &us))
        return INT64_MIN;
    int64_t least_us = us;
    for (size_t i = 0; window_around(kind, us, i, &around); i++)
        least_us = around.start_us < least_us ? around.start_us : least_us;
    return least_us;
}

int watermarks_send(struct publisher *p, const struct published *k, int64_t us,
                    struct error *error)
{
    struct link_message m = {.topic = k->topic,
                             .key = &p->key,
                             .value = &p->value,
                             .op = "watermark",
                             .number = "weir-watermark",
                             .is = us};
    buffer_clear(&p->key);
    buffer_puts(&p->key, "{\"weir_shard\":");
    buffer_put_json_string(&p->key, p->link.shard, strlen(p->link.shard));
    buffer_puts(&p->key, "}");
    buffer_clear(&p->value);
    buffer_puts(&p->value, "{}");
    if (p->key.error || p->value.error)
        return error_set(error, -ENOMEM, "out of memory");
    int err = 0;
    for (; !err && m.partition < k->partitions; m.partition++)
        err = link_send(&p->link, &m, error);
    return err;
}
