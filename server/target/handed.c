/* SPDX-License-Identifier: Apache-2.0
 *
 * Sets of rows that the store hands on (store/hand.h), until the target's thread has them. What there is no room for is in the file.
 */
#include "target/kind.h"

static size_t bytes_of(const struct rowset *r)
{
    return r->bytes + r->room * r->table->n_columns * sizeof(*r->cell);
}

void target_hand(void *target, struct rowset *r)
{
    struct target *t = target;
    pthread_mutex_lock(&t->lock);
    struct target_table *k = t->set->first;
    while (k && k->table != r->table)
        k = k->next;
    const bool taken = k && k->takes && t->handed_bytes + bytes_of(r) <= TARGET_HANDED;
    if (taken) {
        *(k->handed ? k->handed_last : &k->handed) = r;
        k->handed_last = &r->next;
        t->handed_bytes += bytes_of(r);
    }
    pthread_mutex_unlock(&t->lock);
    if (!taken)
        rowset_free(r);
}

/* With the lock held: the first of them, which is the caller's. */
static struct rowset *pop(struct target *t, struct target_table *k)
{
    struct rowset *r = k->handed;
    k->handed = r->next;
    t->handed_bytes -= bytes_of(r);
    return r;
}

/* A set is read while the next ones come: only this thread takes it away. */
const struct rowset *target_handed(struct target *t, struct target_table *k,
                                   int64_t number)
{
    struct rowset *old = NULL, *r;
    pthread_mutex_lock(&t->lock);
    while ((r = k->handed) && r->first + (int64_t)r->n_rows <= number) {
        pop(t, k)->next = old;
        old = r;
    }
    r = r && r->first <= number ? r : NULL;
    pthread_mutex_unlock(&t->lock);
    for (struct rowset *next; old; old = next) {
        next = old->next;
        rowset_free(old);
    }
    return r;
}

void target_free_handed(struct target *t, struct target_table *k)
{
    while (k->handed)
        rowset_free(pop(t, k));
}

void target_drop_handed(struct target *t, struct target_table *k)
{
    pthread_mutex_lock(&t->lock);
    target_free_handed(t, k);
    pthread_mutex_unlock(&t->lock);
}
