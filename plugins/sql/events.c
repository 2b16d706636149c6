/* SPDX-License-Identifier: Apache-2.0
 *
 * What xBestIndex finds goes to xFilter as text: "=3=5" for the rows in which columns 3 and 5 have the values of the
 * arguments, "3,5-" for all by column 3, then 5 from the last to the first, "" for all as they lie. SQLite looks at
 * the values once more, so that rows may come that have others.
 */
#include "events.h"
#include "order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEW_ROWS  10      /* about, that have one value of a column */
#define MANY_ROWS 1000000 /* about, that a window has */
#define GIVEN_MAX 8
#define AHEAD     8 /* rows */

struct table {
    sqlite3_vtab base;
    struct events *events;
};

struct cursor {
    sqlite3_vtab_cursor base;
    struct events *events;
    uint32_t at, end;      /* rows order[at .. end) are to come */
    const uint32_t *order; /* NULL: as they lie */
    uint32_t *own;         /* order, if it is of this cursor alone */
    /* In a trial: values that rows have. */
    int n_given, given_column[GIVEN_MAX];
    sqlite3_value *given[GIVEN_MAX];
};

static const char *const declared[] = {
    [WEIR_INT] = "INTEGER", [WEIR_FLOAT] = "REAL",        [WEIR_BOOL] = "INTEGER BOOL",
    [WEIR_STRING] = "TEXT", [WEIR_TIME] = "INTEGER TIME",
};

const char *events_decltype(uint32_t type)
{
    return declared[type];
}

uint32_t events_type(const char *decltype)
{
    for (uint32_t t = WEIR_INT; decltype &&t <= WEIR_TIME; t++)
        if (strcmp(declared[t], decltype) == 0)
            return t;
    return 0;
}

static const struct weir_column *column_of(const struct events *e, int column)
{
    return e->rows->in[e->first + (uint32_t)column];
}

/* ---- The table --------------------------------------------------------------------------------- */

static int connect(sqlite3 *db, void *aux, int argc, const char *const *argv,
                   sqlite3_vtab **ret, char **message)
{
    (void)argc, (void)argv, (void)message;
    struct events *e = aux;
    sqlite3_str *sql = sqlite3_str_new(db);
    for (uint32_t i = 0; i < e->n; i++)
        sqlite3_str_appendf(sql, "%s\"%w\" %s", i ? ", " : "CREATE TABLE events(",
                            e->name[i], declared[e->ctx->types[e->first + i]]);
    sqlite3_str_appendall(sql, ")");
    char *text = sqlite3_str_finish(sql);
    struct table *t = sqlite3_malloc(sizeof(*t));
    int r = t && text ? sqlite3_declare_vtab(db, text) : SQLITE_NOMEM;
    sqlite3_free(text);
    if (r != SQLITE_OK) {
        sqlite3_free(t);
        return r;
    }
    *t = (struct table){.events = e};
    *ret = &t->base;
    return SQLITE_OK;
}

static int disconnect(sqlite3_vtab *table)
{
    sqlite3_free(table);
    return SQLITE_OK;
}

/* A column that no plan was seen to read. Never NULL in silence: all results would be wrong. */
static int not_kept(sqlite3_vtab *table, int column)
{
    const char *name = ((struct table *)table)->events->name[column];
    sqlite3_free(table->zErrMsg);
    table->zErrMsg = sqlite3_mprintf(
        "column '%s' is read but not kept, which is a fault of this analyzer; it is "
        "kept where the statement names it, as in WHERE %s IS %s",
        name, name, name);
    return SQLITE_ERROR;
}

/* ---- Plans ------------------------------------------------------------------------------------- */

static bool is_value(sqlite3_index_info *info, int i)
{
    const struct sqlite3_index_constraint *c = &info->aConstraint[i];
    return c->usable && c->op == SQLITE_INDEX_CONSTRAINT_EQ && c->iColumn >= 0 &&
           strcmp(sqlite3_vtab_collation(info, i), "BINARY") == 0;
}

/* Rows are found by the first column that is named: whose they are comes last, as many have that. */
static bool plan_values(const struct events *e, sqlite3_index_info *info)
{
    sqlite3_str *plan = sqlite3_str_new(NULL);
    int n = 0, others = 0;
    for (int last = 0; last < 2; last++)
        for (int i = 0; i < info->nConstraint && n < GIVEN_MAX; i++) {
            int column = info->aConstraint[i].iColumn;
            if (!is_value(info, i) || (column == (int)e->stream) != last)
                continue;
            info->aConstraintUsage[i].argvIndex = ++n;
            others += !last;
            sqlite3_str_appendf(plan, "=%d", column);
        }
    info->idxStr = sqlite3_str_finish(plan);
    if (!n)
        return false;
    info->estimatedRows = others ? FEW_ROWS : MANY_ROWS / 2;
    info->estimatedCost = others ? 4 * FEW_ROWS : MANY_ROWS / 2;
    return true;
}

static void plan_order(sqlite3_index_info *info)
{
    sqlite3_str *plan = sqlite3_str_new(NULL);
    sqlite3_free(info->idxStr);
    info->idxStr = NULL;
    bool known = info->nOrderBy > 0;
    for (int i = 0; i < info->nOrderBy; i++) {
        known = known && info->aOrderBy[i].iColumn >= 0;
        sqlite3_str_appendf(plan, "%s%d%s", i ? "," : "", info->aOrderBy[i].iColumn,
                            info->aOrderBy[i].desc ? "-" : "");
    }
    char *text = sqlite3_str_finish(plan);
    info->estimatedRows = MANY_ROWS;
    info->estimatedCost = MANY_ROWS;
    if (!known || !text) {
        sqlite3_free(text);
        return;
    }
    info->idxStr = text;
    info->orderByConsumed = 1;
}

/* The last bit of colUsed is that of all columns from there on. */
static int best_index(sqlite3_vtab *table, sqlite3_index_info *info)
{
    const struct events *e = ((struct table *)table)->events;
    for (uint32_t i = 0; i < e->n; i++)
        if (info->colUsed >> (i < 63 ? i : 63) & 1)
            e->reads[i] = true;
    info->needToFreeIdxStr = 1;
    if (!plan_values(e, info))
        plan_order(info);
    return SQLITE_OK;
}

/* ---- Order ------------------------------------------------------------------------------------- */

static uint32_t *new_order(struct events *e)
{
    uint32_t n = (uint32_t)e->rows->n;
    uint32_t *order = e->ctx->host->alloc(e->ctx, (n + (size_t)1) * sizeof(*order));
    for (uint32_t i = 0; order && i < n; i++)
        order[i] = i;
    return order;
}

/* By the columns of a plan, which are taken from the last to the first. */
static int sort(struct events *e, const char *plan, uint32_t *order)
{
    const struct weir_host *host = e->ctx->host;
    size_t n = e->rows->n, length = strlen(plan);
    struct order_item *item = host->alloc(e->ctx, 2 * n * sizeof(*item) + 1);
    int err = item ? 0 : -1;
    while (!err && length) {
        while (length && plan[length - 1] != ',')
            length--;
        const char *column = plan + length;
        int number = atoi(column);
        int descending = column[strspn(column, "0123456789")] == '-';
        err =
            order_by(e->ctx, column_of(e, number), descending, order, n, item, e->seed);
        length -= length > 0;
    }
    host->free(e->ctx, item);
    return err;
}

/* All rows in the order of one column, for as long as they are the window's. */
static const uint32_t *order_of(struct events *e, int column)
{
    char plan[16];
    if (e->by[column])
        return e->by[column];
    uint32_t *order = new_order(e);
    snprintf(plan, sizeof(plan), "%d", column);
    if (!order || sort(e, plan, order)) {
        e->ctx->host->free(e->ctx, order);
        return NULL;
    }
    return e->by[column] = order;
}

/* ---- Rows with one value ----------------------------------------------------------------------- */

/* What is looked for: a column of one row. */
struct wanted {
    struct weir_column column;
    union {
        int64_t i;
        double f;
        uint8_t bit;
    } value;
    int32_t offsets[2];
};

/* false: it may be equal to values in ways that order_compare does not know, such as '5' to 5. */
static bool want(struct wanted *w, uint32_t type, sqlite3_value *v)
{
    int is = sqlite3_value_type(v);
    w->column = (struct weir_column){.type = type, .values = &w->value};
    switch (type) {
    case WEIR_FLOAT:
        w->value.f = sqlite3_value_double(v);
        return is == SQLITE_INTEGER || is == SQLITE_FLOAT;
    case WEIR_STRING:
        w->column.bytes = (const char *)sqlite3_value_text(v);
        w->offsets[0] = 0;
        w->offsets[1] = sqlite3_value_bytes(v);
        w->column.offsets = w->offsets;
        return is == SQLITE_TEXT && w->column.bytes;
    case WEIR_BOOL:
        w->value.bit = sqlite3_value_int64(v) == 1;
        return is == SQLITE_INTEGER && sqlite3_value_int64(v) >> 1 == 0;
    default:
        w->value.i = sqlite3_value_int64(v);
        return is == SQLITE_INTEGER;
    }
}

/* Negative, 0, positive as the value of the row is less than, equal to, greater than what is wanted. */
static int compare(const struct weir_column *c, uint32_t row, const struct wanted *w)
{
    const char *s;
    size_t size;
    switch (c->type) {
    case WEIR_FLOAT:
        return (weir_number(c, row) > w->value.f) - (weir_number(c, row) < w->value.f);
    case WEIR_STRING: {
        size_t wanted = (size_t)w->offsets[1];
        s = weir_string(c, row, &size);
        int d = memcmp(s, w->column.bytes, size < wanted ? size : wanted);
        return d ? d : (size > wanted) - (size < wanted);
    }
    case WEIR_BOOL:
        return weir_bool(c, row) - w->value.bit;
    default:
        return (weir_int(c, row) > w->value.i) - (weir_int(c, row) < w->value.i);
    }
}

/* The first place in [at, n) whose value is not less, or is greater, than what is wanted. */
static uint32_t find(const struct weir_column *c, const uint32_t *order, uint32_t at,
                     uint32_t n, const struct wanted *w, int greater)
{
    while (at < n) {
        uint32_t middle = at + (n - at) / 2;
        if (weir_is_null(c, order[middle]) || compare(c, order[middle], w) < greater)
            at = middle + 1;
        else
            n = middle;
    }
    return at;
}

/* By the first of the columns that the plan names. */
static int filter_value(struct cursor *c, int column, sqlite3_value *v)
{
    struct events *e = c->events;
    const struct weir_column *in = column_of(e, column);
    struct wanted w;
    if (sqlite3_value_type(v) == SQLITE_NULL) {
        c->end = 0;
        return SQLITE_OK;
    }
    if (!want(&w, in->type, v))
        return SQLITE_OK; /* SQLite looks at all of them */
    c->order = order_of(e, column);
    if (!c->order)
        return SQLITE_NOMEM;
    c->at = find(in, c->order, 0, c->end, &w, 0);
    c->end = find(in, c->order, c->at, c->end, &w, 1);
    return SQLITE_OK;
}

/* ---- Cursors ----------------------------------------------------------------------------------- */

static int filter_trial(struct cursor *c, const char *plan, int argc,
                        sqlite3_value **argv)
{
    for (; c->n_given < argc && plan; plan = strchr(plan + 1, '=')) {
        sqlite3_value *v = sqlite3_value_dup(argv[c->n_given]);
        if (!v)
            return SQLITE_NOMEM;
        c->given_column[c->n_given] = atoi(plan + 1);
        c->given[c->n_given++] = v;
    }
    return SQLITE_OK;
}

static int open_cursor(sqlite3_vtab *table, sqlite3_vtab_cursor **ret)
{
    struct cursor *c = sqlite3_malloc(sizeof(*c));
    if (!c)
        return SQLITE_NOMEM;
    *c = (struct cursor){.events = ((struct table *)table)->events};
    *ret = &c->base;
    return SQLITE_OK;
}

static void forget(struct cursor *c)
{
    while (c->n_given)
        sqlite3_value_free(c->given[--c->n_given]);
    c->events->ctx->host->free(c->events->ctx, c->own);
    c->own = NULL;
    c->order = NULL;
}

static int close_cursor(sqlite3_vtab_cursor *cursor)
{
    forget((struct cursor *)cursor);
    sqlite3_free(cursor);
    return SQLITE_OK;
}

static int filter(sqlite3_vtab_cursor *cursor, int number, const char *plan, int argc,
                  sqlite3_value **argv)
{
    static const char digits[] = "0123456789";
    struct cursor *c = (struct cursor *)cursor;
    struct events *e = c->events;
    (void)number;
    forget(c);
    c->at = 0;
    c->end = e->rows ? (uint32_t)e->rows->n : 0;
    if (!c->end || !plan || !*plan)
        return SQLITE_OK;
    for (const char *p = plan; *(p += strcspn(p, digits)); p += strspn(p, digits))
        if (!column_of(e, atoi(p)))
            return not_kept(cursor->pVtab, atoi(p));
    if (*plan == '=')
        return e->trial ? filter_trial(c, plan, argc, argv)
                        : filter_value(c, atoi(plan + 1), argv[0]);
    if (!strpbrk(plan, ",-")) {
        c->order = order_of(e, atoi(plan));
        return c->order ? SQLITE_OK : SQLITE_NOMEM;
    }
    c->own = new_order(e);
    c->order = c->own;
    return c->own && sort(e, plan, c->own) == 0 ? SQLITE_OK : SQLITE_NOMEM;
}

/* In an order other than theirs rows are far apart: what will be read of them is on its way by then. */
static void fetch(const struct cursor *c)
{
    const struct events *e = c->events;
    if (c->end - c->at <= 2 * AHEAD)
        return;
    const uint32_t row = c->order[c->at + AHEAD], later = c->order[c->at + 2 * AHEAD];
    for (uint32_t i = 0; i < e->n_fetched; i++) {
        const struct weir_column *in = e->fetched[i];
        if (in->type == WEIR_STRING) {
            __builtin_prefetch(&in->offsets[later]);
            __builtin_prefetch(in->bytes + in->offsets[row]);
        } else {
            __builtin_prefetch((const int64_t *)in->values + row);
        }
    }
}

static int next(sqlite3_vtab_cursor *cursor)
{
    struct cursor *c = (struct cursor *)cursor;
    if (++c->at < c->end && c->order)
        fetch(c);
    return SQLITE_OK;
}

static int eof(sqlite3_vtab_cursor *cursor)
{
    const struct cursor *c = (struct cursor *)cursor;
    return c->at >= c->end;
}

static uint32_t row_of(const struct cursor *c)
{
    return c->order ? c->order[c->at] : c->at;
}

static int column(sqlite3_vtab_cursor *cursor, sqlite3_context *to, int number)
{
    const struct cursor *c = (struct cursor *)cursor;
    const struct weir_column *in = column_of(c->events, number);
    uint32_t row = row_of(c);
    size_t size;
    const char *s;
    for (int i = 0; i < c->n_given; i++)
        if (c->given_column[i] == number) {
            sqlite3_result_value(to, c->given[i]);
            return SQLITE_OK;
        }
    if (!in)
        return not_kept(cursor->pVtab, number);
    if (weir_is_null(in, row))
        return SQLITE_OK;
    switch (in->type) {
    case WEIR_FLOAT:
        sqlite3_result_double(to, weir_number(in, row));
        break;
    case WEIR_STRING:
        s = weir_string(in, row, &size);
        sqlite3_result_text(to, size ? s : "", (int)size, SQLITE_STATIC);
        break;
    case WEIR_BOOL:
        sqlite3_result_int(to, weir_bool(in, row));
        break;
    default:
        sqlite3_result_int64(to, weir_int(in, row));
    }
    return SQLITE_OK;
}

/* From 1 on, by time, then log. */
static int rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *ret)
{
    *ret = (sqlite3_int64)row_of((const struct cursor *)cursor) + 1;
    return SQLITE_OK;
}

static const sqlite3_module module = {
    .iVersion = 1,
    .xConnect = connect, /* no xCreate: the table is there by its name */
    .xDisconnect = disconnect,
    .xBestIndex = best_index,
    .xOpen = open_cursor,
    .xClose = close_cursor,
    .xFilter = filter,
    .xNext = next,
    .xEof = eof,
    .xColumn = column,
    .xRowid = rowid,
};

int events_install(struct events *e, sqlite3 *db)
{
    return sqlite3_create_module(db, "events", &module, e);
}

void events_set(struct events *e, const struct weir_rows *rows)
{
    for (uint32_t i = 0; i < e->n; i++) {
        e->ctx->host->free(e->ctx, e->by[i]);
        e->by[i] = NULL;
    }
    e->rows = rows;
    e->n_fetched = 0;
    for (uint32_t i = 0; rows && i < e->n; i++) {
        const struct weir_column *in = column_of(e, (int)i);
        if (e->reads[i] && in && in->type != WEIR_BOOL)
            e->fetched[e->n_fetched++] = in;
    }
}
