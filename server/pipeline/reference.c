/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/reference.h"

#include "base/logger.h"
#include "base/sha256.h"
#include "batch/keys.h"
#include "pipeline/worker.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(ASOF_COLUMNS >= CONFIG_JOIN_COLUMNS_MAX, "all columns of a table fit");

/* ---- Definitions --------------------------------------------------------------------------------- */

/* What its rows are made of. */
static void put_rows_definition(const struct config_reference *c, struct buffer *b)
{
    buffer_puts(b, "table ");
    buffer_put_json_string(b, c->table, strlen(c->table));
    for (size_t i = c->read_node[0] ? 0 : 1; i < c->read->n; i++) {
        const struct schema_column *column = &c->read->column[i];
        buffer_puts(b, i == 0 ? " time " : i <= c->n_on ? " on " : " column ");
        buffer_put_json_string(b, column->name, strlen(column->name));
        buffer_printf(b, ":%s", schema_type_name(column->type));
    }
    buffer_printf(b, " unit %u\n", c->time_unit);
}

void references_define(const struct pipeline *p, struct buffer *to)
{
    for (size_t i = 0; i < p->config->references.n; i++) {
        const struct config_reference *c = &p->config->references.reference[i];
        put_rows_definition(c, to);
        buffer_printf(to, "within %lld lead %lld of", (long long)c->within_us,
                      (long long)c->lead_us);
        for (size_t k = 0; k < c->n_on; k++)
            buffer_printf(to, " %s", p->schema->column[c->on[k]].name);
        buffer_puts(to, " as");
        for (size_t k = 0; k < c->n_columns; k++)
            buffer_printf(to, " %s", p->schema->column[c->first + k].name);
        buffer_putc(to, '\n');
        /* Rows that are taken out are to find what they found when they came. */
        const char *rows = p->references ? p->references->of[i].definition : NULL;
        const char *digest = p->changes && rows ? strstr(rows, "digest ") : NULL;
        buffer_puts(to, digest ? digest : "");
        buffer_puts(to, digest ? "\n" : "");
    }
}

/* Behind the digest is nothing: what is before it says whether the rows can be read. */
static int define(const struct reference *r, const uint8_t *digest, char **ret)
{
    struct buffer b = {0};
    put_rows_definition(r->config, &b);
    buffer_puts(&b, "analyzer as_of state=0 saved version=1\ndigest ");
    for (size_t i = 0; digest && i < SHA256_SIZE; i++)
        buffer_printf(&b, "%02x", digest[i]);
    char *text = b.error ? NULL : strdup(buffer_text(&b));
    buffer_free(&b);
    *ret = text;
    return text ? 0 : -ENOMEM;
}

bool reference_can_load(const struct reference *r, const char *definition)
{
    char *text;
    if (define(r, NULL, &text) < 0)
        return false;
    bool same = !strncmp(definition, text, strlen(text));
    free(text);
    return same;
}

/* ---- Rows ---------------------------------------------------------------------------------------- */

static void init(struct reference *r)
{
    enum weir_type type[ASOF_COLUMNS];
    const struct config_reference *c = r->config;
    for (size_t i = 0; i < c->n_columns; i++)
        type[i] = c->read->column[1 + c->n_on + i].type;
    asof_init(&r->rows, type, c->n_columns);
}

static void show(struct reference *r)
{
    atomic_store_explicit(&r->n_rows, asof_rows(&r->rows), memory_order_relaxed);
    atomic_store_explicit(&r->bytes, asof_memory(&r->rows), memory_order_relaxed);
}

void reference_clear(struct reference *r)
{
    asof_free(&r->rows);
    checkpoint_free(r->snapshot);
    free(r->definition);
    r->snapshot = NULL;
    r->definition = NULL;
    atomic_store_explicit(&r->n_wrong, 0, memory_order_relaxed);
    init(r);
    show(r);
}

/* Is it not the only one of its key and time? It was entered behind all that are no later. */
static bool is_double(const struct asof_key *k, int64_t time_us)
{
    uint32_t i = k->end;
    while (i > k->first && k->at[i - 1].time_us > time_us)
        i--;
    return i - k->first > 1 && k->at[i - 2].time_us == time_us;
}

static int say_double(const struct reference *r, const struct batch *b, uint32_t row,
                      struct error *error)
{
    const struct config_reference *c = r->config;
    struct buffer text = {0};
    for (size_t i = 1; i <= c->n_on; i++) {
        const struct weir_column *v = &b->view[i];
        buffer_printf(&text, "%s%s ", i > 1 ? ", " : "", c->read->column[i].name);
        if (v->type == WEIR_STRING)
            buffer_put_json_string(&text, v->bytes + v->offsets[row],
                                   (size_t)(v->offsets[row + 1] - v->offsets[row]));
        else if (v->type == WEIR_BOOL)
            buffer_printf(&text, "%d",
                          ((const uint8_t *)v->values)[row >> 3] >> (row & 7) & 1);
        else
            buffer_printf(&text, "%lld", (long long)((const int64_t *)v->values)[row]);
    }
    node_error(c->table_node, error, "table '%s' has two rows with %.200s%s", c->table,
               text.error ? "one key" : buffer_text(&text),
               c->read_node[0]
                   ? ", of one time"
                   : "; which of them holds when, a 'time' column could say");
    buffer_free(&text);
    return -EINVAL;
}

static int check_room(const struct reference *r, struct error *error)
{
    const struct config_reference *c = r->config;
    if (asof_rows(&r->rows) > REFERENCE_ROWS_MAX)
        return node_error(c->table_node, error,
                          "table '%s' has more than %u rows, which is the limit",
                          c->table, REFERENCE_ROWS_MAX);
    if (asof_memory(&r->rows) > REFERENCE_BYTES_MAX)
        return node_error(c->table_node, error,
                          "what is read of table '%s' takes more than %u MiB, which is "
                          "the limit",
                          c->table, (unsigned)(REFERENCE_BYTES_MAX >> 20));
    return 0;
}

int reference_take(struct reference *r, const struct batch *b, struct error *error)
{
    const struct config_reference *c = r->config;
    size_t on[CONFIG_JOIN_ON_MAX], column[CONFIG_JOIN_COLUMNS_MAX];
    struct key_ids *k;
    int err = 0;
    for (size_t i = 0; i < c->n_on; i++)
        on[i] = 1 + i;
    for (size_t i = 0; i < c->n_columns; i++)
        column[i] = 1 + c->n_on + i;
    if (keys_new(b, on, c->n_on, &k) < 0)
        return error_set(error, -ENOMEM, "no memory");
    for (uint32_t row = 0; err == 0 && row < b->n_rows; row++) {
        uint32_t id = k->id[row], key;
        if (id >= KEY_TOO_LONG)
            continue;
        err = asof_key(&r->rows, k->bytes + k->offset[id],
                       k->offset[id + 1] - k->offset[id], k->hash[id], &key);
        if (err == 0)
            err = asof_add(&r->rows, key, b, row, column);
        if (err < 0)
            error_set(error, err, "no memory");
        else if (is_double(&r->rows.keys[key],
                           ((const int64_t *)b->view[0].values)[row]))
            err = say_double(r, b, row, error);
        else
            err = check_room(r, error);
    }
    keys_free(k);
    return err;
}

/* ---- Stored -------------------------------------------------------------------------------------- */

/* Of the bytes of its rows, in their order. */
static int digest_of(const struct checkpoint *c, uint8_t digest[SHA256_SIZE])
{
    uint8_t both[2 * SHA256_SIZE] = {0};
    for (size_t i = 0; i < c->n_blocks; i++) {
        sha256(c->block[i].data, c->block[i].size, both + SHA256_SIZE);
        sha256(both, sizeof(both), both);
    }
    memcpy(digest, both, SHA256_SIZE);
    return 0;
}

int reference_seal(struct reference *r, const char *stream, uint64_t position)
{
    uint8_t digest[SHA256_SIZE];
    struct checkpoint *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->position = position;
    c->workers = 1;
    c->whole = true;
    c->pipeline = strdup(r->name);
    c->stream = strdup(stream);
    int err = c->pipeline && c->stream ? asof_store(&r->rows, INT64_MIN, c) : -ENOMEM;
    if (err == 0) {
        digest_of(c, digest);
        err = define(r, digest, &c->definition);
    }
    char *definition = err == 0 ? strdup(c->definition) : NULL;
    if (!definition) {
        checkpoint_free(c);
        return -ENOMEM;
    }
    r->definition = definition;
    r->snapshot = c;
    show(r);
    return 0;
}

int reference_load(struct reference *r, const char *data, size_t size)
{
    return asof_load(&r->rows, data, size);
}

int reference_loaded(struct reference *r, const char *definition)
{
    r->definition = strdup(definition);
    show(r);
    return r->definition ? 0 : -ENOMEM;
}

struct checkpoint *references_take_snapshots(struct references *all)
{
    struct checkpoint *list = NULL;
    for (size_t i = 0; all && i < all->n; i++) {
        struct checkpoint *c = all->of[i].snapshot;
        if (!c)
            continue;
        all->of[i].snapshot = NULL;
        c->inputs = list;
        list = c;
    }
    return list;
}

/* ---- Joining ------------------------------------------------------------------------------------- */

static int map_room(struct references *all, uint32_t n)
{
    if (n <= all->map_room)
        return 0;
    uint32_t *map = realloc(all->map, n * sizeof(*map));
    if (!map)
        return -ENOMEM;
    all->map = map;
    all->map_room = n;
    return 0;
}

/* Where `within` reaches back to the beginning of time, it is no farther than that. */
static int64_t within_of(const struct config_reference *c, int64_t time_us)
{
    int64_t least_us;
    return __builtin_sub_overflow(time_us, c->within_us, &least_us)
               ? time_us - INT64_MIN
               : c->within_us;
}

static int find_rows(struct references *all, struct reference *r, const struct batch *b)
{
    const struct config_reference *c = r->config;
    const int64_t *time = b->view[0].values;
    struct key_ids *k;
    uint64_t missing = 0;
    int err = keys_new(b, c->on, c->n_on, &k);
    if (err == 0 && (err = map_room(all, k->n)) < 0)
        keys_free(k);
    if (err < 0)
        return err;
    for (uint32_t id = 0; id < k->n; id++)
        all->map[id] = asof_find_key(&r->rows, k->bytes + k->offset[id],
                                     k->offset[id + 1] - k->offset[id], k->hash[id]);
    for (uint32_t row = 0; row < b->n_rows; row++) {
        uint32_t key =
            k->id[row] >= KEY_TOO_LONG ? ASOF_KEY_NONE : all->map[k->id[row]];
        uint64_t found = ASOF_NONE;
        if (key != ASOF_KEY_NONE)
            found = c->read_node[0] ? asof_find(&r->rows, key, time[row],
                                                within_of(c, time[row]), c->lead_us)
                                    : asof_find(&r->rows, key, 0, 0, 0);
        all->found[row] = found;
        missing += found == ASOF_NONE;
    }
    metric_add(&r->missing, missing);
    keys_free(k);
    return 0;
}

int references_widen(struct pipeline *p, struct batch *from, struct batch **ret)
{
    struct references *all = p->references;
    struct batch *b;
    uint64_t cut = 0;
    int err = batch_extend(from, p->config->references.schema, &b);
    if (err < 0)
        return err;
    for (size_t i = 0; err == 0 && i < all->n; i++) {
        struct reference *r = &all->of[i];
        err = find_rows(all, r, b);
        for (size_t k = 0; err == 0 && k < r->config->n_columns; k++)
            err = asof_gather(&r->rows, k, all->found, b, r->config->first + k, &cut);
    }
    metric_add(&p->join_cut, cut);
    if (err < 0) {
        batch_unref(b);
        return err;
    }
    *ret = b;
    return 0;
}

/* ---- Beginning and end --------------------------------------------------------------------------- */

int references_new(const struct pipeline *p, struct references **ret)
{
    const struct config_references *c = &p->config->references;
    *ret = NULL;
    if (!c->n)
        return 0;
    struct references *all = calloc(1, sizeof(*all) + c->n * sizeof(all->of[0]));
    if (!all)
        return -ENOMEM;
    all->found = malloc(BATCH_ROWS_MAX * sizeof(*all->found));
    int err = all->found ? 0 : -ENOMEM;
    for (; err == 0 && all->n < c->n; all->n++) {
        struct reference *r = &all->of[all->n];
        r->config = &c->reference[all->n];
        init(r);
        if (asprintf(&r->name, "%s.%s", p->config->name, r->config->node->text) < 0) {
            r->name = NULL; /* undefined otherwise */
            err = -ENOMEM;
        }
    }
    if (err < 0) {
        references_free(all);
        return err;
    }
    *ret = all;
    return 0;
}

void references_free(struct references *all)
{
    for (size_t i = 0; all && i < all->n; i++) {
        asof_free(&all->of[i].rows);
        checkpoint_free(all->of[i].snapshot);
        free(all->of[i].definition);
        free(all->of[i].name);
    }
    if (all) {
        free(all->found);
        free(all->map);
    }
    free(all);
}

int references_count(const struct pipeline *p, struct metrics *m)
{
    int err = 0;
    for (size_t i = 0; p->references && err == 0 && i < p->references->n; i++) {
        const struct reference *r = &p->references->of[i];
        const struct {
            enum metric_kind kind;
            const char *name, *help;
            const _Atomic uint64_t *value;
        } all[] = {
            {METRIC_GAUGE, "weir_pipeline_table_rows",
             "Rows of a table that a pipeline joins, as it was read.", &r->n_rows},
            {METRIC_GAUGE, "weir_pipeline_table_bytes", "Memory that they take.",
             &r->bytes},
            {METRIC_GAUGE, "weir_pipeline_table_wrong_values",
             "Values of a table that are not of the types that the pipeline says, and "
             "so are null.",
             &r->n_wrong},
            {METRIC_COUNTER, "weir_pipeline_table_missing_total",
             "Events that found no row in a table.", &r->missing},
        };
        char labels[256];
        snprintf(labels, sizeof(labels), "pipeline=\"%s\",join=\"%s\"", p->config->name,
                 r->config->node->text);
        for (size_t k = 0; err == 0 && k < sizeof(all) / sizeof(all[0]); k++)
            err = metrics_add(m, all[k].kind, all[k].name, all[k].help, labels,
                              all[k].value, 1);
    }
    return err;
}
