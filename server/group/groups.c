/* SPDX-License-Identifier: Apache-2.0 */
#include "group/groups.h"

#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEAD_KEYS_MIN                                                                  \
    4096u /* so many keys without a group are kept: they mostly come back */

/* What a checkpoint writes as one value: some pages of the database. */
#define BLOCK_BYTES     65536u
#define BLOCK_SHIFT_MIN 3u
#define BLOCK_SHIFT_MAX 10u

int groups_init(struct groups *g, uint64_t max_open, size_t stride)
{
    *g = (struct groups){
        .keys_free = SLOT_NONE, .slots_free = SLOT_NONE, .stride = stride};
    g->block_shift = BLOCK_SHIFT_MAX;
    while (g->block_shift > BLOCK_SHIFT_MIN && stride << g->block_shift > BLOCK_BYTES)
        g->block_shift--;
    g->max_open = max_open < SLOT_NONE - 1 ? max_open : SLOT_NONE - 1;
    if (reserve_init(&g->states, (size_t)g->max_open * stride) < 0)
        return -ENOMEM;
    g->table_mask = 1023;
    g->table = calloc((size_t)g->table_mask + 1, sizeof(*g->table));
    g->index_mask = 1023;
    g->index = calloc((size_t)g->index_mask + 1, sizeof(*g->index));
    return g->table && g->index ? 0 : -ENOMEM;
}

void groups_free(struct groups *g)
{
    for (uint32_t i = 0; i < g->n_keys; i++)
        free(g->key[i].bytes);
    for (size_t i = 0; i < g->n_windows; i++)
        free(g->window[i].slot);
    reserve_free(&g->states);
    if (g->window)
        free(g->window - g->windows_free);
    free(g->dirty);
    free(g->key);
    free(g->recent);
    free(g->merged);
    free(g->slot);
    free(g->early);
    free(g->index);
    free(g->table);
}

/* Room for one more item of an array; doubles it. */
static int grow(void *array_pointer, size_t item, size_t used, size_t *room)
{
    void **array = array_pointer;
    if (used < *room)
        return 0;
    size_t more = *room ? 2 * *room : 64;
    void *p = realloc(*array, more * item);
    if (!p)
        return -ENOMEM;
    *array = p;
    *room = more;
    return 0;
}

static int grow32(void *array_pointer, size_t item, uint32_t used, uint32_t *room)
{
    size_t wide = *room;
    int r = grow(array_pointer, item, used, &wide);
    *room = (uint32_t)wide;
    return r;
}

/* ---- Keys ------------------------------------------------------------------------------------- */

static void table_insert(struct groups *g, uint32_t key)
{
    uint32_t i = (uint32_t)g->key[key].hash & g->table_mask;
    while (g->table[i])
        i = (i + 1) & g->table_mask;
    g->table[i] = key + 1;
}

static int table_grow(struct groups *g)
{
    if (2 * (g->n_keys + 1) <= g->table_mask)
        return 0;
    uint32_t mask = 4 * (g->table_mask + 1) - 1;
    uint32_t *table = calloc((size_t)mask + 1, sizeof(*table));
    if (!table)
        return -ENOMEM;
    free(g->table);
    g->table = table;
    g->table_mask = mask;
    for (uint32_t k = 0; k < g->n_keys; k++)
        if (g->key[k].bytes)
            table_insert(g, k);
    return 0;
}

/* Takes a key out of the table and moves those behind it up, so that no gap breaks a probe. */
static void table_remove(struct groups *g, uint32_t key)
{
    uint32_t mask = g->table_mask, i = (uint32_t)g->key[key].hash & mask;
    while (g->table[i] != key + 1)
        i = (i + 1) & mask;
    for (uint32_t j = (i + 1) & mask; g->table[j]; j = (j + 1) & mask) {
        uint32_t home = (uint32_t)g->key[g->table[j] - 1].hash & mask;
        if (((j - home) & mask) >= ((j - i) & mask)) {
            g->table[i] = g->table[j];
            i = j;
        }
    }
    g->table[i] = 0;
}

int groups_key(struct groups *g, const char *bytes, size_t size, uint64_t hash,
               uint32_t *ret)
{
    for (uint32_t i = (uint32_t)hash & g->table_mask; g->table[i];
         i = (i + 1) & g->table_mask) {
        struct group_key *k = &g->key[g->table[i] - 1];
        if (k->hash == hash && k->size == size && !memcmp(k->bytes, bytes, size)) {
            *ret = g->table[i] - 1;
            return 0;
        }
    }
    if (table_grow(g) < 0)
        return -ENOMEM;
    char *copy = malloc(size + 1);
    if (!copy)
        return -ENOMEM;
    uint32_t n = g->keys_free;
    if (n != SLOT_NONE) {
        g->keys_free = g->key[n].next_free;
    } else if (grow32(&g->key, sizeof(*g->key), g->n_keys, &g->keys_room) == 0 &&
               grow32(&g->recent, sizeof(*g->recent), g->n_keys, &g->recent_room) ==
                   0) {
        n = g->n_keys++;
    } else {
        free(copy);
        return -ENOMEM;
    }
    memcpy(copy, bytes, size);
    g->key[n] = (struct group_key){.hash = hash, .bytes = copy, .size = (uint32_t)size};
    g->recent[n].slot = SLOT_NONE;
    table_insert(g, n);
    g->keys_dead++;
    *ret = n;
    return 0;
}

void groups_forget_keys(struct groups *g)
{
    if (g->keys_dead < DEAD_KEYS_MIN || g->keys_dead < g->open)
        return;
    for (uint32_t k = 0; k < g->n_keys; k++) {
        struct group_key *key = &g->key[k];
        if (!key->bytes || key->groups)
            continue;
        table_remove(g, k);
        free(key->bytes);
        key->bytes = NULL;
        key->next_free = g->keys_free;
        g->keys_free = k;
    }
    g->keys_dead = 0;
}

/* ---- Windows and slots ------------------------------------------------------------------------ */

size_t groups_window_from(const struct groups *g, int64_t id)
{
    size_t low = 0, high = g->n_windows;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (g->window[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool groups_has_window(const struct groups *g, int64_t id)
{
    size_t i = groups_window_from(g, id);
    return i < g->n_windows && g->window[i].id == id;
}

/* A place behind the last window. */
static int windows_grow(struct groups *g)
{
    size_t used = g->windows_free + g->n_windows;
    if (used < g->windows_room)
        return 0;
    struct group_window *all = g->window ? g->window - g->windows_free : NULL;
    if (g->windows_free > g->n_windows) {
        memcpy(all, g->window, g->n_windows * sizeof(*all));
        g->windows_free = 0;
    } else if (grow(&all, sizeof(*all), used, &g->windows_room) < 0) {
        return -ENOMEM;
    }
    g->window = all + g->windows_free;
    return 0;
}

/* A place for one more at i. Those before it move down if they are few: windows that are merged from panes come before
 * all panes that are open, and close at once. */
static int windows_part(struct groups *g, size_t i)
{
    if (g->windows_free && i < g->n_windows / 2) {
        g->window--;
        g->windows_free--;
        memmove(&g->window[0], &g->window[1], i * sizeof(*g->window));
    } else {
        if (windows_grow(g) < 0)
            return -ENOMEM;
        memmove(&g->window[i + 1], &g->window[i],
                (g->n_windows - i) * sizeof(*g->window));
    }
    g->n_windows++;
    return 0;
}

/* The window of this id; made if need be. Asked for new groups only. */
static struct group_window *window_at(struct groups *g, int64_t id)
{
    size_t i = groups_window_from(g, id);
    if (i < g->n_windows && g->window[i].id == id)
        return &g->window[i];
    if (windows_part(g, i) < 0)
        return NULL;
    g->window[i] = (struct group_window){.id = id};
    return &g->window[i];
}

/* Room for the mark of the next slot's block. */
static int grow_dirty(struct groups *g)
{
    uint32_t block = g->n_slots >> g->block_shift, room = g->dirty_room;
    if (block < room)
        return 0;
    int r = grow32(&g->dirty, sizeof(*g->dirty), block, &g->dirty_room);
    if (r == 0)
        memset(g->dirty + room, 0, g->dirty_room - room);
    return r;
}

static int slot_new(struct groups *g, uint32_t *ret)
{
    if (g->slots_free != SLOT_NONE) {
        *ret = g->slots_free;
        g->slots_free = g->slot[*ret].next;
        return 0;
    }
    if (grow32(&g->slot, sizeof(*g->slot), g->n_slots, &g->slots_room) < 0 ||
        grow32(&g->early, sizeof(*g->early), g->n_slots, &g->early_room) < 0 ||
        grow_dirty(g) < 0 ||
        reserve_grow(&g->states, (size_t)(g->n_slots + 1) * g->stride) < 0)
        return -ENOMEM;
    *ret = g->n_slots++;
    return 0;
}

static void slot_free(struct groups *g, uint32_t slot)
{
    groups_touch(g, slot);
    g->slot[slot].key = SLOT_NONE;
    g->slot[slot].next = g->slots_free;
    g->slots_free = slot;
}

static uint32_t index_home(const struct groups *g, uint32_t key, int64_t window)
{
    uint64_t h = hash_u64((uint64_t)window + key * UINT64_C(0x9e3779b97f4a7c15));
    return (uint32_t)h & g->index_mask;
}

/* The place in the index where the group is, or where it goes. */
static uint32_t index_find(const struct groups *g, uint32_t key, int64_t window)
{
    uint32_t i = index_home(g, key, window);
    for (; g->index[i]; i = (i + 1) & g->index_mask) {
        const struct group_slot *s = &g->slot[g->index[i] - 1];
        if (s->key == key && s->window == window)
            break;
    }
    return i;
}

/* Room for one more group. */
static int index_grow(struct groups *g)
{
    if (2 * (g->indexed + 1) <= g->index_mask)
        return 0;
    uint32_t old_mask = g->index_mask, *old = g->index;
    if (old_mask >> 30)
        return -ENOMEM;
    uint32_t *index = calloc(4 * ((size_t)old_mask + 1), sizeof(*index));
    if (!index)
        return -ENOMEM;
    g->index = index;
    g->index_mask = 4 * (old_mask + 1) - 1;
    for (size_t k = 0; k <= old_mask; k++) {
        if (!old[k])
            continue;
        const struct group_slot *s = &g->slot[old[k] - 1];
        g->index[index_find(g, s->key, s->window)] = old[k];
    }
    free(old);
    return 0;
}

/* As table_remove. */
static void index_remove(struct groups *g, uint32_t slot)
{
    uint32_t mask = g->index_mask;
    uint32_t i = index_find(g, g->slot[slot].key, g->slot[slot].window);
    for (uint32_t j = (i + 1) & mask; g->index[j]; j = (j + 1) & mask) {
        const struct group_slot *s = &g->slot[g->index[j] - 1];
        uint32_t home = index_home(g, s->key, s->window);
        if (((j - home) & mask) >= ((j - i) & mask)) {
            g->index[i] = g->index[j];
            i = j;
        }
    }
    g->index[i] = 0;
    g->indexed--;
}

static void index_insert(struct groups *g, uint32_t slot)
{
    g->index[index_find(g, g->slot[slot].key, g->slot[slot].window)] = slot + 1;
    g->indexed++;
}

void groups_set_aside(struct groups *g, size_t i)
{
    struct group_window *w = &g->window[i];
    for (size_t k = 0; !w->aside && k < w->n; k++)
        index_remove(g, w->slot[k]);
    w->aside = true;
}

/* A row has come for a window that was set aside. */
static int take_back(struct groups *g, struct group_window *w)
{
    for (size_t k = 0; k < w->n; k++) {
        if (index_grow(g) < 0) {
            while (k-- > 0)
                index_remove(g, w->slot[k]);
            return -ENOMEM;
        }
        index_insert(g, w->slot[k]);
    }
    w->aside = false;
    return 0;
}

static int open_new(struct groups *g, uint32_t key, int64_t window, bool merged,
                    uint32_t *ret_slot)
{
    if (g->open >= g->max_open)
        return -ENOSPC;
    struct group_window *w = window_at(g, window);
    if (w && merged)
        w->aside = true;
    if (!w || grow(&w->slot, sizeof(*w->slot), w->n, &w->room) < 0 || index_grow(g) < 0)
        return -ENOMEM;
    uint32_t s;
    int r = slot_new(g, &s);
    if (r < 0)
        return r;
    g->keys_dead -= g->key[key].groups++ == 0;
    g->slot[s] = (struct group_slot){.window = window, .key = key};
    g->early[s] = EARLY_NOTHING;
    if (!w->aside)
        index_insert(g, s);
    w->slot[w->n++] = s;
    g->open++;
    *ret_slot = s;
    return 0;
}

int groups_open(struct groups *g, uint32_t key, int64_t window, uint32_t *ret_slot,
                bool *ret_new)
{
    int r = 0;
    uint32_t s = g->index[index_find(g, key, window)];
    if (!s && g->indexed < g->open) { /* some are set aside */
        size_t i = groups_window_from(g, window);
        if (i < g->n_windows && g->window[i].id == window && g->window[i].aside) {
            r = take_back(g, &g->window[i]);
            s = r < 0 ? 0 : g->index[index_find(g, key, window)];
        }
    }
    *ret_new = !s;
    if (s)
        *ret_slot = s - 1;
    if (r == 0 && !s)
        r = open_new(g, key, window, false, ret_slot);
    if (r == 0)
        g->recent[key] = (struct group_recent){.window = window, .slot = *ret_slot};
    return r;
}

/* Room for all keys in merged[]. What it holds is only tried: it may be of another window, or of a key that had the
 * number before. */
static int grow_merged(struct groups *g)
{
    if (g->n_keys <= g->merged_room)
        return 0;
    uint32_t *merged = realloc(g->merged, g->keys_room * sizeof(*merged));
    if (!merged)
        return -ENOMEM;
    memset(merged + g->merged_room, 0xff,
           (g->keys_room - g->merged_room) * sizeof(*merged));
    g->merged = merged;
    g->merged_room = g->keys_room;
    return 0;
}

int groups_open_merged(struct groups *g, uint32_t key, int64_t window,
                       uint32_t *ret_slot, bool *ret_new)
{
    int r = grow_merged(g);
    if (r < 0)
        return r;
    uint32_t s = g->merged[key];
    *ret_new = s >= g->n_slots || g->slot[s].key != key || g->slot[s].window != window;
    if (*ret_new && (r = open_new(g, key, window, true, &s)) < 0)
        return r;
    g->merged[key] = *ret_slot = s;
    return 0;
}

int groups_open_apart(struct groups *g, uint32_t key, uint32_t *ret_slot)
{
    if (g->open >= g->max_open)
        return -ENOSPC;
    int r = slot_new(g, ret_slot);
    if (r < 0)
        return r;
    g->keys_dead -= g->key[key].groups++ == 0;
    g->slot[*ret_slot] = (struct group_slot){.key = key};
    g->open++;
    return 0;
}

void groups_close_apart(struct groups *g, uint32_t slot)
{
    g->keys_dead += --g->key[g->slot[slot].key].groups == 0;
    slot_free(g, slot);
    g->open--;
}

/* ---- Closing ---------------------------------------------------------------------------------- */

/* The first eight bytes of a key as a number of the same order, so that few need more. */
struct sort_item {
    uint64_t prefix;
    uint32_t slot;
};

static uint64_t key_prefix(const struct group_key *k)
{
    uint64_t v = 0;
    memcpy(&v, k->bytes, k->size < 8 ? k->size : 8);
    return __builtin_bswap64(v);
}

static int compare_keys(const struct groups *g, uint32_t x, uint32_t y)
{
    const struct group_key *kx = &g->key[g->slot[x].key], *ky = &g->key[g->slot[y].key];
    int c = memcmp(kx->bytes, ky->bytes, kx->size < ky->size ? kx->size : ky->size);
    return c ? c : (kx->size > ky->size) - (kx->size < ky->size);
}

static int compare_items(const void *a, const void *b, void *arg)
{
    const struct sort_item *x = a, *y = b;
    return compare_keys(arg, x->slot, y->slot);
}

/* Radix sort by the prefix, least byte first; bytes in which all keys are alike cost one look. The items
 * end up in `item`. */
static void sort_by_prefix(struct sort_item *item, struct sort_item *other, size_t n)
{
    uint64_t differ = 0;
    for (size_t i = 1; i < n; i++)
        differ |= item[i].prefix ^ item[0].prefix;
    struct sort_item *from = item, *to = other;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        if (!(differ >> shift & 255))
            continue;
        size_t at[257] = {0};
        for (size_t i = 0; i < n; i++)
            at[(from[i].prefix >> shift & 255) + 1]++;
        for (size_t k = 1; k < 257; k++)
            at[k] += at[k - 1];
        for (size_t i = 0; i < n; i++)
            to[at[from[i].prefix >> shift & 255]++] = from[i];
        struct sort_item *swap = from;
        from = to;
        to = swap;
    }
    if (from != item)
        memcpy(item, from, n * sizeof(*item));
}

/* Runs of keys with the same first eight bytes. */
static void sort_runs(struct groups *g, struct sort_item *item, size_t n)
{
    for (size_t first = 0, last; first < n; first = last) {
        for (last = first + 1; last < n && item[last].prefix == item[first].prefix;)
            last++;
        if (last - first > 1)
            qsort_r(item + first, last - first, sizeof(*item), compare_items, g);
    }
}

int groups_sort(struct groups *g, struct group_window *w)
{
    struct sort_item *item = calloc(2 * w->n + 1, sizeof(*item));
    if (!item)
        return -ENOMEM;
    for (size_t i = 0; i < w->n; i++) {
        item[i].slot = w->slot[i];
        item[i].prefix = key_prefix(&g->key[g->slot[w->slot[i]].key]);
    }
    sort_by_prefix(item, item + w->n, w->n);
    sort_runs(g, item, w->n);
    for (size_t i = 0; i < w->n; i++)
        w->slot[i] = item[i].slot;
    free(item);
    return 0;
}

static int compare_slots(const void *a, const void *b, void *arg)
{
    const struct groups *g = arg;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int64_t window_x = g->slot[x].window, window_y = g->slot[y].window;
    return window_x != window_y ? (window_x > window_y) - (window_x < window_y)
                                : compare_keys(g, x, y);
}

size_t groups_sort_slots(struct groups *g, uint32_t *slot, size_t n)
{
    size_t left = 0;
    if (n > 1)
        qsort_r(slot, n, sizeof(*slot), compare_slots, g);
    for (size_t i = 0; i < n; i++)
        if (!left || slot[left - 1] != slot[i])
            slot[left++] = slot[i];
    return left;
}

static void close_window(struct groups *g, struct group_window *w)
{
    for (size_t i = w->n; i-- > 0;) {
        uint32_t s = w->slot[i], key = g->slot[s].key;
        if (!w->aside)
            index_remove(g, s);
        if (g->recent[key].slot == s)
            g->recent[key].slot = SLOT_NONE;
        g->keys_dead += --g->key[key].groups == 0;
        slot_free(g, s);
    }
    g->open -= w->n;
    free(w->slot);
}

void groups_close_oldest(struct groups *g, size_t n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n; i++)
        close_window(g, &g->window[i]);
    g->n_windows -= n;
    g->windows_free += n;
    g->window += n;
}
