/* SPDX-License-Identifier: Apache-2.0
 *
 * The window of a pipeline: {KIND: VALUE, ...}, or none. A kind is a row of the table at the end: its keys, and
 * whether they go together.
 */
#include "base/clock.h"
#include "config/fields.h"
#include "config/sections.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define LONGEST      (36525 * DAY_US) /* a hundred years */
#define SHORTEST     1000
#define PANES_MAX    10000 /* of a window: so many states are merged for one result */
#define AT(member)   offsetof(struct config_window, member)

const char *const config_window_word[CONFIG_WINDOW_KINDS] = {
    [CONFIG_TUMBLING] = "tumbling", [CONFIG_HOPPING] = "hopping",
    [CONFIG_SESSION] = "session",   [CONFIG_COUNT] = "count",
    [CONFIG_GLOBAL] = "global",     [CONFIG_UNTIL] = "until",
    [CONFIG_NONE] = "none",
};

/* ---- tumbling ---------------------------------------------------------------------------------- */

static int read_zone(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_window *w = target;
    (void)ctx;
    w->zone_node = n;
    return fields_text(n, &w->zone, error);
}

struct config_span config_window_span(const struct config_window *w, size_t i)
{
    return i ? (struct config_span){.us = w->coarse_us[i - 1],
                                    .days = w->coarse_days[i - 1],
                                    .months = w->coarse_months[i - 1]}
             : (struct config_span){
                   .us = w->size_us, .days = w->days, .months = w->months};
}

void config_window_size(const struct config_window *w, size_t i,
                        char ret[CONFIG_SIZE_MAX])
{
    static_assert(CLOCK_TEXT_MAX <= CONFIG_SIZE_MAX, "a duration fits");
    const struct config_span s = config_window_span(w, i);
    if (s.months)
        snprintf(ret, CONFIG_SIZE_MAX, "%umo", s.months);
    else
        clock_format_duration(s.days ? s.days * DAY_US : s.us, ret);
}

/* Of a zone's calendar; false: it is none. */
static bool read_calendar_size(const struct node *n, struct config_span *ret)
{
    static const struct {
        const char *text;
        unsigned days, months;
    } size[] = {{"1d", 1, 0},  {"24h", 1, 0}, {"1w", 7, 0},  {"7d", 7, 0},
                {"1mo", 0, 1}, {"3mo", 0, 3}, {"6mo", 0, 6}, {"12mo", 0, 12}};
    for (size_t i = 0; n->kind == NODE_SCALAR && i < COUNT(size); i++) {
        if (strcmp(n->text, size[i].text) != 0)
            continue;
        *ret = (struct config_span){.days = size[i].days, .months = size[i].months};
        return true;
    }
    return false;
}

static int read_size(const struct node *n, int64_t *ret_us, struct error *error)
{
    size_t size = n->kind == NODE_SCALAR ? strlen(n->text) : 0;
    if (size > 2 && strcmp(n->text + size - 2, "mo") == 0)
        return node_error(n, error,
                          "months are those of a zone: {tumbling: %s, zone: "
                          "Europe/Berlin}, or 'zone: UTC'",
                          n->text);
    int64_t us;
    int r = node_duration(n, &us, error);
    if (r == 0 && (us < SHORTEST || us > LONGEST))
        return node_expected(n, "a duration from 1ms to 36525d", error);
    if (r == 0)
        *ret_us = us;
    return r;
}

static int read_span(const struct node *n, bool zone, struct config_span *ret,
                     struct error *error)
{
    *ret = (struct config_span){0};
    if (zone && read_calendar_size(n, ret))
        return 0;
    return read_size(n, &ret->us, error);
}

/* Are windows of this size made of those of the finer one? With a zone shorter ones begin with the day. */
static bool holds(const struct config_span *s, const struct config_span *finer)
{
    if (s->us)
        return finer->us && s->us > finer->us && s->us % finer->us == 0;
    if (finer->us)
        return DAY_US % finer->us == 0;
    if (finer->days)
        return finer->days == 1 && (s->months || s->days > 1);
    return s->months > finer->months && s->months % finer->months == 0;
}

static void set_span(struct config_window *w, size_t i, const struct config_span *s)
{
    *(i ? &w->coarse_us[i - 1] : &w->size_us) = s->us;
    *(i ? &w->coarse_days[i - 1] : &w->days) = s->days;
    *(i ? &w->coarse_months[i - 1] : &w->months) = s->months;
    w->n_coarse = i;
}

/* One, or several of which each is a multiple of the one before. */
static int read_tumbling(const struct node *n, void *target, void *ctx,
                         struct error *error)
{
    struct config_window *w = target;
    (void)ctx;
    struct config_span s, finer = {0};
    if (n->kind != NODE_LIST && !w->zone)
        return read_size(n, &w->size_us, error);
    if (n->kind != NODE_LIST) {
        if (!read_calendar_size(n, &s))
            return node_expected(n, "1d, 1w, 1mo, 3mo, 6mo or 12mo, as there is a zone",
                                 error);
        set_span(w, 0, &s);
        return 0;
    }
    if (n->n < 2 || n->n > 1 + CONFIG_COARSE_MAX)
        return node_error(n, error, "a list has 2 to %d sizes, not %zu",
                          1 + CONFIG_COARSE_MAX, n->n);
    for (size_t i = 0; i < n->n; i++, finer = s) {
        int r = read_span(&n->item[i], w->zone, &s, error);
        if (r < 0)
            return r;
        if (w->zone && s.us && DAY_US % s.us)
            return node_error(&n->item[i], error,
                              "with a zone windows begin with the day, which is no "
                              "multiple of this");
        if (i && !holds(&s, &finer))
            return node_error(&n->item[i], error,
                              "each size must be a multiple of the one before: its "
                              "windows are made of theirs");
        set_span(w, i, &s);
    }
    return 0;
}

static int check_offset(const struct config_window *w, int64_t below_us,
                        const char *what, const struct node *map, struct error *error)
{
    if (w->offset_us < below_us)
        return 0;
    return node_error(node_get(map, "offset"), error, "the offset must be less than %s",
                      what);
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Of the longest that has this size. */
static int64_t length_of(struct config_span s)
{
    return s.us ? s.us : (s.days ? s.days : 31 * s.months) * DAY_US;
}

static int check_tumbling(struct config_window *w, const struct node *map,
                          struct error *error)
{
    const struct node *size = node_get(map, "tumbling");
    if (w->zone && w->offset_us % SECOND_US)
        return node_error(node_get(map, "offset"), error,
                          "the offset is in whole seconds, as there is a zone");
    /* Ids of all parts of a window lie within the shortest that follows it (window/window.c). Where a day is not one of 24
     * hours its last window may be shorter, but not than what divides it and a second. */
    int64_t shortest_us =
        w->zone && w->size_us ? common_divisor(w->size_us, SECOND_US) : w->size_us;
    int64_t most =
        w->size_us && shortest_us / 8 - 1 < PANES_MAX ? shortest_us / 8 - 1 : PANES_MAX;
    for (size_t i = 0; i < w->n_coarse; i++) {
        int64_t finer_us = length_of(config_window_span(w, i));
        if (length_of(config_window_span(w, i + 1)) / finer_us > most)
            return node_error(&size->item[1 + i], error,
                              "a window would be made of more than %lld of the size "
                              "before; put one in between",
                              (long long)most);
    }
    struct config_span last = config_window_span(w, w->n_coarse);
    int64_t below_us = last.months ? 28 * DAY_US : length_of(last);
    if (w->zone && below_us < DAY_US)
        below_us = DAY_US;
    return check_offset(w, below_us, "the window itself", map, error);
}

static const struct field tumbling_fields[] = {
    {"zone", FIELD_CALL, .read = read_zone,
     .schema = FIELD_SCHEMA_TEXT}, /* before the size, which depends on it */
    {"tumbling", FIELD_CALL, .required = true, .read = read_tumbling,
     .schema = "{\"$ref\":\"#/$defs/"
               "duration\"},{\"pattern\":\"^[0-9]+mo$\",\"type\":\"string\"},"
               "{\"type\":\"array\",\"minItems\":2,\"items\":{\"anyOf\":[{\"$ref\":\"#/"
               "$defs/"
               "duration\"},{\"pattern\":\"^[0-9]+mo$\",\"type\":\"string\"}]}}"},
    {"offset", FIELD_DURATION, .offset = AT(offset_us), .min = 0, .max = LONGEST},
};

/* ---- hopping ----------------------------------------------------------------------------------- */

static int check_hopping(struct config_window *w, const struct node *map,
                         struct error *error)
{
    const struct node *by = node_get(map, "by");
    int64_t size_us = w->size_us;
    if (w->by_us > size_us)
        return node_error(by, error,
                          "'by' is longer than the window: events in between would be "
                          "in none");
    if (size_us / common_divisor(size_us, w->by_us) > PANES_MAX)
        return node_error(by, error,
                          "a window would be merged from more than %d parts, of the "
                          "longest duration that divides both it and 'by'",
                          PANES_MAX);
    return check_offset(w, w->by_us, "'by'", map, error);
}

static const struct field hopping_fields[] = {
    {"hopping", FIELD_DURATION, .required = true, .offset = AT(size_us),
     .min = SHORTEST, .max = LONGEST},
    {"by", FIELD_DURATION, .required = true, .offset = AT(by_us), .min = SHORTEST,
     .max = LONGEST},
    {"offset", FIELD_DURATION, .offset = AT(offset_us), .min = 0, .max = LONGEST},
};

/* ---- session, count, global, until --------------------------------------------------------------- */

static int check_session(struct config_window *w, const struct node *map,
                         struct error *error)
{
    return w->max_us >= w->size_us
               ? 0
               : node_error(node_get(map, "max"), error,
                            "'max' is shorter than the gap that ends a session");
}

static const struct field session_fields[] = {
    {"session", FIELD_DURATION, .required = true, .offset = AT(size_us),
     .min = SHORTEST, .max = LONGEST},
    {"max", FIELD_DURATION, .offset = AT(max_us), .min = SHORTEST, .max = LONGEST,
     .init = INT64_MAX, .never = "none"},
};

static int check_count(struct config_window *w, const struct node *map,
                       struct error *error)
{
    if (!w->by_rows)
        w->by_rows = w->rows;
    if (w->running && w->by_rows != w->rows)
        return node_error(node_get(map, "by"), error,
                          "with 'running' no window overlaps another: a result is of "
                          "all events of the key so far");
    if (w->by_rows > w->rows)
        return node_error(node_get(map, "by"), error,
                          "'by' is more than the window has: events in between would "
                          "be in none");
    if (w->rows / (uint64_t)common_divisor((int64_t)w->rows, (int64_t)w->by_rows) >
        PANES_MAX)
        return node_error(node_get(map, "by"), error,
                          "a window would be merged from more than %d parts, of the "
                          "largest number that divides both it and 'by'",
                          PANES_MAX);
    return 0;
}

static const struct field count_fields[] = {
    {"count", FIELD_COUNT, .required = true, .offset = AT(rows), .min = 1,
     .max = 1000000000},
    {"by", FIELD_COUNT, .offset = AT(by_rows), .min = 1, .max = 1000000000, .init = 0},
    {"running", FIELD_BOOL, .offset = AT(running), .min = 0, .max = 1},
    {"expire", FIELD_DURATION, .offset = AT(expire_us), .min = SHORTEST, .max = LONGEST,
     .init = INT64_MAX, .never = "never"},
};

static const struct field global_fields[] = {
    {"global", FIELD_DURATION, .required = true, .offset = AT(size_us), .min = SHORTEST,
     .max = LONGEST},
    {"expire", FIELD_DURATION, .offset = AT(expire_us), .min = SHORTEST, .max = LONGEST,
     .init = INT64_MAX, .never = "never"},
};

static int read_until(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    struct config_window *w = target;
    const struct schema *s = ctx;
    const char *name, *names[SCHEMA_COLUMNS_MAX];
    int r = node_text(n, &name, error);
    if (r < 0 || !s) /* the stream has faults, which are told already */
        return r;
    int column = schema_find(s, name);
    if (column < 0) {
        for (size_t i = 0; i < s->n; i++)
            names[i] = s->column[i].name;
        node_error(n, error, "the stream has no field '%s'", name);
        node_suggest(error, name, names, s->n);
        return -EINVAL;
    }
    if (s->column[column].type != WEIR_TIME && s->column[column].type != WEIR_INT)
        return node_error(n, error,
                          "'%s' is no time, at which a window could close, nor an int "
                          "in the unit of the stream's time: it is of type %s",
                          name, schema_type_name(s->column[column].type));
    w->column = (size_t)column;
    return 0;
}

static const struct field until_fields[] = {
    {"until", FIELD_CALL, .required = true, .read = read_until,
     .schema = FIELD_SCHEMA_TEXT},
};

/* ---- All of them --------------------------------------------------------------------------------- */

static const struct kind {
    const struct field *fields;
    size_t n;
    int (*check)(struct config_window *w, const struct node *map, struct error *error);
} kinds[CONFIG_WINDOW_KINDS] = {
    [CONFIG_TUMBLING] = {tumbling_fields, COUNT(tumbling_fields), check_tumbling},
    [CONFIG_HOPPING] = {hopping_fields, COUNT(hopping_fields), check_hopping},
    [CONFIG_SESSION] = {session_fields, COUNT(session_fields), check_session},
    [CONFIG_COUNT] = {count_fields, COUNT(count_fields), check_count},
    [CONFIG_GLOBAL] = {global_fields, COUNT(global_fields), NULL},
    [CONFIG_UNTIL] = {until_fields, COUNT(until_fields), NULL},
    [CONFIG_NONE] = {.fields = NULL}, /* no mapping */
};

#define WHAT "a window such as {tumbling: 10s}"

/* The kind whose word is a key of the map; CONFIG_NONE: there is none. */
static enum config_window_kind kind_of(const struct node *map)
{
    size_t k = 0;
    while (k < CONFIG_NONE && !node_get(map, config_window_word[k]))
        k++;
    return (enum config_window_kind)k;
}

/* Of the kind whose word stands alone; else of any. */
static const char *example_of(const struct node *n)
{
    static const char *const example[CONFIG_NONE] = {
        [CONFIG_TUMBLING] = WHAT,
        [CONFIG_HOPPING] = "a window such as {hopping: 1m, by: 10s}",
        [CONFIG_SESSION] = "a window such as {session: 30m}",
        [CONFIG_COUNT] = "a window such as {count: 100}",
        [CONFIG_GLOBAL] = "a window such as {global: 10s, expire: 7d}",
        [CONFIG_UNTIL] = "a window such as {until: ends_at}",
    };
    for (size_t k = 0; n->kind == NODE_SCALAR && k < CONFIG_NONE; k++)
        if (strcmp(n->text, config_window_word[k]) == 0)
            return example[k];
    return WHAT;
}

static int no_kind(const struct node *map, struct error *error)
{
    if (!map->n)
        return node_expected(map, WHAT, error);
    node_error(&map->key[0], error, "'%s' is no kind of window, and none is named",
               map->key[0].text);
    node_suggest(error, map->key[0].text, config_window_word, CONFIG_NONE);
    return -EINVAL;
}

int window_section(const struct node *n, const struct schema *schema,
                   struct config_window *ret, struct error *error)
{
    char what[64];
    ret->node = n;
    if (n->kind == NODE_SCALAR && strcmp(n->text, "none") == 0) {
        ret->kind = CONFIG_NONE;
        return 0;
    }
    if (n->kind != NODE_MAP)
        return node_expected(n, example_of(n), error);
    ret->kind = kind_of(n);
    if (ret->kind == CONFIG_NONE)
        return no_kind(n, error);
    const struct kind *k = &kinds[ret->kind];
    snprintf(what, sizeof what, "a window by '%s'", config_window_word[ret->kind]);
    int r =
        fields_read(k->fields, k->n, n, what, ret, (void *)(uintptr_t)schema, error);
    if (r == 0 && k->check)
        r = k->check(ret, n, error);
    return r;
}

void window_section_schema(struct buffer *to)
{
    const char *before = "";
    buffer_puts(to, "{\"anyOf\":[");
    for (size_t i = 0; i < CONFIG_WINDOW_KINDS; i++) {
        buffer_puts(to, before);
        before = ",";
        if (kinds[i].fields)
            fields_schema(kinds[i].fields, kinds[i].n, to);
        else
            buffer_printf(to, "{\"const\":\"%s\"}", config_window_word[i]);
    }
    buffer_puts(to, "]}");
}
