/* SPDX-License-Identifier: Apache-2.0
 *
 * topk: the most frequent values of a string or int column.
 *
 * Space-Saving: A. Metwally, D. Agrawal, A. El Abbadi, "Efficient computation of frequent and top-k
 * elements in data streams", ICDT 2005. Up to `capacity` values are counted. A value that is new when
 * all places are taken gets the place of one that has the smallest count, and starts with that count as
 * its possible error. So for every value that is kept
 *
 *      count - error <= true count <= count
 *
 * and one that is not kept has come at most as often as the smallest count says. Merging adds counts up,
 * with that bound for a value that the other side does not keep, and keeps the largest: P. K. Agarwal,
 * G. Cormode, Z. Huang, J. Phillips, Z. Wei, K. Yi, "Mergeable summaries", PODS 2012.
 */
#include "weir/plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define VALUE_MAX                                                                      \
    512 /* bytes of a value that are kept, so that a group's memory has a limit */
#define ROOM_FIRST   8  /* entries of a new group */
#define INSIDE       16 /* bytes of a value that need no memory of their own */
#define CAPACITY_MAX 100000

struct config {
    const char *of;
    int64_t k, capacity;
};

struct entry {
    uint64_t count, error;
    char *
        buffer; /* of `room` bytes, for a value that is longer than INSIDE; kept for the next one */
    uint32_t size, room;
    uint32_t hash;
    uint32_t place; /* in the heap */
    char inside[INSIDE];
};

/* Until a value is displaced, entries are only found by hash. Then the heap is made, and stays. */
struct state {
    uint32_t n, room; /* entries in use; allocated */
    uint32_t mask;    /* slots - 1; at least twice as many slots as entries */
    uint32_t heaped;
    struct entry *entry;
    uint32_t *slot; /* open addressing, linear: number of an entry + 1; 0: free */
    uint32_t
        *heap; /* numbers of entries, the smallest count first; as long as `room` */
};

/* One in each context: keys the hash, so that nobody can choose values that collide. */
struct topk {
    uint64_t seed[2];
    uint32_t k, capacity;
};

struct value {
    const char *bytes; /* of an int column the 8 bytes of the int */
    uint32_t size;
    uint32_t hash;
};

static const char *bytes_of(const struct entry *e)
{
    return e->size > INSIDE ? e->buffer : e->inside;
}

/* ---- Finding entries ---- */

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 p = (unsigned __int128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* Multiply-and-fold over 8 bytes at a time; the last read overlaps or is padded. */
static uint32_t hash_of(const struct topk *t, const char *bytes, size_t size)
{
    uint64_t h = t->seed[0] ^ size, word = 0;
    for (; size > 8; bytes += 8, size -= 8) {
        memcpy(&word, bytes, 8);
        h = mix(h ^ word, t->seed[1]);
    }
    word = 0;
    memcpy(&word, bytes, size);
    h = mix(h ^ word, t->seed[1]);
    return (uint32_t)(h ^ h >> 32);
}

/* The slot that holds the value, or the free one where it would go. */
static uint32_t find_slot(const struct state *s, const struct value *v)
{
    uint32_t at = v->hash & s->mask;
    for (; s->slot[at]; at = (at + 1) & s->mask) {
        const struct entry *e = &s->entry[s->slot[at] - 1];
        if (e->hash == v->hash && e->size == v->size &&
            memcmp(bytes_of(e), v->bytes, v->size) == 0)
            break;
    }
    return at;
}

static void put_slot(struct state *s, uint32_t number)
{
    uint32_t at = s->entry[number].hash & s->mask;
    while (s->slot[at])
        at = (at + 1) & s->mask;
    s->slot[at] = number + 1;
}

/* Frees the slot of an entry; later ones of the same run move up, so that no gap cuts them off. */
static void clear_slot(struct state *s, uint32_t number)
{
    uint32_t gap = s->entry[number].hash & s->mask;
    while (s->slot[gap] != number + 1)
        gap = (gap + 1) & s->mask;
    for (uint32_t at = (gap + 1) & s->mask; s->slot[at]; at = (at + 1) & s->mask) {
        uint32_t home = s->entry[s->slot[at] - 1].hash & s->mask;
        if (((at - home) & s->mask) < ((at - gap) & s->mask))
            continue;
        s->slot[gap] = s->slot[at];
        gap = at;
    }
    s->slot[gap] = 0;
}

/* ---- Memory ---- */

static int no_memory(struct weir_ctx *ctx)
{
    return weir_fail(ctx, "topk: no memory for the values of a group");
}

static uint32_t slots_for(uint32_t room)
{
    uint32_t n = 16;
    while (n < 2 * room)
        n *= 2;
    return n;
}

/* Makes room for `room` entries. On failure nothing has changed. */
static int resize(struct weir_ctx *ctx, struct state *s, uint32_t room)
{
    uint32_t slots = slots_for(room);
    struct entry *entry = ctx->host->alloc(ctx, room * sizeof(*entry));
    uint32_t *slot = ctx->host->alloc(ctx, slots * sizeof(*slot));
    uint32_t *heap = ctx->host->alloc(ctx, room * sizeof(*heap));
    if (!entry || !slot || !heap) {
        ctx->host->free(ctx, entry);
        ctx->host->free(ctx, slot);
        ctx->host->free(ctx, heap);
        return no_memory(ctx);
    }
    if (s->n) {
        memcpy(entry, s->entry, s->n * sizeof(*entry));
        memcpy(heap, s->heap, s->n * sizeof(*heap));
    }
    ctx->host->free(ctx, s->entry);
    ctx->host->free(ctx, s->slot);
    ctx->host->free(ctx, s->heap);
    s->entry = entry;
    s->slot = slot;
    s->heap = heap;
    s->room = room;
    s->mask = slots - 1;
    for (uint32_t i = 0; i < s->n; i++)
        put_slot(s, i);
    return 0;
}

static int set_value(struct weir_ctx *ctx, struct entry *e, const struct value *v)
{
    if (v->size > INSIDE && v->size > e->room) {
        uint32_t room = v->size <= 64 ? 64 : v->size <= 256 ? 256 : VALUE_MAX;
        char *buffer = ctx->host->alloc(ctx, room);
        if (!buffer)
            return no_memory(ctx);
        ctx->host->free(ctx, e->buffer);
        e->buffer = buffer;
        e->room = room;
    }
    e->size = v->size;
    e->hash = v->hash;
    memcpy(v->size > INSIDE ? e->buffer : e->inside, v->bytes, v->size);
    return 0;
}

static void drop(struct weir_ctx *ctx, void *state)
{
    struct state *s = state;
    for (uint32_t i = 0; i < s->n; i++)
        ctx->host->free(ctx, s->entry[i].buffer);
    ctx->host->free(ctx, s->entry);
    ctx->host->free(ctx, s->slot);
    ctx->host->free(ctx, s->heap);
    memset(s, 0, sizeof(*s));
}

/* ---- The heap of counts ---- */

static void set_place(struct state *s, uint32_t place, uint32_t number)
{
    s->heap[place] = number;
    s->entry[number].place = place;
}

/* The entry's count has grown: it moves away from the top. */
static void sink(struct state *s, uint32_t number)
{
    uint32_t place = s->entry[number].place;
    for (;;) {
        uint32_t child = 2 * place + 1;
        if (child >= s->n)
            break;
        if (child + 1 < s->n &&
            s->entry[s->heap[child + 1]].count < s->entry[s->heap[child]].count)
            child++;
        if (s->entry[s->heap[child]].count >= s->entry[number].count)
            break;
        set_place(s, place, s->heap[child]);
        place = child;
    }
    set_place(s, place, number);
}

static void make_heap(struct state *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        set_place(s, i, i);
    for (uint32_t i = s->n / 2; i-- > 0;)
        sink(s, s->heap[i]);
    s->heaped = 1;
}

/* How often a value that is not kept may have come. */
static uint64_t unseen(const struct state *s)
{
    return s->heaped ? s->entry[s->heap[0]].count : 0;
}

/* ---- Folding rows in ---- */

static int append(struct weir_ctx *ctx, struct state *s, const struct value *v,
                  uint64_t count, uint64_t error)
{
    const struct topk *t = ctx->user;
    if (s->n == s->room) {
        uint32_t room = s->room ? 2 * s->room : ROOM_FIRST;
        int err = resize(ctx, s, room < t->capacity ? room : t->capacity);
        if (err)
            return err;
    }
    struct entry *e = &s->entry[s->n];
    int err = set_value(ctx, e, v);
    if (err)
        return err;
    e->count = count;
    e->error = error;
    put_slot(s, s->n++);
    return 0;
}

static int displace(struct weir_ctx *ctx, struct state *s, const struct value *v)
{
    if (!s->heaped)
        make_heap(s);
    uint32_t number = s->heap[0];
    struct entry *e = &s->entry[number];
    clear_slot(s, number);
    int err = set_value(ctx, e, v);
    put_slot(s, number);
    if (err)
        return err;
    e->error = e->count++;
    sink(s, number);
    return 0;
}

static int count_value(struct weir_ctx *ctx, struct state *s, const struct value *v)
{
    const struct topk *t = ctx->user;
    uint32_t found = s->room ? s->slot[find_slot(s, v)] : 0;
    if (!found)
        return s->n < t->capacity ? append(ctx, s, v, 1, 0) : displace(ctx, s, v);
    s->entry[found - 1].count++;
    if (s->heaped)
        sink(s, found - 1);
    return 0;
}

/* A value that is too long is cut where a character begins, and a hash of the whole follows, so that
 * different values stay different: FNV-1a, 64 bits, the same in every process. */
static uint32_t shorten(const char *bytes, size_t size, char *kept)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    char tail[24];
    size_t tail_size =
        (size_t)snprintf(tail, sizeof(tail), "\u2026%016llx", (unsigned long long)h);
    size_t head = VALUE_MAX - tail_size;
    while (head > 0 && (bytes[head] & 0xc0) == 0x80)
        head--;
    memcpy(kept, bytes, head);
    memcpy(kept + head, tail, tail_size);
    return (uint32_t)(head + tail_size);
}

static void read_value(const struct topk *t, const struct weir_column *c, uint32_t row,
                       char *scratch, struct value *v)
{
    if (c->type == WEIR_INT) {
        v->bytes = (const char *)c->values + (size_t)row * sizeof(int64_t);
        v->size = sizeof(int64_t);
    } else {
        size_t size;
        v->bytes = weir_string(c, row, &size);
        v->size = (uint32_t)size;
        if (size == 0)
            v->bytes = ""; /* a column of empty strings may have no bytes at all */
        if (size > VALUE_MAX) {
            v->size = shorten(v->bytes, size, scratch);
            v->bytes = scratch;
        }
    }
    v->hash = hash_of(t, v->bytes, v->size);
}

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    const struct weir_column *c = r->in[0];
    char scratch[VALUE_MAX];
    struct value v;
    for (size_t i = 0; i < r->n; i++) {
        if (weir_is_null(c, r->row[i]))
            continue;
        read_value(ctx->user, c, r->row[i], scratch, &v);
        struct state *s = (struct state *)(void *)(r->states + r->group[i] * r->stride);
        int err = count_value(ctx, s, &v);
        if (err)
            return err;
    }
    return 0;
}

/* ---- Order of the result: count down, then value up ---- */

static int compare_values(const struct entry *a, const struct entry *b)
{
    uint32_t size = a->size < b->size ? a->size : b->size;
    int order = memcmp(bytes_of(a), bytes_of(b), size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static int compare_strings(const void *a, const void *b)
{
    const struct entry *x = *(const struct entry *const *)a,
                       *y = *(const struct entry *const *)b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return compare_values(x, y);
}

static int compare_ints(const void *a, const void *b)
{
    const struct entry *x = *(const struct entry *const *)a,
                       *y = *(const struct entry *const *)b;
    int64_t v, w;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    memcpy(&v, x->inside, sizeof(v));
    memcpy(&w, y->inside, sizeof(w));
    return (v > w) - (v < w);
}

/* Memory of host->alloc, or NULL. */
static const struct entry **sorted(struct weir_ctx *ctx, const struct state *s)
{
    const struct entry **list = ctx->host->alloc(ctx, s->n * sizeof(*list));
    if (!list)
        return NULL;
    for (uint32_t i = 0; i < s->n; i++)
        list[i] = &s->entry[i];
    qsort(list, s->n, sizeof(*list),
          ctx->types[0] == WEIR_INT ? compare_ints : compare_strings);
    return list;
}

enum output { VALUE, COUNT, ERROR };

static int put_entry(struct weir_ctx *ctx, const struct entry *e,
                     struct weir_cell *cells, struct weir_out *out)
{
    if (ctx->types[0] == WEIR_INT) {
        int64_t v;
        memcpy(&v, e->inside, sizeof(v));
        weir_put_int(&cells[VALUE], v);
    } else {
        weir_put_string(&cells[VALUE], bytes_of(e), e->size);
    }
    weir_put_int(&cells[COUNT], (int64_t)e->count);
    weir_put_int(&cells[ERROR], (int64_t)e->error);
    return ctx->host->put(ctx, out, cells);
}

static int emit(struct weir_ctx *ctx, const void *state, struct weir_cell *cells,
                struct weir_out *out)
{
    const struct topk *t = ctx->user;
    const struct state *s = state;
    if (s->n == 0)
        return 0;
    const struct entry **list = sorted(ctx, s);
    if (!list)
        return no_memory(ctx);
    int err = 0;
    for (uint32_t i = 0; !err && i < s->n && i < t->k; i++)
        err = put_entry(ctx, list[i], cells, out);
    ctx->host->free(ctx, list);
    return err;
}

/* ---- Merging ---- */

/* A state with room for all of `a` and `b`, larger than any other state may be. */
static int combine(struct weir_ctx *ctx, const struct state *a, const struct state *b,
                   struct state *all)
{
    int err = resize(ctx, all, a->n + b->n);
    for (uint32_t i = 0; !err && i < a->n + b->n; i++) {
        const struct entry *e = i < a->n ? &a->entry[i] : &b->entry[i - a->n];
        const struct state *other = i < a->n ? b : a;
        struct value v = {bytes_of(e), e->size,
                          hash_of(ctx->user, bytes_of(e), e->size)};
        uint32_t found = all->slot[find_slot(all, &v)];
        if (!found) {
            err = append(ctx, all, &v, e->count + unseen(other),
                         e->error + unseen(other));
            continue;
        }
        /* It came with a's bound for what b may have seen: now that is known. */
        all->entry[found - 1].count += e->count - unseen(b);
        all->entry[found - 1].error += e->error - unseen(b);
    }
    return err;
}

/* Keeps the `capacity` largest of `all` in `into`; a list in falling order, read backwards, is a heap. */
static int keep_largest(struct weir_ctx *ctx, const struct state *all,
                        struct state *into)
{
    const struct topk *t = ctx->user;
    const struct entry **list = sorted(ctx, all);
    if (!list)
        return no_memory(ctx);
    int err = 0;
    for (uint32_t i = t->capacity; !err && i-- > 0;) {
        struct value v = {bytes_of(list[i]), list[i]->size, list[i]->hash};
        err = append(ctx, into, &v, list[i]->count, list[i]->error);
    }
    ctx->host->free(ctx, list);
    if (!err)
        make_heap(into);
    return err;
}

static int merge(struct weir_ctx *ctx, void *into, const void *from)
{
    const struct topk *t = ctx->user;
    struct state *a = into, all = {0}, kept = {0};
    const struct state *b = from;
    if (b->n == 0)
        return 0;
    int err = combine(ctx, a, b, &all);
    if (!err && (all.n > t->capacity || a->heaped || b->heaped))
        err = keep_largest(ctx, &all, &kept);
    else if (!err) {
        kept = all;
        all = (struct state){0};
    }
    if (!err) {
        struct state old = *a;
        *a = kept;
        kept = old;
    }
    drop(ctx, &all);
    drop(ctx, &kept);
    return err;
}

/* ---- Saving: a header, then the entries in the order of the heap, each with its bytes ---- */

struct saved_header {
    uint32_t version, n, heaped, capacity;
};

struct saved_entry {
    uint64_t count, error;
    uint32_t size, zero;
};

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct topk *t = ctx->user;
    const struct state *s = state;
    struct saved_header header = {1, s->n, s->heaped, t->capacity};
    int err = ctx->host->write(ctx, out, &header, sizeof(header));
    for (uint32_t i = 0; !err && i < s->n; i++) {
        const struct entry *e = &s->entry[s->heaped ? s->heap[i] : i];
        struct saved_entry saved = {e->count, e->error, e->size, 0};
        err = ctx->host->write(ctx, out, &saved, sizeof(saved));
        if (!err)
            err = ctx->host->write(ctx, out, bytes_of(e), e->size);
    }
    return err;
}

static int damaged(struct weir_ctx *ctx)
{
    return weir_fail(ctx, "topk: the saved state is damaged");
}

static int load_entries(struct weir_ctx *ctx, struct state *s, uint32_t n,
                        const char *at, size_t size)
{
    for (uint32_t i = 0; i < n; i++) {
        struct saved_entry saved;
        if (size < sizeof(saved))
            return damaged(ctx);
        memcpy(&saved, at, sizeof(saved));
        at += sizeof(saved);
        size -= sizeof(saved);
        if (saved.size > size || saved.size > VALUE_MAX)
            return damaged(ctx);
        struct value v = {at, saved.size, hash_of(ctx->user, at, saved.size)};
        int err = append(ctx, s, &v, saved.count, saved.error);
        if (err)
            return err;
        at += saved.size;
        size -= saved.size;
    }
    return size ? damaged(ctx) : 0;
}

static int load(struct weir_ctx *ctx, void *state, const void *bytes, size_t size)
{
    const struct topk *t = ctx->user;
    struct state *s = state;
    struct saved_header header;
    if (size < sizeof(header))
        return damaged(ctx);
    memcpy(&header, bytes, sizeof(header));
    if (header.version != 1 || header.n > header.capacity ||
        (header.heaped && header.n != header.capacity))
        return damaged(ctx);
    if (header.capacity != t->capacity)
        return weir_fail(
            ctx, "topk: the saved state has capacity %u, the configuration says %u",
            header.capacity, t->capacity);
    const char *at = (const char *)bytes + sizeof(header);
    int err = load_entries(ctx, s, header.n, at, size - sizeof(header));
    /* Saved in the order of the heap, they are one already: nothing moves. */
    if (!err && header.heaped)
        make_heap(s);
    return err;
}

/* ---- */

static int open_topk(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    int64_t capacity = config->capacity ? config->capacity : 10 * config->k;
    if (capacity < config->k)
        return weir_fail(ctx, "capacity %lld is less than k, %lld", (long long)capacity,
                         (long long)config->k);
    struct topk *t = ctx->host->alloc(ctx, sizeof(*t));
    if (!t)
        return weir_fail(ctx, "topk: out of memory");
    ctx->user = t;
    t->k = (uint32_t)config->k;
    t->capacity = (uint32_t)capacity;
    if (getrandom(t->seed, sizeof(t->seed), 0) != sizeof(t->seed))
        return weir_fail(ctx, "topk: getrandom failed");
    t->seed[1] |= 1;
    return 0;
}

static void close_topk(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
    ctx->user = NULL;
}

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "the column whose values are counted",
     .column_types = WEIR_TYPES(WEIR_STRING) | WEIR_TYPES(WEIR_INT)},
    {.name = "k",
     .type = WEIR_PARAM_INT,
     .offset = offsetof(struct config, k),
     .init = "10",
     .help = "how many values to store, at most",
     .min = 1,
     .max = 1000},
    {.name = "capacity",
     .type = WEIR_PARAM_INT,
     .offset = offsetof(struct config, capacity),
     .init = "0",
     .help = "how many values to count; exact if no more come; 0: ten times k",
     .min = 0,
     .max = CAPACITY_MAX},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {"{of}", WEIR_SAME_AS(0), "the value", NULL},
    {"{of}_count", WEIR_INT, "how often it came, at most", NULL},
    {"{of}_error", WEIR_INT, "how much less it may be; 0: the count is exact", NULL},
    {.name = NULL},
};

static const struct weir_analyzer topk = {
    .name = "topk",
    .version = "1.0",
    .help = "The most frequent values of a column, with error bounds",
    .flags = WEIR_MANY_ROWS,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .open = open_topk,
    .close = close_topk,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(topk);
