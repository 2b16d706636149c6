/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/asof.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MIN 1024u
#define TEXT_MIN 4096u
#define KEYS_MIN 64u
#define SHRINK   8u         /* with less than the eighth in use, to a quarter */
#define KEEP     (1u << 20) /* bytes of texts, and rows, that are kept in any case */
#define NO_KEY   UINT32_MAX

void asof_init(struct asof *a, const enum weir_type *type, size_t n_columns)
{
    *a = (struct asof){.n_columns = n_columns, .free_key = NO_KEY};
    memcpy(a->type, type, n_columns * sizeof(*type));
}

void asof_free(struct asof *a)
{
    for (size_t i = 0; i < a->n_columns; i++) {
        free(a->value[i]);
        free(a->text_size[i]);
    }
    for (uint32_t i = 0; i < a->n_keys; i++) {
        free(a->keys[i].bytes);
        free(a->keys[i].at);
    }
    free(a->time);
    free(a->key);
    free(a->nulls);
    free(a->text_at);
    free(a->text);
    free(a->keys);
    free(a->table);
    *a = (struct asof){0};
}

/* ---- Keys ------------------------------------------------------------------------------------- */

uint32_t asof_find_key(const struct asof *a, const char *bytes, size_t size,
                       uint64_t hash)
{
    if (!a->keys_room)
        return ASOF_KEY_NONE;
    uint32_t i = a->table[hash & (a->keys_room - 1)];
    for (; i != NO_KEY; i = a->keys[i].next) {
        const struct asof_key *k = &a->keys[i];
        if (k->hash == hash && k->size == size &&
            (!size || !memcmp(k->bytes, bytes, size)))
            return i;
    }
    return ASOF_KEY_NONE;
}

static void enter_key(struct asof *a, uint32_t i)
{
    uint32_t *head = &a->table[a->keys[i].hash & (a->keys_room - 1)];
    a->keys[i].next = *head;
    *head = i;
}

static int grow_keys(struct asof *a)
{
    uint32_t room = a->keys_room ? 2 * a->keys_room : KEYS_MIN;
    struct asof_key *keys = realloc(a->keys, room * sizeof(*keys));
    if (keys)
        a->keys = keys;
    uint32_t *table = keys ? malloc(room * sizeof(*table)) : NULL;
    if (!table)
        return -ENOMEM;
    memset(table, 0xff, room * sizeof(*table)); /* NO_KEY */
    free(a->table);
    a->table = table;
    a->keys_room = room;
    for (uint32_t i = 0; i < a->n_keys; i++) /* there are no free ones now */
        enter_key(a, i);
    return 0;
}

int asof_key(struct asof *a, const char *bytes, size_t size, uint64_t hash,
             uint32_t *ret)
{
    uint32_t i = asof_find_key(a, bytes, size, hash);
    if (i != ASOF_KEY_NONE) {
        *ret = i;
        return 0;
    }
    if (a->free_key == NO_KEY && a->n_keys == a->keys_room && grow_keys(a) < 0)
        return -ENOMEM;
    char *copy = malloc(size + 1);
    if (!copy)
        return -ENOMEM;
    if (size)
        memcpy(copy, bytes, size);
    i = a->free_key;
    if (i == NO_KEY) {
        i = a->n_keys++;
        a->keys[i] = (struct asof_key){0};
    } else {
        a->free_key = a->keys[i].next;
        a->n_free--;
    }
    struct asof_key *k = &a->keys[i];
    *k = (struct asof_key){.at = k->at,
                           .room = k->room,
                           .size = (uint32_t)size,
                           .hash = hash,
                           .bytes = copy};
    a->of_keys += size + 1;
    enter_key(a, i);
    *ret = i;
    return 0;
}

static void drop_key(struct asof *a, uint32_t i)
{
    struct asof_key *k = &a->keys[i];
    uint32_t *at = &a->table[k->hash & (a->keys_room - 1)];
    while (*at != i)
        at = &a->keys[*at].next;
    *at = k->next;
    a->of_keys -= k->size + 1 + k->room * sizeof(*k->at);
    free(k->bytes);
    free(k->at);
    *k = (struct asof_key){.next = a->free_key};
    a->free_key = i;
    a->n_free++;
}

/* Behind those of the same time and before later ones: mostly at the end. */
static int enter_row(struct asof *a, struct asof_key *k, int64_t time_us, uint64_t row)
{
    if (k->end == k->room && k->first > k->room / 2) {
        memmove(k->at, k->at + k->first, (k->end - k->first) * sizeof(*k->at));
        k->seen = k->seen > k->first ? k->seen - k->first : 0;
        k->end -= k->first;
        k->first = 0;
    } else if (k->end == k->room) {
        uint32_t room = k->room ? 2 * k->room : 4;
        struct asof_at *at = realloc(k->at, room * sizeof(*at));
        if (!at)
            return -ENOMEM;
        a->of_keys += (room - k->room) * sizeof(*at);
        k->at = at;
        k->room = room;
    }
    uint32_t i = k->end++;
    for (; i > k->first && k->at[i - 1].time_us > time_us; i--)
        k->at[i] = k->at[i - 1];
    k->at[i] = (struct asof_at){.time_us = time_us, .row = row};
    return 0;
}

/* ---- Rows ------------------------------------------------------------------------------------- */

/* The array with the rows at their places of a ring of `room`. NULL: no memory, the old one stays. */
static void *copy_array(const struct asof *a, const void *old, size_t size,
                        uint64_t room)
{
    char *to = malloc(room * size);
    const char *from = old;
    for (uint64_t r = a->first; to && r < a->end; r++)
        memcpy(to + (r & (room - 1)) * size, from + (r & (a->room - 1)) * size, size);
    return to;
}

/* All arrays, or none. */
static int resize_rows(struct asof *a, uint64_t room)
{
    struct {
        void **array;
        size_t size;
        void *grown;
    } all[4 + 2 * ASOF_COLUMNS] = {{(void **)&a->time, sizeof(*a->time), NULL},
                                   {(void **)&a->key, sizeof(*a->key), NULL},
                                   {(void **)&a->nulls, sizeof(*a->nulls), NULL},
                                   {(void **)&a->text_at, sizeof(*a->text_at), NULL}};
    size_t n = 4, done = 0;
    for (size_t c = 0; c < a->n_columns; c++) {
        all[n].array = (void **)&a->value[c];
        all[n++].size = sizeof(*a->value[c]);
        if (a->type[c] != WEIR_STRING)
            continue;
        all[n].array = (void **)&a->text_size[c];
        all[n++].size = sizeof(*a->text_size[c]);
    }
    for (; done < n; done++)
        if (!(all[done].grown = copy_array(a, *all[done].array, all[done].size, room)))
            break;
    for (size_t i = 0; i < done; i++) {
        free(done == n ? *all[i].array : all[i].grown);
        if (done == n)
            *all[i].array = all[i].grown;
    }
    if (done < n)
        return -ENOMEM;
    a->room = room;
    return 0;
}

static uint64_t text_first(const struct asof *a)
{
    return a->first == a->end ? a->text_last : a->text_at[a->first & (a->room - 1)];
}

/* Where `size` bytes can lie in one piece, at or behind `at`. */
static uint64_t in_one_piece(uint64_t at, uint64_t size, uint64_t room)
{
    uint64_t left = room - (at & (room - 1));
    return size <= left ? at : at + left;
}

/* All texts into another ring, where they begin anew at 0. */
static int resize_text(struct asof *a, uint64_t room)
{
    char *text = malloc(room);
    if (!text)
        return -ENOMEM;
    uint64_t last = 0;
    for (uint64_t r = a->first; r < a->end; r++) {
        uint64_t i = r & (a->room - 1);
        a->text_at[i] = last;
        for (size_t c = 0; c < a->n_columns; c++) {
            if (a->type[c] != WEIR_STRING)
                continue;
            uint64_t n = a->text_size[c][i], to = in_one_piece(last, n, room);
            if (n)
                memcpy(text + to, a->text + (a->value[c][i] & (a->text_room - 1)), n);
            a->value[c][i] = to;
            last = to + n;
        }
    }
    free(a->text);
    a->text = text;
    a->text_room = room;
    a->text_last = last;
    return 0;
}

/* Room for one more row, with texts of these sizes, which are put at *ret_at. */
static int make_room(struct asof *a, const uint64_t *size, uint64_t *ret_at)
{
    if (a->end - a->first == a->room &&
        resize_rows(a, a->room ? 2 * a->room : ROWS_MIN) < 0)
        return -ENOMEM;
    for (;;) {
        uint64_t at = a->text_last, total = 0;
        for (size_t c = 0; c < a->n_columns; c++) {
            if (a->type[c] != WEIR_STRING)
                continue;
            total += size[c];
            if (!a->text_room || total > a->text_room)
                continue;
            ret_at[c] = in_one_piece(at, size[c], a->text_room);
            at = ret_at[c] + size[c];
        }
        if (!total && !a->text_room) {
            memset(ret_at, 0, a->n_columns * sizeof(*ret_at));
            return 0;
        }
        if (a->text_room && total <= a->text_room && at - text_first(a) <= a->text_room)
            return 0;
        uint64_t room = a->text_room ? 2 * a->text_room : TEXT_MIN;
        while (room < total + (a->text_last - text_first(a)))
            room *= 2;
        if (resize_text(a, room) < 0)
            return -ENOMEM;
    }
}

/* The row is there, with all but its values. */
static int begin_row(struct asof *a, uint32_t key, int64_t time_us, uint64_t nulls,
                     const uint64_t *size, uint64_t *ret_at)
{
    if (make_room(a, size, ret_at) < 0 ||
        enter_row(a, &a->keys[key], time_us, a->end) < 0)
        return -ENOMEM;
    uint64_t i = a->end++ & (a->room - 1);
    a->time[i] = time_us;
    a->key[i] = key;
    a->nulls[i] = nulls;
    a->text_at[i] = a->text_last;
    for (size_t c = 0; c < a->n_columns; c++)
        if (a->type[c] == WEIR_STRING) {
            a->value[c][i] = ret_at[c];
            a->text_size[c][i] = (uint32_t)size[c];
            a->text_last = ret_at[c] + size[c];
        }
    return 0;
}

int asof_add(struct asof *a, uint32_t key, const struct batch *b, uint32_t row,
             const size_t *column)
{
    uint64_t size[ASOF_COLUMNS] = {0}, at[ASOF_COLUMNS], nulls = 0;
    for (size_t c = 0; c < a->n_columns; c++) {
        const struct weir_column *v = &b->view[column[c]];
        if (v->validity && !(v->validity[row >> 3] >> (row & 7) & 1))
            nulls |= UINT64_C(1) << c;
        if (a->type[c] == WEIR_STRING)
            size[c] = (uint64_t)(v->offsets[row + 1] - v->offsets[row]);
    }
    int r =
        begin_row(a, key, ((const int64_t *)b->view[0].values)[row], nulls, size, at);
    if (r < 0)
        return r;
    uint64_t i = (a->end - 1) & (a->room - 1);
    for (size_t c = 0; c < a->n_columns; c++) {
        const struct weir_column *v = &b->view[column[c]];
        if (a->type[c] == WEIR_BOOL)
            a->value[c][i] = ((const uint8_t *)v->values)[row >> 3] >> (row & 7) & 1;
        else if (a->type[c] != WEIR_STRING)
            memcpy(&a->value[c][i], (const uint64_t *)v->values + row,
                   sizeof(uint64_t));
        else if (size[c])
            memcpy(a->text + (at[c] & (a->text_room - 1)), v->bytes + v->offsets[row],
                   size[c]);
    }
    return 0;
}

int asof_add_values(struct asof *a, uint32_t key, int64_t time_us, uint64_t nulls,
                    const uint64_t *value, const char *text, size_t text_size)
{
    uint64_t at[ASOF_COLUMNS], total = 0;
    for (size_t c = 0; c < a->n_columns; c++) {
        if (a->type[c] != WEIR_STRING)
            continue;
        if (value[c] > text_size - total)
            return -EBADMSG;
        total += value[c];
    }
    int r = begin_row(a, key, time_us, nulls, value, at);
    if (r < 0)
        return r;
    uint64_t i = (a->end - 1) & (a->room - 1);
    for (size_t c = 0; c < a->n_columns; c++) {
        if (a->type[c] != WEIR_STRING) {
            a->value[c][i] = value[c];
            continue;
        }
        if (value[c])
            memcpy(a->text + (at[c] & (a->text_room - 1)), text, value[c]);
        text += value[c];
    }
    return 0;
}

static void forget_of(struct asof *a, uint32_t i, int64_t before_us)
{
    struct asof_key *k = &a->keys[i];
    while (k->first < k->end && k->at[k->first].time_us < before_us)
        k->first++;
    if (k->seen < k->first)
        k->seen = k->first;
    if (k->first == k->end)
        drop_key(a, i);
}

/* A row that is entered in its key is in the ring: what the ring forgets, its key does as well, with all of it that is
 * as old. */
static void forget_rows(struct asof *a, int64_t before_us)
{
    for (; a->first < a->end; a->first++) {
        uint64_t i = a->first & (a->room - 1);
        if (a->time[i] >= before_us)
            return;
        struct asof_key *k = &a->keys[a->key[i]];
        if (k->bytes && k->first < k->end && k->at[k->first].time_us < before_us)
            forget_of(a, a->key[i], before_us);
    }
}

void asof_forget(struct asof *a, int64_t before_us)
{
    forget_rows(a, before_us);
    /* Without memory for a smaller ring the larger one does. */
    if (a->room > KEEP && asof_rows(a) < a->room / SHRINK)
        resize_rows(a, a->room / 4);
    if (a->text_room > KEEP && a->text_last - text_first(a) < a->text_room / SHRINK)
        resize_text(a, a->text_room / 4);
}

size_t asof_memory(const struct asof *a)
{
    size_t row =
        sizeof(*a->time) + sizeof(*a->key) + sizeof(*a->nulls) + sizeof(*a->text_at);
    for (size_t c = 0; c < a->n_columns; c++)
        row += sizeof(*a->value[c]) +
               (a->type[c] == WEIR_STRING ? sizeof(*a->text_size[c]) : 0);
    return (size_t)a->room * row + (size_t)a->text_room + a->of_keys +
           a->keys_room * (sizeof(*a->keys) + sizeof(*a->table));
}

/* ---- Asking ----------------------------------------------------------------------------------- */

/* The first place whose time is later. */
static uint32_t behind(const struct asof_key *k, int64_t time_us)
{
    uint32_t low = k->first, high = k->end;
    uint32_t i = k->seen < low ? low : k->seen > high ? high : k->seen;
    for (uint32_t step = 0; step < 4; step++) { /* near the last one */
        if (i > low && k->at[i - 1].time_us > time_us)
            i--;
        else if (i < high && k->at[i].time_us <= time_us)
            i++;
        else
            return i;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (k->at[middle].time_us <= time_us)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t asof_find(struct asof *a, uint32_t key, int64_t time_us, int64_t within_us,
                   int64_t lead_us)
{
    struct asof_key *k = &a->keys[key];
    uint32_t i = behind(k, time_us);
    k->seen = i;
    if (i > k->first && k->at[i - 1].time_us >= time_us - within_us)
        return k->at[i - 1].row;
    if (lead_us && i < k->end && k->at[i].time_us <= time_us + lead_us)
        return k->at[i].row;
    return ASOF_NONE;
}

int asof_gather(const struct asof *a, size_t column, const uint64_t *row,
                struct batch *to, size_t c, uint64_t *cut)
{
    struct column *t = &to->column[c];
    const uint64_t *value = a->value[column];
    const uint64_t bit = UINT64_C(1) << column, mask = a->room - 1;
    uint32_t rows = to->n_rows;
    int r = 0;
    for (uint32_t n = 0; r == 0 && n < rows; n++) {
        uint64_t i = row[n] & mask;
        bool null = row[n] == ASOF_NONE || a->nulls[i] & bit;
        to->n_rows = n;
        if (null)
            r = batch_set_null(to, c);
        if (t->type == WEIR_BOOL) {
            batch_put_bool(t, n, !null && value[i]);
        } else if (t->type != WEIR_STRING) {
            ((uint64_t *)t->values)[n] = null ? 0 : value[i];
        } else {
            uint32_t size = null ? 0 : a->text_size[column][i];
            if (r == 0 && size && (r = batch_bytes(to, c, size)) == -ENOSPC) {
                size = 0; /* more text than a batch can have */
                ++*cut;
                r = batch_set_null(to, c);
            }
            if (r == 0 && size)
                memcpy(t->bytes + t->offsets[n],
                       a->text + (value[i] & (a->text_room - 1)), size);
            t->offsets[n + 1] = t->offsets[n] + (int32_t)size;
        }
    }
    to->n_rows = rows;
    batch_seal_column(to, c);
    return r;
}
