/* SPDX-License-Identifier: Apache-2.0
 *
 * `join:` of a pipeline: columns of other streams beside its own; and `from:`, where that is several streams.
 */
#include "base/clock.h"
#include "config/fields.h"
#include "config/sections.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define LONGEST      (366 * DAY_US)

static int out_of_memory(const struct node *n, struct error *error)
{
    return error_set(error, -ENOMEM, "%s: out of memory", n->file);
}

struct reading {
    const struct config *config;
    const struct config_results *results;
    const struct schema *ours, *theirs;
    struct schema *joined; /* ours, and behind them the columns of joins so far */
    const struct node *columns;
    bool as_of;
};

static int find_column(const struct node *n, const char *name, const struct schema *s,
                       const char *whose, size_t *ret, struct error *error)
{
    const char *names[SCHEMA_COLUMNS_MAX];
    int column = schema_find(s, name);
    if (column >= 0) {
        *ret = (size_t)column;
        return 0;
    }
    for (size_t i = 0; i < s->n; i++)
        names[i] = s->column[i].name;
    node_error(n, error, "%s has no field '%s'", whose, name);
    node_suggest(error, name, names, s->n);
    return -EINVAL;
}

/* Rows belong together whose values are the same, as those of a key. */
static int read_pair(const struct node *ours, const struct node *theirs,
                     struct config_join *j, const struct reading *r,
                     struct error *error)
{
    const char *our_name, *their_name;
    size_t i = j->n_on;
    int err = node_text(ours, &our_name, error);
    if (err == 0)
        err = node_text(theirs, &their_name, error);
    if (err == 0)
        err = find_column(ours, our_name, r->ours, "the stream", &j->on[i], error);
    if (err == 0)
        err = find_column(theirs, their_name, r->theirs, "the joined stream",
                          &j->their_on[i], error);
    if (err < 0)
        return err;
    enum weir_type type = r->ours->column[j->on[i]].type,
                   their_type = r->theirs->column[j->their_on[i]].type;
    if (type != their_type)
        return node_error(
            theirs, error,
            "'%s' is of type %s, and '%s' of the joined stream of type %s", our_name,
            schema_type_name(type), their_name, schema_type_name(their_type));
    if (type == WEIR_FLOAT || type == WEIR_TIME)
        return node_error(ours, error,
                          "'%s' is a %s: streams are joined on string, int or bool",
                          our_name, schema_type_name(type));
    j->n_on++;
    return 0;
}

static int read_on(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_join *j = target;
    size_t pairs = n->kind == NODE_SCALAR ? 1 : n->n;
    if (pairs < 1 || pairs > CONFIG_JOIN_ON_MAX)
        return node_error(n, error, "streams are joined on 1 to %d fields, not %zu",
                          CONFIG_JOIN_ON_MAX, pairs);
    int r = 0;
    for (size_t i = 0; r == 0 && i < pairs; i++) {
        const struct node *item = n->kind == NODE_SCALAR ? n : &n->item[i];
        r = read_pair(n->kind == NODE_MAP ? &n->key[i] : item, item, j, ctx, error);
    }
    return r;
}

static int read_columns(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct reading *r = ctx;
    (void)target;
    if (n->kind == NODE_SCALAR || n->n < 1 || n->n > CONFIG_JOIN_COLUMNS_MAX)
        return node_error(n, error,
                          "a list of 1 to %d fields is expected here, such as [bid, "
                          "ask], or {quote_bid: bid}, which says how they are called",
                          CONFIG_JOIN_COLUMNS_MAX);
    r->columns = n;
    return 0;
}

#define AT(member) offsetof(struct config_join, member)

/* A name beside another one: as the column is called here, and there. */
#define NAMES_SCHEMA                                                                   \
    FIELD_SCHEMA_TEXTS                                                                 \
    ",{\"type\":\"object\",\"additionalProperties\":{\"$ref\":\"#/$defs/text\"}}"

static const struct field join_fields[] = {
    {"on", FIELD_CALL, .required = true, .read = read_on, .schema = NAMES_SCHEMA},
    {"as_of", FIELD_BOOL, .required = true, .offset = AT(as_of)},
    {"within", FIELD_DURATION, .required = true, .offset = AT(within_us), .min = 0,
     .max = LONGEST},
    {"lead", FIELD_DURATION, .offset = AT(lead_us), .min = 0, .max = LONGEST},
    {"out_of_orderness", FIELD_DURATION, .offset = AT(out_of_orderness_us), .min = 0,
     .max = LONGEST, .init = -1},
    {"columns", FIELD_CALL, .required = true, .read = read_columns,
     .schema = NAMES_SCHEMA},
};

void join_section_schema(struct buffer *to)
{
    fields_schema(join_fields, COUNT(join_fields), to);
}

/* The column stands in the pipeline's schema under this name. */
static int add_column(const struct node *name, const struct node *of,
                      struct config_join *j, struct reading *r, size_t at,
                      struct error *error)
{
    const char *text, *theirs;
    int err = node_name(name, &text, error);
    if (err == 0)
        err = node_text(of, &theirs, error);
    if (err == 0)
        err = find_column(of, theirs, r->theirs, "the joined stream",
                          &j->column[j->n_columns], error);
    for (size_t i = 0; err == 0 && i < at; i++)
        if (strcasecmp(r->joined->column[i].name, text) == 0)
            err = node_error(name, error,
                             "there is a column '%s' already; {OTHER_NAME: %s} gives "
                             "this one another name",
                             r->joined->column[i].name, theirs);
    if (err == 0 && schema_set(r->joined, at, text,
                               r->theirs->column[j->column[j->n_columns]].type) < 0)
        return out_of_memory(name, error);
    j->n_columns += err == 0;
    return err;
}

static int add_columns(struct config_join *j, struct reading *r, struct error *error)
{
    const struct node *n = r->columns;
    const struct schema *before = r->joined ? r->joined : r->ours;
    struct schema *joined;
    if (before->n + n->n > SCHEMA_COLUMNS_MAX)
        return node_error(n, error, "there are more than %u columns with these",
                          SCHEMA_COLUMNS_MAX);
    if (schema_copy(before, before->n, n->n, &joined) < 0)
        return out_of_memory(n, error);
    j->first = before->n;
    schema_free(r->joined);
    r->joined = joined;
    int err = 0;
    for (size_t i = 0; err == 0 && i < n->n; i++)
        err = add_column(n->kind == NODE_MAP ? &n->key[i] : &n->item[i], &n->item[i], j,
                         r, j->first + i, error);
    return err;
}

static int find_stream(const struct node *n, const struct config *c, size_t own,
                       size_t *ret, struct error *error)
{
    const char *name, **names = calloc(c->n_streams + 1, sizeof(*names));
    size_t known = 0, found = SIZE_MAX;
    int r = names ? node_text(n, &name, error) : out_of_memory(n, error);
    for (size_t i = 0; r == 0 && i < c->n_streams; i++) {
        if (!c->stream[i].name)
            continue;
        names[known++] = c->stream[i].name;
        found = strcmp(c->stream[i].name, name) ? found : i;
    }
    if (r == 0 && found == SIZE_MAX) {
        r = node_error(n, error, "there is no stream '%s'", name);
        node_suggest(error, name, names, known);
    } else if (r == 0 && found == own) {
        r = node_error(n, error, "a pipeline cannot join the stream that it reads");
    }
    free(names);
    if (r == 0)
        *ret = found;
    return r;
}

static const struct config_result *find_result(const struct config_results *all,
                                               const char *name)
{
    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->item[i].table, name) == 0)
            return &all->item[i];
    return NULL;
}

/* Columns of what is joined. */
static int find_theirs(const struct node *name, struct config_join *j,
                       struct reading *r, size_t own, struct error *error)
{
    j->result = name->kind == NODE_SCALAR ? find_result(r->results, name->text) : NULL;
    j->stream = SIZE_MAX;
    int err = j->result ? 0 : find_stream(name, r->config, own, &j->stream, error);
    if (err < 0)
        return err;
    r->theirs = j->result ? j->result->columns : r->config->stream[j->stream].columns;
    return r->theirs ? 0 : -EINVAL; /* it has faults, which are told already */
}

static int read_join(const struct node *name, const struct node *n,
                     struct config_join *j, struct reading *r, size_t own,
                     struct error *error)
{
    char what[SECTION_NAME_MAX + 16];
    int err = find_theirs(name, j, r, own, error);
    if (err < 0)
        return err;
    j->node = name;
    snprintf(what, sizeof what, "join '%s'", name->text);
    err = fields_read(join_fields, COUNT(join_fields), n, what, j, r, error);
    if (err == 0 && !j->as_of)
        err = node_error(node_get(n, "as_of"), error,
                         "'as_of: true' is the only way to join streams in 'join'");
    if (err == 0 && j->result && j->out_of_orderness_us >= 0)
        err = node_error(node_get(n, "out_of_orderness"), error,
                         "'out_of_orderness' is for streams: the results of '%s' come "
                         "in order",
                         j->result->table);
    if (j->result)
        j->out_of_orderness_us = 0;
    return err == 0 ? add_columns(j, r, error) : err;
}

int join_section(const struct node *n, const struct config *config, size_t stream,
                 const struct schema *schema, const struct config_results *results,
                 struct config_joins *ret, struct error *error)
{
    struct reading r = {.config = config, .results = results, .ours = schema};
    if (n->kind != NODE_MAP || n->n < 1 || n->n > CONFIG_JOINS_MAX)
        return node_error(n, error,
                          "1 to %d streams or tables are expected here, such as "
                          "{quotes: {on: "
                          "[symbol], as_of: true, within: 5s, columns: [bid, ask]}}",
                          CONFIG_JOINS_MAX);
    if (!(ret->join = calloc(n->n, sizeof *ret->join)))
        return out_of_memory(n, error);
    int err = 0;
    for (size_t i = 0; err == 0 && i < n->n; i++)
        if (!reference_section_is(&n->item[i]))
            err = read_join(&n->key[i], &n->item[i], &ret->join[ret->n++], &r, stream,
                            error);
    if (err < 0)
        schema_free(r.joined);
    else
        ret->schema = r.joined;
    return err;
}

static bool is_stream(const struct config *c, const char *name)
{
    bool found = false;
    for (size_t i = 0; !found && i < c->n_streams; i++)
        found = c->stream[i].name && strcmp(c->stream[i].name, name) == 0;
    return found;
}

int join_section_results(const struct node *n, const struct config *config,
                         struct config_results *ret, struct error *error)
{
    for (size_t i = 0; n->kind == NODE_MAP && i < n->n && ret->n < CONFIG_JOINS_MAX;
         i++) {
        const struct node *name = &n->key[i];
        if (is_stream(config, name->text) || node_get(&n->item[i], "table"))
            continue;
        struct config_result *r = &ret->item[ret->n];
        *r = (struct config_result){.node = name, .pipeline = SIZE_MAX};
        if (!(r->table = strdup(name->text)))
            return out_of_memory(name, error);
        ret->n++;
    }
    return 0;
}

void join_section_results_free(struct config_results *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->item[i].table);
        schema_free(r->item[i].columns);
    }
    r->n = 0;
}

/* ---- Several streams --------------------------------------------------------------------------- */

/* Does each of the others have the column, with the same type? */
static bool is_common(const struct config *c, const struct config_joins *j,
                      const struct schema_column *column)
{
    for (size_t i = 0; i < j->n; i++) {
        const struct schema *s = c->stream[j->join[i].stream].columns;
        int at = schema_find(s, column->name);
        if (at <= 0 || s->column[at].type != column->type)
            return false;
    }
    return true;
}

/* What the columns of a stream are called in the schema of all, and which of its own stands in the place of each. */
struct uniting {
    const struct config *config;
    struct config_joins *joins;
    const size_t *stream; /* of each: the own one first */
    size_t n_streams, n;  /* columns so far */
    struct schema *to;    /* NULL: they are counted */
};

static int add_united(struct uniting *u, const char *prefix, const char *name,
                      enum weir_type type, size_t stream, size_t column)
{
    char text[2 * SECTION_NAME_MAX + 128];
    if (u->to) {
        snprintf(text, sizeof text, "%s%s%s", prefix, *prefix ? "." : "", name);
        if (schema_set(u->to, u->n, text, type) < 0)
            return -ENOMEM;
        u->joins->pick[stream * u->to->n + u->n] = column;
    }
    u->n++;
    return 0;
}

/* Those that all have, then the number, then the others of each. */
static int unite(struct uniting *u, const char *number)
{
    const struct config_stream *stream = u->config->stream;
    const struct schema *own = stream[u->stream[0]].columns;
    int r = 0;
    u->n = 1; /* the time */
    for (size_t c = 1; r == 0 && c < own->n; c++) {
        if (!is_common(u->config, u->joins, &own->column[c]))
            continue;
        for (size_t i = 0; u->to && i < u->n_streams; i++)
            u->joins->pick[i * u->to->n + u->n] =
                (size_t)schema_find(stream[u->stream[i]].columns, own->column[c].name);
        r = add_united(u, "", own->column[c].name, own->column[c].type, 0, c);
    }
    u->joins->number = u->n;
    if (r == 0)
        r = add_united(u, "", number, WEIR_INT, 0, SIZE_MAX);
    for (size_t i = 0; r == 0 && i < u->n_streams; i++) {
        const struct schema *s = stream[u->stream[i]].columns;
        for (size_t c = 1; r == 0 && c < s->n; c++) {
            int at = schema_find(own, s->column[c].name);
            bool common = at > 0 && own->column[at].type == s->column[c].type &&
                          is_common(u->config, u->joins, &own->column[at]);
            if (!common)
                r = add_united(u, stream[u->stream[i]].name, s->column[c].name,
                               s->column[c].type, i, c);
        }
    }
    return r;
}

/* As all call it, or `time`. */
static const char *name_of_time(const struct uniting *u)
{
    const struct config_stream *stream = u->config->stream;
    const char *name = stream[u->stream[0]].columns->column[0].name;
    for (size_t i = 1; i < u->n_streams; i++)
        if (strcmp(name, stream[u->stream[i]].columns->column[0].name) != 0)
            name = "time";
    const struct schema *own = stream[u->stream[0]].columns;
    int at = schema_find(own, name);
    return at > 0 && is_common(u->config, u->joins, &own->column[at]) ? "time_" : name;
}

static int unite_all(const struct node *n, const struct config *config,
                     const size_t *stream, size_t n_streams, struct config_joins *ret,
                     struct error *error)
{
    char number[(CONFIG_JOINS_MAX + 1) * (SECTION_NAME_MAX + 1) + 16] = ".streams";
    struct uniting u = {
        .config = config, .joins = ret, .stream = stream, .n_streams = n_streams};
    for (size_t i = 0; i < n_streams; i++) {
        strcat(number, " ");
        strcat(number, config->stream[stream[i]].name);
    }
    unite(&u, number);
    if (u.n > SCHEMA_COLUMNS_MAX)
        return node_error(n, error, "they have more than %u columns together",
                          SCHEMA_COLUMNS_MAX);
    if (!(ret->pick = malloc(n_streams * u.n * sizeof *ret->pick)) ||
        schema_new(u.n, name_of_time(&u), &ret->schema) < 0)
        return out_of_memory(n, error);
    for (size_t i = 0; i < n_streams * u.n; i++)
        ret->pick[i] = i % u.n ? SIZE_MAX : 0; /* the time is the time of each */
    u.to = ret->schema;
    ret->all = true;
    return unite(&u, number) < 0 ? out_of_memory(n, error) : 0;
}

int streams_section(const struct node *n, const struct config *config,
                    size_t *ret_stream, struct config_joins *ret, struct error *error)
{
    size_t stream[CONFIG_JOINS_MAX];
    if (n->n < 2 || n->n > CONFIG_JOINS_MAX)
        return node_error(n, error,
                          "a list has 2 to %d streams, such as [bids, auctions]",
                          CONFIG_JOINS_MAX);
    if (!(ret->join = calloc(n->n, sizeof *ret->join)))
        return out_of_memory(n, error);
    for (size_t i = 0; i < n->n; i++) {
        int r = find_stream(&n->item[i], config, SIZE_MAX, &stream[i], error);
        if (r < 0)
            return r;
        for (size_t k = 0; k < i; k++)
            if (stream[k] == stream[i])
                return node_error(&n->item[i], error, "'%s' is there twice",
                                  n->item[i].text);
        if (!config->stream[stream[i]]
                 .columns) /* it has faults, which are told already */
            return -EINVAL;
        if (i)
            ret->join[ret->n++] = (struct config_join){
                .stream = stream[i], .node = &n->item[i], .out_of_orderness_us = -1};
    }
    *ret_stream = stream[0];
    return unite_all(n, config, stream, n->n, ret, error);
}

void join_section_free(struct config_joins *j)
{
    free(j->join);
    free(j->pick);
    schema_free(j->schema);
}
