/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hand.h"
#include "store/db.h"
#include "store/internal.h"

#include <errno.h>

static int set_taker(struct store *s, void *taker)
{
    const struct store_taker *t = taker;
    if (s->taker.take && s->taker.ctx != t->ctx)
        return t->take ? -EBUSY : 0;
    s->taker = *t;
    return 0;
}

int store_hand(struct store *s, void (*take)(void *ctx, struct rowset *set), void *ctx)
{
    struct store_taker t = {.take = take, .ctx = ctx};
    return store_call(s, set_taker, &t);
}

/* Who follows a table has each row's number put by a trigger: two rows are written for each, if nobody else has a trigger there. */
void hand_number(struct store *s, struct store_table *t, struct rowset *r, size_t put,
                 size_t written)
{
    r->first = 0;
    if (!s->taker.take || t->table->revision || r->when != ROWS_FINAL ||
        put != r->n_rows || written != 2 * put)
        return;
    if (!t->number) {
        sqlite3_str *text = sqlite3_str_new(s->db);
        sqlite3_str_appendf(text, "SELECT max(seq) FROM \"weir_changes_%w\"",
                            t->table->name);
        if (db_prepare_str(s->db, text, &t->number))
            return;
    }
    if (sqlite3_step(t->number) == SQLITE_ROW)
        r->first = sqlite3_column_int64(t->number, 0) - (int64_t)r->n_rows + 1;
    sqlite3_reset(t->number);
}

void hand_rows(struct store *s, struct inbox_item *list)
{
    for (struct inbox_item *i = s->taker.take ? list : NULL; i; i = i->next)
        for (struct rowset **at = &i->report.rows, *r; (r = *at);) {
            if (!r->first) {
                at = &r->next;
                continue;
            }
            *at = r->next;
            r->next = NULL;
            s->taker.take(s->taker.ctx, r);
        }
}
