/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of the streams that a pipeline joins, as bytes, and back. Each has a checkpoint of its own, in the
 * transaction of the pipeline's: a row stands there as a group does (checkpoint.h), its time in place of the window,
 * its values in place of a state:
 *
 *      time, size of the key, 0 | key | size | nulls, value of each column, texts
 */
#include "pipeline/join.h"

#include "base/hash.h"
#include "batch/keys.h"
#include "pipeline/stored.h"
#include "pipeline/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE                                                                     \
    ((size_t)1 << 20) /* a block ends behind the row with which it has so much */

static void put_column(struct buffer *b, const struct schema *s, size_t column)
{
    buffer_printf(b, " %s:%s", s->column[column].name,
                  schema_type_name(s->column[column].type));
}

/* Derived ones with what they are: those of before know only what came of them. */
static void put_columns(struct buffer *b, const struct config_stream *s,
                        const size_t *column, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put_column(b, s->columns, column[i]);
        if (column[i] < s->schema->n)
            continue;
        const char *text = s->derive.column[column[i] - s->schema->n].text;
        buffer_putc(b, '=');
        buffer_put_json_string(b, text, strlen(text));
    }
}

static void put_results(struct buffer *b, const struct config_join *c)
{
    const struct schema *s = c->result->columns;
    buffer_printf(b, "join results %s within %lld on", c->result->table,
                  (long long)c->within_us);
    for (size_t i = 0; i < c->n_on; i++)
        put_column(b, s, c->their_on[i]);
    buffer_puts(b, " columns");
    for (size_t i = 0; i < c->n_columns; i++)
        put_column(b, s, c->column[i]);
}

static void put_join(struct buffer *b, const struct pipeline *p,
                     const struct config_join *c)
{
    if (c->result) {
        put_results(b, c);
        return;
    }
    const struct config_stream *s = &p->whole->stream[c->stream];
    buffer_printf(b, "join %s within %lld on", s->name, (long long)c->within_us);
    put_columns(b, s, c->their_on, c->n_on);
    buffer_puts(b, " columns");
    put_columns(b, s, c->column, c->n_columns);
}

int join_define(const struct join_input *in, char **ret)
{
    struct buffer b = {0};
    put_join(&b, in->join->pipeline, in->config);
    buffer_puts(&b, "\nanalyzer as_of state=0 saved version=1\n");
    char *text = b.error ? NULL : strdup(buffer_text(&b));
    buffer_free(&b);
    *ret = text;
    return text ? 0 : -ENOMEM;
}

/* Is the column, in the schema of all, or one that is made of it in use? */
static bool is_used(const struct pipeline *p, const struct config_stream *s,
                    const char *name)
{
    bool used = checkpoint_names(&s->derive, name);
    for (size_t i = 0; !used && i < p->schema->n; i++)
        used = !strcmp(p->schema->column[i].name, name) && checkpoint_uses(p, i);
    return used;
}

/* Of several streams in the same windows: their derived columns that are in use. */
static void define_streams(const struct pipeline *p, struct buffer *to)
{
    const struct config_joins *c = &p->config->joins;
    for (size_t i = 0; i <= c->n; i++) {
        const struct config_stream *s =
            &p->whole->stream[i ? c->join[i - 1].stream : p->config->stream];
        buffer_printf(to, "stream %s", s->name);
        for (size_t k = s->schema->n; k < s->columns->n; k++)
            if (is_used(p, s, s->columns->column[k].name))
                put_columns(to, s, &k, 1);
        buffer_putc(to, '\n');
    }
}

void join_define_all(const struct pipeline *p, struct buffer *to)
{
    if (p->config->joins.all) {
        define_streams(p, to);
        return;
    }
    for (size_t i = 0; i < p->config->joins.n; i++) {
        const struct config_join *c = &p->config->joins.join[i];
        put_join(to, p, c);
        buffer_printf(to, " lead %lld out_of_orderness %lld to", (long long)c->lead_us,
                      (long long)c->out_of_orderness_us);
        for (size_t k = 0; k < c->n_on; k++)
            put_column(to, p->schema, c->on[k]);
        for (size_t k = 0; k < c->n_columns; k++)
            buffer_printf(to, " %s", p->schema->column[c->first + k].name);
        buffer_putc(to, '\n');
    }
}

/* ---- Writing ---------------------------------------------------------------------------------- */

static void pad(struct buffer *b)
{
    static const char zeros[8];
    buffer_put(b, zeros, -b->size & 7);
}

static void put_row(const struct asof *a, uint64_t row, struct buffer *b)
{
    uint64_t i = row & (a->room - 1);
    const struct asof_key *key = &a->keys[a->key[i]];
    const struct stored_group head = {.window = a->time[i], .key_size = key->size};
    buffer_put(b, &head, sizeof(head));
    buffer_put(b, key->bytes, key->size);
    pad(b);
    uint64_t size = 0;
    size_t at = b->size;
    buffer_put(b, &size, sizeof(size));
    buffer_put(b, &a->nulls[i], sizeof(a->nulls[i]));
    for (size_t c = 0; c < a->n_columns; c++) {
        uint64_t value =
            a->type[c] == WEIR_STRING ? a->text_size[c][i] : a->value[c][i];
        buffer_put(b, &value, sizeof(value));
    }
    for (size_t c = 0; c < a->n_columns; c++)
        if (a->type[c] == WEIR_STRING && a->text_size[c][i])
            buffer_put(b, a->text + (a->value[c][i] & (a->text_room - 1)),
                       a->text_size[c][i]);
    if (b->error)
        return;
    size = b->size - at - sizeof(size);
    memcpy(b->data + at, &size, sizeof(size));
    pad(b);
}

/* Is the row one that can be asked for still? Its key forgets it before the ring may. */
static bool is_there(const struct asof *a, uint64_t row, int64_t before_us)
{
    return a->time[row & (a->room - 1)] >= before_us;
}

static int add_block(struct checkpoint *c, struct buffer *b)
{
    struct checkpoint_block *block =
        realloc(c->block, (c->n_blocks + 1) * sizeof(*block));
    if (!block || b->error)
        return -ENOMEM;
    c->block = block;
    char *data = malloc(b->size);
    if (!data)
        return -ENOMEM;
    memcpy(data, b->data, b->size);
    c->block[c->n_blocks] = (struct checkpoint_block){
        .number = (uint32_t)c->n_blocks, .size = (uint32_t)b->size, .data = data};
    c->n_blocks++;
    buffer_clear(b);
    return 0;
}

int asof_store(const struct asof *a, int64_t before_us, struct checkpoint *c)
{
    struct buffer b = {0};
    int r = 0;
    for (uint64_t row = a->first; r == 0 && row < a->end; row++) {
        if (!is_there(a, row, before_us))
            continue;
        put_row(a, row, &b);
        c->groups++;
        if (b.size >= BLOCK_SIZE)
            r = add_block(c, &b);
    }
    if (r == 0 && b.size)
        r = add_block(c, &b);
    r = r == 0 && b.error ? b.error : r;
    buffer_free(&b);
    return r;
}

static int put_marks(const struct watermark *w, struct checkpoint *c)
{
    c->marks_size = sizeof(struct stored_marks) + w->n * sizeof(struct stored_source);
    c->marks = malloc(c->marks_size);
    if (!c->marks)
        return -ENOMEM;
    const struct stored_marks head = {.version = 1,
                                      .n = w->n,
                                      .value_us = w->value_us,
                                      .newest_us = w->newest_us,
                                      .unknown_us = INT64_MIN};
    memcpy(c->marks, &head, sizeof(head));
    for (uint32_t i = 0; i < w->n; i++) {
        const struct stored_source s = {.max_us = w->source[i].max_us,
                                        .idle = w->source[i].idle};
        memcpy(c->marks + sizeof(head) + i * sizeof(s), &s, sizeof(s));
    }
    return 0;
}

static int make(const struct join_input *in, struct checkpoint **ret)
{
    struct checkpoint *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    /* Of results: up to which time they have been read. */
    c->position = in->results ? (uint64_t)in->watermark.value_us : in->position;
    c->workers = 1;
    c->whole = true;
    c->pipeline = strdup(in->name);
    c->stream = strdup(in->stream);
    int r = c->pipeline && c->stream ? join_define(in, &c->definition) : -ENOMEM;
    if (r == 0)
        r = put_marks(&in->watermark, c);
    if (r == 0)
        r = asof_store(&in->rows, join_oldest(in), c);
    if (r < 0) {
        checkpoint_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

int join_make_checkpoints(struct join *j, struct checkpoint **ret)
{
    struct checkpoint *list = NULL, **last = &list;
    for (size_t i = 0; i < j->n; i++) {
        int r = make(&j->input[i], last);
        if (r < 0) {
            checkpoint_free(list);
            return r;
        }
        last = &(*last)->inputs;
    }
    if (j->pipeline->config->joins.all && make(&j->own, last) < 0) {
        checkpoint_free(list);
        return -ENOMEM;
    }
    *ret = list;
    return 0;
}

int join_take_checkpoints(struct join *j, struct checkpoint **ret)
{
    pthread_mutex_lock(&j->lock);
    struct join_snapshot *s = j->snapshot;
    if (s) {
        j->snapshot = s->next;
        if (!s->next)
            j->last_snapshot = &j->snapshot;
    }
    pthread_mutex_unlock(&j->lock);
    if (!s)
        return join_make_checkpoints(j, ret);
    *ret = s->inputs;
    free(s);
    return 0;
}

/* ---- Reading ---------------------------------------------------------------------------------- */

int join_load_marks(struct join_input *in, const char *marks, size_t size)
{
    struct stored_marks head;
    struct watermark *w = &in->watermark;
    if (checkpoint_marks_form(marks, size) < 0)
        return -EBADMSG;
    memcpy(&head, marks, sizeof(head));
    w->value_us = head.value_us;
    w->newest_us = head.newest_us;
    for (uint32_t i = 0; i < head.n; i++) {
        struct stored_source s;
        memcpy(&s, marks + sizeof(head) + i * sizeof(s), sizeof(s));
        watermark_restore(w, i, s.max_us, s.idle != 0);
    }
    return 0;
}

static int load_values(struct asof *a, uint32_t key, int64_t time_us, const char *bytes,
                       uint64_t size)
{
    uint64_t fixed[1 + ASOF_COLUMNS];
    size_t fixed_size = (1 + a->n_columns) * sizeof(fixed[0]);
    if (size < fixed_size)
        return -EBADMSG;
    memcpy(fixed, bytes, fixed_size);
    return asof_add_values(a, key, time_us, fixed[0], fixed + 1, bytes + fixed_size,
                           size - fixed_size);
}

int asof_load(struct asof *a, const char *data, size_t size)
{
    struct stored_bytes r = {.at = data, .end = data + size};
    int err = 0;
    while (err == 0 && r.at < r.end) {
        struct stored_group head;
        uint64_t values_size;
        uint32_t number;
        const char *bytes = stored_take(&r, sizeof(head)), *key, *values;
        if (!bytes)
            return -EBADMSG;
        memcpy(&head, bytes, sizeof(head));
        if (head.key_size > KEY_BYTES_MAX || !(key = stored_take(&r, head.key_size)) ||
            !(bytes = stored_take(&r, sizeof(values_size))))
            return -EBADMSG;
        memcpy(&values_size, bytes, sizeof(values_size));
        if (!(values = stored_take(&r, values_size)))
            return -EBADMSG;
        err = asof_key(a, key, head.key_size, hash_bytes(key, head.key_size), &number);
        if (err == 0)
            err = load_values(a, number, head.window, values, values_size);
    }
    return err;
}

int join_load_block(struct join_input *in, const char *data, size_t size)
{
    return asof_load(&in->rows, data, size);
}
