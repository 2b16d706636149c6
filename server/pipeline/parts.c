/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/parts.h"

#include "base/base64.h"
#include "base/sha256.h"
#include "pipeline/checkpoint.h"
#include "pipeline/worker.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS      16u /* of the hash */
#define ANY_VERSION 0   /* in it: the text says which */

struct parts {
    struct analyze_groups *groups;
    struct buffer bytes, text;
    void *state; /* one that was loaded, aligned */
    size_t room;
};

static const struct weir_analyzer *analyzer_of(const struct step *s)
{
    return &s->binding->plugin->analyzer;
}

/* ---- What can be sent --------------------------------------------------------------------------- */

void parts_name(const struct config_analyzer *c, char ret[PARTS_NAME_MAX])
{
    snprintf(ret, PARTS_NAME_MAX, "%.140s_state", c->as ? c->as : c->plugin);
}

int parts_check(const struct pipeline *p, const struct weir_analyzer *a,
                const struct config_analyzer *c, struct error *error)
{
    if (p->config->partial != CONFIG_PARTIAL_STATES && !p->config->merges)
        return 0;
    if (c->apart || c->async)
        return node_error(c->node, error,
                          "analyzer '%s': states that are sent are of analyzers in the "
                          "server, not with 'run: %s'",
                          a->name, c->apart ? "process" : "async");
    if (a->whole)
        return node_error(c->node, error,
                          "analyzer '%s' takes all rows of a window at once: it has no "
                          "states that could be sent and merged",
                          a->name);
    if (!a->merge)
        return node_error(c->node, error,
                          "analyzer '%s' cannot merge states (merge), which parts of "
                          "several servers need",
                          a->name);
    return 0;
}

int parts_find(const struct pipeline *p, struct step *s, struct error *error)
{
    char name[PARTS_NAME_MAX];
    if (!p->config->merges)
        return 0;
    parts_name(s->config, name);
    int column = schema_find(p->schema, name);
    if (column < 0 || p->schema->column[column].type != WEIR_STRING)
        return node_error(p->config->merges, error,
                          "the stream has no field '%s' of type string, the states of "
                          "analyzer '%s'",
                          name, analyzer_of(s)->name);
    s->part = (size_t)column;
    for (size_t i = 0; i < s->binding->n_inputs; i++)
        s->binding->input[i] = -1; /* those are elsewhere */
    return 0;
}

/* ---- Calls -------------------------------------------------------------------------------------- */

static int begin(struct worker *w, struct parts **ret)
{
    if (!w->parts && !(w->parts = calloc(1, sizeof(*w->parts))))
        return -ENOMEM;
    struct parts *p = *ret = w->parts;
    buffer_clear(&p->bytes);
    buffer_clear(&p->text);
    return p->groups ? 0 : analyze_groups_new(w, &p->groups);
}

void parts_free(struct parts *p)
{
    if (!p)
        return;
    analyze_groups_free(p->groups);
    buffer_free(&p->bytes);
    buffer_free(&p->text);
    free(p->state);
    free(p);
}

/* Of the analyzer's line in the definition, without its condition: whether states can be merged, if their version can be loaded. */
static int hash_of(struct step *s, uint64_t *ret)
{
    uint64_t hash = atomic_load_explicit(&s->form_hash, memory_order_relaxed);
    if (!hash) {
        struct buffer line = {0};
        checkpoint_put_step(s, ANY_VERSION, &line);
        uint8_t sum[SHA256_SIZE];
        sha256(line.data, line.size, sum);
        memcpy(&hash, sum, sizeof(hash));
        hash = be64toh(hash) | 1; /* 0: not known yet */
        const int err = line.error;
        buffer_free(&line);
        if (err)
            return -ENOMEM;
        atomic_store_explicit(&s->form_hash, hash, memory_order_relaxed);
    }
    *ret = hash;
    return 0;
}

static int emit_one(struct host *h, const struct weir_analyzer *a, struct parts *p,
                    uint64_t hash, const void *state)
{
    struct weir_out saved = {.bytes = &p->bytes};
    int r = 0;
    buffer_clear(&p->bytes);
    buffer_clear(&p->text);
    if (a->save)
        r = host_done(h, "save", a->save(&h->ctx, state, &saved));
    else
        buffer_put(&p->bytes, state, a->state_size);
    if (r < 0)
        return r;
    buffer_printf(&p->text, "%016" PRIx64 ":%" PRIu32 ":", hash, a->state_version);
    base64_put(&p->text, p->bytes.data, p->bytes.size);
    return p->bytes.error ? p->bytes.error : p->text.error;
}

int parts_emit(struct worker *w, size_t step, const struct analyze_groups *g,
               struct weir_out *out)
{
    struct step *s = &w->pipeline->step[step];
    struct host *h = &w->host[step];
    struct parts *p = NULL;
    uint64_t hash = 0;
    int r = begin(w, &p);
    if (r == 0)
        r = hash_of(s, &hash);
    if (r == 0)
        r = host_can_save(h);
    for (size_t i = 0; r == 0 && i < g->n; i++) {
        struct weir_cell *cell = out->group(out->ctx, i);
        r = cell ? emit_one(h, analyzer_of(s), p, hash, g->state[i]) : -ENOMEM;
        const char *text =
            r == 0 ? out->keep(out->ctx, p->text.data, p->text.size) : NULL;
        if (r == 0 && !text)
            r = -ENOMEM;
        if (r == 0)
            *cell = (struct weir_cell){
                .type = WEIR_STRING, .size = (uint32_t)p->text.size, .as.s = text};
    }
    return r;
}

struct part { /* as it came */
    const char *text;
    size_t size;
    const char *from; /* the source */
};

static int refuse(struct host *h, const struct part *part, const char *why)
{
    weir_fail(&h->ctx, "a part of '%.200s' cannot be merged: %s", part->from, why);
    return host_done(h, "load", -1);
}

static int refuse_version(struct host *h, const struct weir_analyzer *a,
                          const struct part *part, uint32_t version)
{
    const uint32_t ours = a->state_version;
    weir_fail(&h->ctx,
              "a part of '%.200s' cannot be merged: its states are of version %" PRIu32
              ", those of this server of %" PRIu32 "%s",
              part->from, version, ours,
              version > ours
                  ? ": once the plugin here is as new as there it goes on where it was"
                  : ", which does not take older ones");
    return host_done(h, "load", -1);
}

/* Behind the hash. *ret: what follows. */
static bool read_version(const char *text, const char *end, uint32_t *ret_version,
                         const char **ret)
{
    uint64_t version = 0;
    const char *at = text;
    for (; at < end && *at >= '0' && *at <= '9' && version <= UINT32_MAX; at++)
        version = version * 10 + (uint64_t)(*at - '0');
    if (at == text || at == end || *at != ':' || version > UINT32_MAX)
        return false;
    *ret_version = (uint32_t)version;
    *ret = at + 1;
    return true;
}

/* The bytes of a state, in p->bytes. */
static int read_part(struct host *h, const struct weir_analyzer *a, struct parts *p,
                     uint64_t hash, const struct part *part, uint32_t *ret_version)
{
    char digits[DIGITS + 2];
    const char *end = part->text + part->size, *bytes;
    snprintf(digits, sizeof(digits), "%016" PRIx64 ":", hash);
    buffer_clear(&p->bytes);
    if (part->size <= DIGITS || part->text[DIGITS] != ':' ||
        !read_version(part->text + DIGITS + 1, end, ret_version, &bytes))
        return refuse(h, part, "it is no state of an analyzer");
    if (memcmp(part->text, digits, DIGITS + 1) != 0)
        return refuse(h, part,
                      "the server that has sent it has another definition of the "
                      "analyzer");
    if (!checkpoint_loads(a, *ret_version))
        return refuse_version(h, a, part, *ret_version);
    if (base64_take(bytes, (size_t)(end - bytes), &p->bytes))
        return refuse(h, part, "it is no state of an analyzer");
    return p->bytes.error;
}

static int load(struct host *h, const struct weir_analyzer *a, struct parts *p,
                const struct part *part, uint32_t version,
                const struct weir_window *window)
{
    memset(p->state, 0, p->room);
    if (!a->load && p->bytes.size != a->state_size)
        return refuse(h, part, "it has another size");
    int r = a->init ? host_done(h, "init", a->init(&h->ctx, window, p->state)) : 0;
    if (r == 0 && a->load)
        r = host_done(
            h, "load",
            a->load(&h->ctx, p->state, version, p->bytes.data, p->bytes.size));
    else if (r == 0)
        memcpy(p->state, p->bytes.data, p->bytes.size);
    return r;
}

static int merge_one(struct worker *w, size_t step, struct parts *p, uint64_t hash,
                     const struct part *part, size_t i, void *into)
{
    const struct weir_analyzer *a = analyzer_of(&w->pipeline->step[step]);
    struct host *h = &w->host[step];
    const struct weir_window *window = p->groups->window[i];
    const void *from = p->state;
    uint32_t version = 0;
    int r = read_part(h, a, p, hash, part, &version);
    if (r == 0)
        r = load(h, a, p, part, version, window);
    if (r < 0)
        return r;
    r = host_done(h, "merge", a->merge(&h->ctx, 1, &window, &into, &from));
    if (a->drop)
        a->drop(&h->ctx, p->state);
    return r;
}

static int make_room(struct parts *p, size_t size)
{
    size = (size + STATE_ALIGN) / STATE_ALIGN * STATE_ALIGN;
    if (size <= p->room)
        return 0;
    free(p->state);
    p->state = aligned_alloc(STATE_ALIGN, size);
    p->room = p->state ? size : 0;
    return p->state ? 0 : -ENOMEM;
}

/* At most ANALYZE_GROUPS rows. */
static int fold_some(struct worker *w, size_t step, struct parts *p,
                     const struct log_entry *e, const uint32_t *row,
                     const uint32_t *slot, uint32_t n, uint64_t hash)
{
    const struct step *s = &w->pipeline->step[step];
    const struct weir_column *column = &e->batch->view[s->part];
    struct log *log = w->pipeline->log;
    struct part part = {.from = log ? log_source_name(log, e->source) : ""};
    int r = analyze_groups_read(w, p->groups, slot, n, 0);
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        part.size = 0;
        part.text =
            weir_is_null(column, row[i]) ? "" : weir_string(column, row[i], &part.size);
        r = merge_one(w, step, p, hash, &part, i,
                      (char *)groups_state(&w->groups, slot[i]) + s->offset);
    }
    return r;
}

int parts_fold(struct worker *w, size_t step, const struct log_entry *e,
               const uint32_t *row, const uint32_t *slot, uint32_t n)
{
    struct step *s = &w->pipeline->step[step];
    struct parts *p = NULL;
    uint64_t hash = 0;
    int r = begin(w, &p);
    if (r == 0)
        r = make_room(p, analyzer_of(s)->state_size);
    if (r == 0)
        r = hash_of(s, &hash);
    host_lock(&w->host[step]);
    for (uint32_t at = 0; r == 0 && at < n; at += ANALYZE_GROUPS)
        r = fold_some(w, step, p, e, row + at, slot + at,
                      n - at < ANALYZE_GROUPS ? n - at : ANALYZE_GROUPS, hash);
    host_unlock(&w->host[step]);
    return r;
}
