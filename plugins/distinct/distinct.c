/* SPDX-License-Identifier: Apache-2.0
 *
 * distinct: how many different values a column has, or pairs, triples... of several columns.
 *
 * Values become hashes of 64 bits. Few of them are kept as they are, in a hash table. Beyond `limit` they
 * become the registers of a HyperLogLog: P. Flajolet, E. Fusy, O. Gandouet, F. Meunier, "HyperLogLog: the
 * analysis of a near-optimal cardinality estimation algorithm", AofA 2007, with the improved raw estimator of
 * O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", arXiv 1702.01284, 2017, section 2.4,
 * algorithm 6, whose relative standard error is about 1.04 / sqrt(2^precision) from no values on to 2^64, without
 * corrections or tables.
 *
 * A state is a function of the set of hashes: neither their order nor that of merges matters. The hash is the same
 * in every process, because states are saved. For a single column that is no string it is one-to-one: there no
 * two values have the same.
 */
#include "weir/plugin.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct config {
    struct weir_columns of;
    int64_t precision;
};

#define INSIDE 5 /* hashes of a group that take no memory of their own */

/* `few` hashes; or `table` has 1 << bits of them, open addressing, linear, 0 is free; or, when `estimated`,
 * 1 << precision registers of a byte. */
struct state {
    union {
        uint64_t few[INSIDE]; /* but for 0 */
        void *table;
    } in;
    uint32_t n;   /* hashes, that of value 0 too */
    uint8_t bits; /* 0: few, or registers */
    uint8_t has_zero, estimated;
};
_Static_assert(sizeof(struct state) == 48, "the manual page says 48");

enum reason { NAN_VALUE };

#define BITS_FIRST 3
#define BLOCK      32 /* rows that are hashed before the first of them is counted */

/* ---- Hashes ---- */

/* One-to-one: D. Stafford's Mix13, the end of SplitMix64. */
static inline uint64_t mix(uint64_t h)
{
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 p = (unsigned __int128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static inline uint64_t word_of(const char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

/* Up to 8 bytes as a number; with their count they are told apart. */
static inline uint64_t tail_of(const char *bytes, size_t size)
{
    uint32_t low, high;
    if (size >= 4) {
        memcpy(&low, bytes, 4);
        memcpy(&high, bytes + size - 4, 4);
        return low | (uint64_t)high << 32;
    }
    const unsigned char *s = (const unsigned char *)bytes;
    return size ? s[0] | (uint64_t)s[size / 2] << 8 | (uint64_t)s[size - 1] << 16 : 0;
}

/* Multiply-and-fold over 8 bytes at a time, as in wyhash; the last ones may overlap. */
static inline uint64_t hash_bytes(const char *bytes, size_t size)
{
    uint64_t h = 0x9e3779b97f4a7c15u + size;
    const char *at = bytes;
    for (size_t left = size; left > 8; at += 8, left -= 8)
        h = fold(h ^ word_of(at), 0xa0761d6478bd642fu);
    h ^= size >= 8 ? word_of(bytes + size - 8) : tail_of(bytes, size);
    return mix(fold(h, 0xe7037ed1a0b428dbu) ^ size);
}

static inline uint64_t hash_number(double v)
{
    uint64_t bits;
    v = v == 0 ? 0 : v; /* -0 is 0 */
    memcpy(&bits, &v, sizeof(bits));
    return mix(bits);
}

static inline uint64_t hash_value(const struct weir_column *c, uint32_t row)
{
    size_t size;
    switch (c->type) {
    case WEIR_STRING: {
        const char *s = weir_string(c, row, &size);
        return hash_bytes(s, size);
    }
    case WEIR_FLOAT:
        return hash_number(weir_number(c, row));
    case WEIR_BOOL:
        return mix((uint64_t)weir_bool(c, row));
    default:
        return mix((uint64_t)weir_int(c, row));
    }
}

/* Nulls do not count, nor do NaNs, which are added to *nans. */
static inline int is_counted(const struct weir_column *c, uint32_t row, uint64_t *nans)
{
    if (weir_is_null(c, row))
        return 0;
    if (c->type != WEIR_FLOAT || weir_number(c, row) == weir_number(c, row))
        return 1;
    ++*nans;
    return 0;
}

static inline int hash_row(const struct weir_rows *r, uint32_t row, uint32_t n,
                           uint64_t *ret_hash, uint64_t *nans)
{
    if (!is_counted(r->in[0], row, nans))
        return 0;
    uint64_t h = hash_value(r->in[0], row);
    for (uint32_t i = 1; i < n; i++) {
        if (!is_counted(r->in[i], row, nans))
            return 0;
        h = mix(fold(h ^ 0x8ebc6af09c88c6e3u, 0x589965cc75374cc3u) +
                hash_value(r->in[i], row));
    }
    *ret_hash = h;
    return 1;
}

/* ---- States ---- */

static unsigned precision_of(const struct weir_ctx *ctx)
{
    return (unsigned)((const struct config *)ctx->config)->precision;
}

/* Hashes that are kept, at most: those of a table of as many bytes as the registers would take. */
static uint32_t limit_of(const struct weir_ctx *ctx)
{
    return (1u << precision_of(ctx)) / 32 * 3;
}

static int no_memory(struct weir_ctx *ctx)
{
    return weir_fail(ctx, "distinct: no memory for the values of a group");
}

static inline void add_register(uint8_t *registers, unsigned precision, uint64_t hash)
{
    uint64_t rest = hash << precision;
    uint8_t rank = (uint8_t)(rest ? __builtin_clzll(rest) + 1 : 65 - (int)precision);
    uint8_t *at = &registers[hash >> (64 - precision)];
    if (rank > *at)
        *at = rank;
}

/* Where hashes are, and how many places there are; those of a table may be free. */
static inline const uint64_t *hashes_of(const struct state *s)
{
    return s->bits ? s->in.table : s->in.few;
}

static inline size_t places_of(const struct state *s)
{
    return s->bits ? (size_t)1 << s->bits : s->n - s->has_zero;
}

static inline int is_among_few(const struct state *s, uint64_t hash)
{
    for (uint32_t i = 0; i < s->n - s->has_zero; i++)
        if (s->in.few[i] == hash)
            return 1;
    return 0;
}

/* The slot of a hash that is not 0, or the free one where it would go. */
static inline uint64_t *find(const struct state *s, uint64_t hash)
{
    uint64_t *table = s->in.table;
    size_t mask = ((size_t)1 << s->bits) - 1, at = hash >> (64 - s->bits);
    while (table[at] && table[at] != hash)
        at = (at + 1) & mask;
    return &table[at];
}

static int grow(struct weir_ctx *ctx, struct state *s)
{
    struct state old = *s;
    const uint64_t *hashes = hashes_of(&old);
    uint8_t bits = old.bits ? (uint8_t)(old.bits + 1) : BITS_FIRST;
    void *table = ctx->host->alloc(ctx, sizeof(uint64_t) << bits);
    if (!table)
        return no_memory(ctx);
    s->in.table = table;
    s->bits = bits;
    for (size_t i = 0; i < places_of(&old); i++)
        if (hashes[i])
            *find(s, hashes[i]) = hashes[i];
    if (old.bits)
        ctx->host->free(ctx, old.in.table);
    return 0;
}

static int estimate_from_now_on(struct weir_ctx *ctx, struct state *s)
{
    unsigned precision = precision_of(ctx);
    const uint64_t *hashes = hashes_of(s);
    uint8_t *registers = ctx->host->alloc(ctx, (size_t)1 << precision);
    if (!registers)
        return no_memory(ctx);
    for (size_t i = 0; i < places_of(s); i++)
        if (hashes[i])
            add_register(registers, precision, hashes[i]);
    if (s->has_zero)
        add_register(registers, precision, 0);
    if (s->bits)
        ctx->host->free(ctx, s->in.table);
    *s = (struct state){.in.table = registers, .estimated = 1};
    return 0;
}

static __attribute__((noinline)) int add_new(struct weir_ctx *ctx, struct state *s,
                                             uint64_t hash)
{
    if (s->n == limit_of(ctx)) {
        int err = estimate_from_now_on(ctx, s);
        if (!err)
            add_register(s->in.table, precision_of(ctx), hash);
        return err;
    }
    const uint32_t room = s->bits ? (1u << s->bits) / 4 * 3 : INSIDE;
    if (s->n >= room) {
        int err = grow(ctx, s);
        if (err)
            return err;
    }
    if (!hash)
        s->has_zero = 1;
    else if (s->bits)
        *find(s, hash) = hash;
    else
        s->in.few[s->n - s->has_zero] = hash;
    s->n++;
    return 0;
}

static inline int add(struct weir_ctx *ctx, unsigned precision, struct state *s,
                      uint64_t hash)
{
    if (s->estimated) {
        add_register(s->in.table, precision, hash);
        return 0;
    }
    if (!hash ? s->has_zero : s->bits ? *find(s, hash) != 0 : is_among_few(s, hash))
        return 0;
    return add_new(ctx, s, hash);
}

/* ---- Folding rows in ---- */

static inline const void *place_of(const struct state *s, unsigned precision,
                                   uint64_t hash)
{
    return s->estimated ? (const char *)s->in.table + (hash >> (64 - precision))
                        : (const char *)s->in.table + (hash >> (64 - s->bits)) * 8;
}

/* In blocks: the memory that each row needs is on its way while the next ones are hashed. */
static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    const struct config *config = ctx->config;
    uint32_t columns = config->of.n;
    unsigned precision = precision_of(ctx);
    struct {
        struct state *state;
        uint64_t hash;
    } block[BLOCK];
    uint64_t nans = 0;
    for (size_t first = 0; first < r.n; first += BLOCK) {
        size_t end = r.n - first < BLOCK ? r.n : first + BLOCK, n = 0;
        for (size_t i = first; i < end; i++) {
            struct state *s =
                (struct state *)(void *)(r.states + r.group[i] * r.stride);
            if (!hash_row(&r, r.row[i], columns, &block[n].hash, &nans))
                continue;
            if (s->bits || s->estimated)
                __builtin_prefetch(place_of(s, precision, block[n].hash), 1);
            block[n++].state = s;
        }
        for (size_t i = 0; i < n; i++) {
            int err = add(ctx, precision, block[i].state, block[i].hash);
            if (err)
                return err;
        }
    }
    if (nans)
        ctx->host->skip(ctx, NAN_VALUE, nans);
    return 0;
}

static int merge_registers(struct weir_ctx *ctx, struct state *into,
                           const struct state *from)
{
    int err = into->estimated ? 0 : estimate_from_now_on(ctx, into);
    uint8_t *a = into->in.table;
    const uint8_t *b = from->in.table;
    for (size_t i = 0; !err && i < (size_t)1 << precision_of(ctx); i++)
        a[i] = b[i] > a[i] ? b[i] : a[i];
    return err;
}

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *window)
{
    unsigned precision = precision_of(ctx);
    const uint64_t *hashes = hashes_of(from);
    int err = 0;
    (void)window;
    if (from->estimated)
        return merge_registers(ctx, into, from);
    for (size_t i = 0; !err && i < places_of(from); i++)
        if (hashes[i])
            err = add(ctx, precision, into, hashes[i]);
    if (!err && from->has_zero)
        err = add(ctx, precision, into, 0);
    return err;
}

/* ---- Results: Ertl, algorithm 6 ---- */

static double sigma(double x)
{
    double y = 1, z = x, before;
    if (x == 1)
        return INFINITY;
    do {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    } while (z != before);
    return z;
}

static double tau(double x)
{
    double y = 1, z = 1 - x, before;
    if (x == 0 || x == 1)
        return 0;
    do {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    } while (z != before);
    return z / 3;
}

static int64_t estimate(const struct state *s, unsigned precision)
{
    const uint8_t *registers = s->in.table;
    uint32_t count[66] = {0};
    double m = (double)(1u << precision);
    unsigned q = 64 - precision;
    for (size_t i = 0; i < (size_t)1 << precision; i++)
        count[registers[i]]++;
    double z = m * tau(1 - count[q + 1] / m);
    for (unsigned k = q; k >= 1; k--)
        z = 0.5 * (z + count[k]);
    z += m * sigma(count[0] / m);
    double n = m * m / (2 * log(2)) / z;
    return n < 0x1p63 ? llround(n) : INT64_MAX;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    return weir_put_int(ctx, out, 0,
                        s->estimated ? estimate(s, precision_of(ctx)) : s->n);
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static void drop(struct weir_ctx *ctx, void *state)
{
    const struct state *s = state;
    if (s->bits || s->estimated)
        ctx->host->free(ctx, s->in.table);
}

/* ---- Saving: a header, then hashes or registers ---- */

struct saved_header {
    uint32_t n; /* hashes; of registers 0 */
    uint8_t has_zero, estimated, zero[2];
};

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct state *s = state;
    struct saved_header header = {
        .n = s->n, .has_zero = s->has_zero, .estimated = s->estimated};
    const uint64_t *hashes = hashes_of(s);
    int err = ctx->host->write(ctx, out, &header, sizeof(header));
    if (s->estimated && !err)
        return ctx->host->write(ctx, out, s->in.table, (size_t)1 << precision_of(ctx));
    for (size_t i = 0; !err && i < places_of(s); i++)
        if (hashes[i])
            err = ctx->host->write(ctx, out, &hashes[i], sizeof(*hashes));
    return err;
}

static int damaged(struct weir_ctx *ctx)
{
    return weir_fail(ctx, "distinct: the saved state is damaged");
}

static int load_registers(struct weir_ctx *ctx, struct state *s, const uint8_t *bytes,
                          size_t size)
{
    unsigned precision = precision_of(ctx);
    if (size != (size_t)1 << precision)
        return damaged(ctx);
    for (size_t i = 0; i < size; i++)
        if (bytes[i] > 65 - precision)
            return damaged(ctx);
    int err = estimate_from_now_on(ctx, s);
    if (!err)
        memcpy(s->in.table, bytes, size);
    return err;
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    struct state *s = state;
    struct saved_header header;
    const char *at = (const char *)bytes + sizeof(header);
    (void)version; /* there has been one */
    if (size < sizeof(header))
        return damaged(ctx);
    memcpy(&header, bytes, sizeof(header));
    size -= sizeof(header);
    if (header.estimated)
        return load_registers(ctx, s, (const uint8_t *)at, size);
    if (header.n > limit_of(ctx) || header.has_zero > 1 || header.n < header.has_zero ||
        size != (header.n - header.has_zero) * sizeof(uint64_t))
        return damaged(ctx);
    int err = header.has_zero ? add(ctx, precision_of(ctx), s, 0) : 0;
    for (; !err && size; at += 8, size -= 8)
        err = add(ctx, precision_of(ctx), s, word_of(at));
    return err || s->n == header.n ? err : damaged(ctx);
}

/* ---- */

/* {of}, of each of the columns, then _distinct. */
static int open_distinct(struct weir_ctx *ctx)
{
    const struct config *config = ctx->config;
    char name[256] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < config->of.n && used < sizeof(name); i++)
        used += (size_t)snprintf(name + used, sizeof(name) - used, "%s_",
                                 config->of.name[i]);
    if (used < sizeof(name))
        used += (size_t)snprintf(name + used, sizeof(name) - used, "distinct");
    if (used >= sizeof(name))
        return weir_fail(ctx, "the columns' names are too long for one together");
    const struct weir_output output[] = {
        {name, WEIR_INT, "number of different values", NULL}, {.name = NULL}};
    return ctx->host->outputs(ctx, output);
}

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMNS,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, of),
     .help = "the column, or several whose values count together",
     .column_types = WEIR_NUMBERS | WEIR_TYPES(WEIR_BOOL) | WEIR_TYPES(WEIR_STRING) |
                     WEIR_TYPES(WEIR_TIME)},
    {.name = "precision",
     .type = WEIR_PARAM_INT,
     .offset = offsetof(struct config, precision),
     .init = "15",
     .help = "a large number takes 2^precision bytes",
     .min = 8,
     .max = 18},
    {.name = NULL},
};

static const struct weir_analyzer distinct = {
    .name = "distinct",
    .version = "1.0",
    .help = "Number of different values: exact to some thousands, then within 2 %",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .reasons = "nan",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .open = open_distinct,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(distinct);
