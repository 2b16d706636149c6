/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/checkpoint.h"

#include "base/hash.h"
#include "pipeline/join.h"
#include "pipeline/lookup.h"
#include "pipeline/reference.h"
#include "pipeline/stored.h"
#include "pipeline/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MAX                                                                      \
    ((size_t)900 << 20) /* bytes of one; SQLite takes values of 1,000,000,000 */

void checkpoint_free(struct checkpoint *c)
{
    if (!c)
        return;
    checkpoint_free(c->inputs);
    free(c->pipeline);
    for (size_t i = 0; i < c->n_blocks; i++)
        free(c->block[i].data);
    free(c->block);
    free(c->stream);
    free(c->definition);
    free(c->marks);
    free(c);
}

/* ---- Writing ---------------------------------------------------------------------------------- */

static void pad(struct buffer *b)
{
    static const char zeros[8];
    buffer_put(b, zeros, -b->size & 7);
}

/* The same bytes as of one that runs in the thread. */
static int put_remote_state(struct worker *w, size_t i, struct buffer *b)
{
    const struct step *s = &w->pipeline->step[i];
    const struct weir_analyzer *a = &s->binding->plugin->analyzer;
    bool sized = a->save || step_is_whole(s);
    uint64_t size = 0;
    size_t at = b->size;
    if (sized)
        buffer_put(b, &size, sizeof(size));
    int r = remote_saved(w->remote[i], b);
    if (r < 0)
        return r;
    if (b->error)
        return b->error;
    size = b->size - at - (sized ? sizeof(size) : 0);
    if (sized)
        memcpy(b->data + at, &size, sizeof(size));
    else if (size != a->state_size)
        return -EBADMSG;
    pad(b);
    return 0;
}

/* The processes of analyzers begin to save the states of these slots; put_state takes them in the same order. */
static int save_remote_states(struct worker *w, uint32_t first, uint32_t end)
{
    const struct groups *g = &w->groups;
    bool some = false;
    for (size_t i = 0; i < w->pipeline->n_steps; i++)
        some = some || w->remote[i];
    if (!some || first >= end)
        return 0;
    uint32_t n = 0, *slot = malloc((size_t)(end - first) * sizeof(*slot));
    if (!slot)
        return -ENOMEM;
    for (uint32_t k = first; k < end; k++)
        if (g->slot[k].key != SLOT_NONE)
            slot[n++] = k;
    int r = 0;
    for (size_t i = 0; r == 0 && n && i < w->pipeline->n_steps; i++)
        if (w->remote[i])
            r = remote_save(w->remote[i], slot, n);
    free(slot);
    return r;
}

static int put_state(struct worker *w, size_t i, const char *block, struct buffer *b)
{
    const struct step *s = &w->pipeline->step[i];
    const struct weir_analyzer *a = &s->binding->plugin->analyzer;
    struct host *h = &w->host[i];
    if (w->remote[i])
        return put_remote_state(w, i, b);
    if (!a->save && !step_keeps(s)) {
        buffer_put(b, block + s->offset, a->state_size);
        pad(b);
        return 0;
    }
    uint64_t size = 0;
    size_t at = b->size;
    buffer_put(b, &size, sizeof(size));
    int r = 0;
    if (s->bag) {
        bag_save(&s->kept, (const struct bag *)(const void *)(block + s->offset), b);
    } else if (step_is_whole(s)) {
        kept_save(&s->kept, (const struct kept *)(const void *)(block + s->offset), b);
    } else {
        struct weir_out out = {.bytes = b};
        host_lock(h);
        r = host_done(h, "save", a->save(&h->ctx, block + s->offset, &out));
        host_unlock(h);
    }
    if (r < 0)
        return r;
    if (b->error)
        return b->error;
    size = b->size - at - sizeof(size);
    memcpy(b->data + at, &size, sizeof(size));
    pad(b);
    return 0;
}

static void put_span(const struct span *s, bool row, struct buffer *b)
{
    const struct stored_span stored = {.order = s->order,
                                       .start_us = s->start_us,
                                       .end_us = s->end_us,
                                       .last_us = s->last_us,
                                       .floor_us = s->floor_us,
                                       .number = s->number,
                                       .rows = s->rows,
                                       .given = s->given | (row ? SPAN_ROW : 0)};
    buffer_put(b, &stored, sizeof(stored));
}

static void put_given(const struct pipeline *p, const struct former *row,
                      struct buffer *b)
{
    uint64_t size = 0;
    size_t at = b->size;
    buffer_put(b, &size, sizeof(size));
    former_save(row, p->table, b);
    if (b->error)
        return;
    size = b->size - at - sizeof(size);
    memcpy(b->data + at, &size, sizeof(size));
    pad(b);
}

static int put_group(struct worker *w, uint32_t slot, struct buffer *b)
{
    const struct group_slot *s = &w->groups.slot[slot];
    const struct group_key *key = &w->groups.key[s->key];
    const bool by_key = window_is_by_key(&w->pipeline->window);
    const bool row = former_at(&w->former, slot);
    const struct stored_group head = {.window = s->window,
                                      .key_size =
                                          key->size | (row && !by_key ? STORED_ROW : 0),
                                      .revision = s->revision};
    buffer_put(b, &head, sizeof(head));
    buffer_put(b, key->bytes, key->size);
    pad(b);
    if (by_key)
        put_span(&w->keyed.spans.at[slot], row, b);
    const char *block = groups_state(&w->groups, slot);
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->pipeline->n_steps; i++)
        r = put_state(w, i, block, b);
    if (r == 0 && row)
        put_given(w->pipeline, former_at(&w->former, slot), b);
    return r;
}

static int make_block(struct worker *w, uint32_t number, struct buffer *b,
                      struct checkpoint_block *ret)
{
    const struct groups *g = &w->groups;
    uint32_t first = number << g->block_shift;
    uint32_t end = first + (UINT32_C(1) << g->block_shift);
    end = end < g->n_slots ? end : g->n_slots;
    buffer_clear(b);
    int r = save_remote_states(w, first, end);
    for (uint32_t slot = first; r == 0 && slot < end; slot++)
        if (g->slot[slot].key != SLOT_NONE)
            r = put_group(w, slot, b);
    if (r == 0 && b->error)
        r = b->error;
    if (r < 0)
        return r;
    *ret = (struct checkpoint_block){.number = number, .size = (uint32_t)b->size};
    if (!b->size)
        return 0;
    ret->data = malloc(b->size);
    if (!ret->data)
        return -ENOMEM;
    memcpy(ret->data, b->data, b->size);
    return 0;
}

static int make_blocks(struct worker *w, struct checkpoint *c)
{
    struct groups *g = &w->groups;
    uint32_t n_blocks = groups_blocks(g), n = 0;
    for (uint32_t i = 0; i < n_blocks; i++)
        n += g->dirty[i];
    c->block = calloc((size_t)n + 1, sizeof(*c->block));
    if (!c->block)
        return -ENOMEM;
    struct buffer b = {.limit = BLOCK_MAX};
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->pipeline->n_steps; i++)
        r = w->remote[i] || w->pipeline->step[i].bag ? 0 : host_can_save(&w->host[i]);
    for (uint32_t i = 0; r == 0 && i < n_blocks; i++)
        if (g->dirty[i])
            r = worker_leaves(w) ? -ECANCELED
                                 : make_block(w, i, &b, &c->block[c->n_blocks++]);
    buffer_free(&b);
    return r;
}

int checkpoint_put_parts(struct worker *w,
                         size_t (*part)(void *ctx, const char *key, size_t size),
                         void *ctx, struct buffer *to)
{
    const struct groups *g = &w->groups;
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->pipeline->n_steps; i++)
        r = w->remote[i] || w->pipeline->step[i].bag ? 0 : host_can_save(&w->host[i]);
    if (r == 0)
        r = save_remote_states(w, 0, g->n_slots);
    for (uint32_t slot = 0; r == 0 && slot < g->n_slots; slot++) {
        if (g->slot[slot].key == SLOT_NONE)
            continue;
        const struct group_key *key = &g->key[g->slot[slot].key];
        struct buffer *b = &to[part(ctx, key->bytes, key->size)];
        r = put_group(w, slot, b);
        if (r == 0 && b->error)
            r = b->error;
    }
    return r;
}

/* The next run may allow more lateness than this one. */
static int64_t unknown_us(const struct worker *w)
{
    const struct config_pipeline *c = w->pipeline->config;
    int64_t us = w->watermark.value_us;
    if (c->late == CONFIG_LATE_REVISE &&
        __builtin_sub_overflow(us, c->allowed_lateness_us, &us))
        us = INT64_MIN;
    return us > w->unknown_us ? us : w->unknown_us;
}

static int make_marks(const struct worker *worker, struct checkpoint *c)
{
    const struct watermark *w = &worker->watermark;
    const size_t sources_size = w->n * sizeof(struct stored_source);
    c->marks_size = sizeof(struct stored_marks) + sources_size +
                    (worker->sequence ? sizeof(worker->sequence) : 0);
    c->marks = malloc(c->marks_size);
    if (!c->marks)
        return -ENOMEM;
    const struct stored_marks head = {.version = 1,
                                      .n = w->n,
                                      .value_us = w->value_us,
                                      .newest_us = w->newest_us,
                                      .unknown_us = unknown_us(worker)};
    memcpy(c->marks, &head, sizeof(head));
    for (uint32_t i = 0; i < w->n; i++) {
        const struct stored_source s = {.max_us = w->source[i].max_us,
                                        .idle = w->source[i].idle};
        memcpy(c->marks + sizeof(head) + i * sizeof(s), &s, sizeof(s));
    }
    if (worker->sequence)
        memcpy(c->marks + sizeof(head) + sources_size, &worker->sequence,
               sizeof(worker->sequence));
    return 0;
}

int checkpoint_make(struct worker *w, const struct log_entry *e,
                    struct checkpoint **ret)
{
    struct checkpoint *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->number = e->number;
    c->position = e->position > w->position ? e->position : w->position;
    c->worker = w->index;
    c->workers = w->pipeline->config->workers;
    c->whole = !w->checkpointed;
    c->groups = w->groups.open;
    int r = make_blocks(w, c);
    if (r == 0 && w->index == 0)
        r = make_marks(w, c);
    if (r == 0 && w->index == 0)
        r = checkpoint_definition(w->pipeline, &c->definition);
    if (r == 0 && w->index == 0) {
        const struct pipeline *p = w->pipeline;
        c->stream = strdup(p->whole->stream[p->config->stream].name);
        r = c->stream ? 0 : -ENOMEM;
    }
    if (r == 0 && w->index == 0 && w->pipeline->join)
        r = join_take_checkpoints(w->pipeline->join, &c->inputs);
    if (r < 0) {
        checkpoint_free(c);
        return r;
    }
    if (w->groups.dirty)
        memset(w->groups.dirty, 0, groups_blocks(&w->groups));
    w->checkpointed = true;
    *ret = c;
    return 0;
}

/* ---- Reading ---------------------------------------------------------------------------------- */

static int get_state(struct worker *w, size_t i, uint32_t slot, char *block,
                     struct stored_bytes *r)
{
    const struct step *s = &w->pipeline->step[i];
    const struct weir_analyzer *a = &s->binding->plugin->analyzer;
    const char *bytes;
    if (!a->load && !step_keeps(s)) {
        bytes = stored_take(r, a->state_size);
        if (bytes && w->remote[i])
            return remote_load(w->remote[i], slot, s->stored_version, bytes,
                               a->state_size);
        if (bytes)
            memcpy(block + s->offset, bytes, a->state_size);
        return bytes ? 0 : -EBADMSG;
    }
    uint64_t size;
    bytes = stored_take(r, sizeof(size));
    if (!bytes)
        return -EBADMSG;
    memcpy(&size, bytes, sizeof(size));
    bytes = stored_take(r, size);
    if (!bytes)
        return -EBADMSG;
    struct host *h = &w->host[i];
    if (w->remote[i])
        return remote_load(w->remote[i], slot, s->stored_version, bytes, size);
    if (s->bag)
        return bag_load(&s->kept, h, (struct bag *)(void *)(block + s->offset), bytes,
                        size);
    if (step_is_whole(s))
        return kept_load(&s->kept, h, (struct kept *)(void *)(block + s->offset), bytes,
                         size);
    host_lock(h);
    int err = host_done(
        h, "load", a->load(&h->ctx, block + s->offset, s->stored_version, bytes, size));
    host_unlock(h);
    return err;
}

/* Is it a key of the pipeline, and a window? What is in memory is not checked again. */
static bool can_be(const struct pipeline *p, const struct stored_group *head,
                   const char *key)
{
    const struct config_pipeline *c = p->config;
    const char *end = key + head->key_size;
    for (size_t i = 0; i < c->n_keys; i++)
        if (!keys_skip(&key, end, p->schema->column[c->key[i]].type,
                       i + 1 == c->n_keys))
            return false;
    return key == end &&
           (window_is_by_key(&p->window) || window_has_id(&p->window, head->window));
}

/* A group that is not there yet. */
static int get_new_group(struct worker *w, const struct stored_group *head,
                         const char *key, uint64_t hash, const struct span *span,
                         uint32_t *ret_slot)
{
    uint64_t open = w->groups.open;
    int err =
        span ? keyed_restore(w, key, head->key_size, hash, span, ret_slot)
             : worker_open_group(w, key, head->key_size, hash, head->window, ret_slot);
    if (err < 0)
        return err;
    w->groups.slot[*ret_slot].revision = head->revision;
    return w->groups.open == open ? -EBADMSG : 0;
}

/* Also where nobody reads them now: who did may come back. If they were given out with other columns, as analyzers whose
 * rows are kept may give out others of the same rows, nobody can take them out: all that read them begin afresh. */
static int get_given(struct worker *w, uint32_t slot, struct stored_bytes *r)
{
    uint64_t size;
    struct former *row;
    const char *bytes = stored_take(r, sizeof(size));
    if (!bytes)
        return -EBADMSG;
    memcpy(&size, bytes, sizeof(size));
    bytes = stored_take(r, size);
    if (!bytes)
        return -EBADMSG;
    struct pipeline *p = w->pipeline;
    int err = former_load(p->table, p->n_of_size, bytes, size, &row);
    if (err == -ESTALE) {
        p->afresh = true;
        return 0;
    }
    return err < 0 ? err : former_set(&w->former, slot, row);
}

static int get_span(struct stored_bytes *r, struct span *ret, bool *ret_row)
{
    struct stored_span s;
    const char *bytes = stored_take(r, sizeof(s));
    if (!bytes)
        return -EBADMSG;
    memcpy(&s, bytes, sizeof(s));
    *ret = (struct span){.order = s.order,
                         .start_us = s.start_us,
                         .end_us = s.end_us,
                         .last_us = s.last_us,
                         .floor_us = s.floor_us,
                         .number = s.number,
                         .rows = s.rows,
                         .given = s.given & 3};
    *ret_row = s.given & SPAN_ROW;
    return (s.given & ~SPAN_ROW) <= SPAN_GIVEN ? 0 : -EBADMSG;
}

static int get_group(struct pipeline *p, struct stored_bytes *r, struct error *error)
{
    struct stored_group head;
    const char *bytes = stored_take(r, sizeof(head));
    if (!bytes)
        return -EBADMSG;
    memcpy(&head, bytes, sizeof(head));
    const bool by_key = window_is_by_key(&p->window);
    bool row = !by_key && head.key_size & STORED_ROW;
    head.key_size &= by_key ? UINT32_MAX : ~STORED_ROW;
    const char *key = stored_take(r, head.key_size);
    if (!key || head.key_size > KEY_BYTES_MAX || !can_be(p, &head, key))
        return -EBADMSG;
    head.window = window_id_now(&p->window, head.window);
    uint64_t hash = hash_bytes(key, head.key_size);
    struct worker *w = &p->worker[0];
    while (!worker_owns(w, hash))
        w++;
    uint32_t slot;
    struct span span;
    int err = by_key ? get_span(r, &span, &row) : 0;
    if (err == 0)
        err = get_new_group(w, &head, key, hash, by_key ? &span : NULL, &slot);
    for (size_t i = 0; err == 0 && i < p->n_steps; i++)
        err = get_state(w, i, slot, groups_state(&w->groups, slot), r);
    if (err == 0 && row)
        err = get_given(w, slot, r);
    return err == -EINVAL ? worker_error(w, err, error) : err;
}

int checkpoint_load_block(struct pipeline *p, const char *data, size_t size,
                          struct error *error)
{
    struct stored_bytes r = {.at = data, .end = data + size};
    int err = 0;
    while (err == 0 && r.at < r.end)
        err = get_group(p, &r, error);
    if (err < 0 && err != -EINVAL)
        error_set(error, err, "%s",
                  err == -EBADMSG  ? "the stored groups are damaged"
                  : err == -ENOSPC ? "max_groups is less than there are open groups"
                                   : strerror(-err));
    return err;
}

int checkpoint_load_marks(struct pipeline *p, const char *marks, size_t size,
                          bool with_groups)
{
    struct stored_marks head;
    if (checkpoint_marks_form(marks, size) < 0)
        return -EBADMSG;
    memcpy(&head, marks, sizeof(head));
    for (unsigned k = 0; k < p->config->workers; k++) {
        struct worker *worker = &p->worker[k];
        struct watermark *w = &worker->watermark;
        w->value_us = head.value_us;
        worker->emitted_us = worker->sealed_us = head.value_us;
        if (with_groups)
            worker->unknown_us = head.unknown_us;
        else if (head.value_us > worker->unknown_us)
            worker->unknown_us = head.value_us;
        keyed_restore_marks(worker, head.value_us);
        w->newest_us = head.newest_us;
        for (uint32_t i = 0; i < head.n; i++) {
            struct stored_source s;
            memcpy(&s, marks + sizeof(head) + i * sizeof(s), sizeof(s));
            watermark_restore(w, i, s.max_us, s.idle != 0);
        }
        size_t known = sizeof(head) + head.n * sizeof(struct stored_source);
        if (size > known)
            memcpy(&worker->sequence, marks + known, sizeof(worker->sequence));
    }
    return 0;
}

struct checkpoint_times checkpoint_times(const struct worker *w)
{
    return (struct checkpoint_times){.value_us = w->watermark.value_us,
                                     .newest_us = w->watermark.newest_us,
                                     .unknown_us = unknown_us(w)};
}

void checkpoint_set_times(struct worker *w, const struct checkpoint_times *t)
{
    w->watermark.value_us = w->emitted_us = w->sealed_us = t->value_us;
    w->watermark.newest_us = t->newest_us;
    w->unknown_us = t->unknown_us;
    keyed_restore_marks(w, t->value_us);
}

/* ---- The definition --------------------------------------------------------------------------- */

void checkpoint_put_param(struct buffer *b, const struct weir_param *p,
                          const char *config)
{
    const void *at = config + p->offset;
    buffer_printf(b, " %s=", p->name);
    switch (p->type) {
    case WEIR_PARAM_INT:
        buffer_printf(b, "%lld", (long long)*(const int64_t *)at);
        break;
    case WEIR_PARAM_FLOAT:
        buffer_printf(b, "%a", *(const double *)at);
        break;
    case WEIR_PARAM_BOOL:
    case WEIR_PARAM_CHOICE:
        buffer_printf(b, "%d", *(const int *)at);
        break;
    case WEIR_PARAM_SET:
        buffer_printf(b, "%x", *(const uint32_t *)at);
        break;
    case WEIR_PARAM_COLUMNS: {
        const struct weir_columns *c = at;
        for (uint32_t i = 0; i < c->n; i++) {
            buffer_puts(b, i ? "," : "");
            buffer_put_json_string(b, c->name[i], strlen(c->name[i]));
        }
        break;
    }
    case WEIR_PARAM_NUMBERS: {
        const struct weir_numbers *v = at;
        for (size_t i = 0; i < v->n; i++)
            buffer_printf(b, "%s%a", i ? "," : "", v->value[i]);
        break;
    }
    default: {
        const char *text = *(const char *const *)at;
        buffer_put_json_string(b, text ? text : "", text ? strlen(text) : 0);
    }
    }
}

static void put_step(struct buffer *b, const struct schema *schema,
                     const struct step *s, uint32_t version)
{
    const struct weir_analyzer *a = &s->binding->plugin->analyzer;
    buffer_printf(b, "analyzer %s state=%zu%s version=%u", a->name, a->state_size,
                  a->save || step_keeps(s) ? " saved" : "", version);
    bool whole = step_keeps(s); /* its parameters do not matter to its rows */
    for (const struct weir_param *p = a->params; !whole && p && p->name; p++)
        checkpoint_put_param(b, p, s->binding->config);
    schema = s->pipeline->wide ? s->pipeline->wide : schema;
    buffer_puts(b, s->bag ? " left=" : whole ? " rows=" : " types=");
    for (size_t i = 0; i < s->binding->n_inputs; i++)
        if (!whole)
            buffer_printf(b, "%u,", s->binding->types[i]);
        else if (s->binding->input[i] >= 0 && !s->binding->left_out[i])
            buffer_printf(b, "%s:%u,", schema->column[s->binding->input[i]].name,
                          s->binding->types[i]);
    if (s->binding->form && !whole) {
        buffer_puts(b, " form=");
        buffer_put_json_string(b, s->binding->form, strlen(s->binding->form));
    }
    buffer_putc(b, '\n');
}

void checkpoint_put_step(const struct step *s, uint32_t version, struct buffer *to)
{
    put_step(to, s->pipeline->schema, s, version);
}

/* Derived columns that are in use, each with those that it is made of: states know only what came of them. A text that
 * holds the name is taken to use it. */
static bool is_in(const char *text, const char *name)
{
    return text && strcasestr(text, name);
}

bool checkpoint_names(const struct config_derive *d, const char *name)
{
    bool named = false;
    for (size_t i = 0; i < d->n; i++)
        named = named || is_in(d->column[i].text, name);
    return named;
}

bool checkpoint_uses(const struct pipeline *p, size_t column)
{
    const struct config_pipeline *c = p->config;
    const char *name = p->schema->column[column].name;
    bool used = is_in(c->where, name) || checkpoint_names(&c->derive, name) ||
                (c->window.kind == CONFIG_UNTIL && c->window.column == column);
    for (size_t i = 0; i < c->n_keys; i++)
        used = used || c->key[i] == column;
    for (size_t i = 0; i < p->n_conditions; i++)
        used = used || is_in(p->condition[i], name);
    for (size_t i = 0; i < p->n_steps; i++)
        for (size_t k = 0; k < p->step[i].binding->n_inputs; k++)
            used = used || (p->step[i].binding->input[k] == (int)column &&
                            !p->step[i].binding->left_out[k]);
    return used;
}

static void put_derived(struct buffer *b, const struct pipeline *p)
{
    const struct config_stream *s = &p->whole->stream[p->config->stream];
    const struct config_derive none = {0}, *own = &p->config->derive;
    const bool streams = p->parent || p->config->joins.all;
    const struct config_derive *list[] = {streams ? &none : &s->derive, own};
    /* What is joined or looked up stands between them. */
    const size_t first[] = {s->columns->n - s->derive.n, p->schema->n - own->n};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0, column = first[i]; k < list[i]->n; k++, column++) {
            const struct config_derived *d = &list[i]->column[k];
            const char *name = p->schema->column[column].name;
            if (!checkpoint_uses(p, column) && !checkpoint_names(list[0], name))
                continue;
            buffer_printf(b, "derive %s %s ", name, schema_type_name(d->type));
            buffer_put_json_string(b, d->text, strlen(d->text));
            buffer_putc(b, '\n');
        }
}

static void put_condition(struct buffer *b, const char *word, const char *where)
{
    if (!where)
        return;
    buffer_puts(b, word);
    buffer_put_json_string(b, where, strlen(where));
    buffer_putc(b, '\n');
}

/* With stored: as the states are in the checkpoint that is loaded. */
static int define(const struct pipeline *p, bool stored, char **ret)
{
    const struct config_pipeline *c = p->config;
    struct buffer b = {0};
    if (c->from)
        buffer_printf(&b, "from %s\n", c->from);
    window_define(&p->window, &b);
    if (c->window.kind == CONFIG_UNTIL)
        buffer_printf(&b, "until %s %s\n", p->schema->column[c->window.column].name,
                      schema_type_name(p->schema->column[c->window.column].type));
    for (size_t i = 0; i < c->n_keys; i++)
        buffer_printf(&b, "key %s %s\n", p->schema->column[c->key[i]].name,
                      schema_type_name(p->schema->column[c->key[i]].type));
    join_define_all(p, &b);
    references_define(p, &b);
    lookup_define(p, &b);
    put_derived(&b, p);
    put_condition(&b, "where ", c->where);
    for (size_t i = 0; i < p->n_steps; i++) {
        put_step(&b, p->schema, &p->step[i],
                 stored ? p->step[i].stored_version
                        : p->step[i].binding->plugin->analyzer.state_version);
        put_condition(&b, "only ", c->analyzer[i].where);
    }
    char *text = b.error ? NULL : strdup(buffer_text(&b));
    buffer_free(&b);
    *ret = text;
    return text ? 0 : -ENOMEM;
}

int checkpoint_definition(const struct pipeline *p, char **ret)
{
    return define(p, false, ret);
}

/* Behind the first word of the k-th analyzer's line; NULL: there are not so many. */
static const char *analyzer_in(const char *definition, size_t k)
{
    for (const char *line = definition;; line++) {
        bool analyzer = strncmp(line, "analyzer ", 9) == 0;
        if (analyzer && k == 0)
            return line + 9;
        k -= analyzer;
        line = strchr(line, '\n');
        if (!line)
            return NULL;
    }
}

/* The version of states in the line of the k-th analyzer; `otherwise` if it says none. */
static uint32_t version_in(const char *definition, size_t k, uint32_t otherwise)
{
    static const char word[] = " version=";
    const char *line = analyzer_in(definition, k),
               *at = line ? strstr(line, word) : NULL;
    return at && at < line + strcspn(line, "\n")
               ? (uint32_t)strtoul(at + sizeof(word) - 1, NULL, 10)
               : otherwise;
}

bool checkpoint_loads(const struct weir_analyzer *a, uint32_t version)
{
    return version == a->state_version ||
           (a->load && a->oldest_version && version >= a->oldest_version &&
            version < a->state_version);
}

int checkpoint_can_load(struct pipeline *p, const char *definition, bool *ret)
{
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct weir_analyzer *a = &p->step[i].binding->plugin->analyzer;
        uint32_t version = version_in(definition, i, a->state_version);
        p->step[i].stored_version =
            checkpoint_loads(a, version) ? version : a->state_version;
    }
    char *text;
    int err = define(p, true, &text);
    if (err < 0)
        return err;
    *ret = strcmp(text, definition) == 0;
    free(text);
    return 0;
}

bool checkpoint_other_version(const struct pipeline *p, const char *definition,
                              char *text, size_t room)
{
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct weir_analyzer *a = &p->step[i].binding->plugin->analyzer;
        const char *line = analyzer_in(definition, i);
        size_t n = strlen(a->name);
        uint32_t version = version_in(definition, i, a->state_version);
        if (!line || strncmp(line, a->name, n) != 0 || line[n] != ' ' ||
            version == a->state_version)
            continue;
        snprintf(text, room, "states of '%s' were of version %u and are of version %u",
                 a->name, version, a->state_version);
        return true;
    }
    return false;
}
