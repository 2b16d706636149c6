/* SPDX-License-Identifier: Apache-2.0
 *
 * A look as lines: tables whose columns go, the least important first, until the rest fits.
 */
#include "base/utf8.h"
#include "top.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 12
#define LINE_ROOM   4096
#define NAME_LEAST  8

enum form {
    FORM_NAME,
    FORM_OF,
    FORM_STATE,
    FORM_COUNT,
    FORM_RATE,
    FORM_BYTES,
    FORM_BYTE_RATE,
    FORM_SECONDS,
    FORM_WAIT, /* of an entry, on average */
    FORM_PERCENT
};

struct column {
    const char *title;
    enum form form;
    enum top_count count;
    unsigned width;
    unsigned rank; /* 0: stays; the highest goes first */
};

struct table {
    size_t n;
    struct column column[COLUMNS_MAX];
};

static const struct table streams_table = {
    8,
    {{"STREAM", FORM_NAME, 0, 0, 0},
     {"EVENTS/S", FORM_RATE, TOP_EVENTS, 9, 0},
     {"BYTES/S", FORM_BYTE_RATE, TOP_BYTES, 8, 4},
     {"QUEUED", FORM_COUNT, TOP_QUEUED, 7, 1},
     {"REJECTED/S", FORM_RATE, TOP_REJECTED, 10, 5},
     {"REJECTED", FORM_COUNT, TOP_REJECTED, 8, 2},
     {"REFUSED", FORM_COUNT, TOP_REFUSED, 8, 3},
     {"EVENTS", FORM_COUNT, TOP_EVENTS, 8, 6}}};

static const struct table pipelines_table = {12,
                                             {{"PIPELINE", FORM_NAME, 0, 0, 0},
                                              {"STATE", FORM_STATE, 0, 8, 0},
                                              {"LAG", FORM_SECONDS, TOP_LAG, 6, 0},
                                              {"EVENTS/S", FORM_RATE, TOP_EVENTS, 9, 1},
                                              {"ROWS/S", FORM_RATE, TOP_ROWS, 7, 4},
                                              {"CPU%", FORM_PERCENT, TOP_CPU, 6, 2},
                                              {"QUEUED", FORM_COUNT, TOP_QUEUED, 7, 3},
                                              {"WAIT", FORM_WAIT, TOP_WAIT, 7, 9},
                                              {"LATE", FORM_COUNT, TOP_REJECTED, 7, 5},
                                              {"GROUPS", FORM_COUNT, TOP_GROUPS, 7, 6},
                                              {"MEMORY", FORM_BYTES, TOP_BYTES, 7, 7},
                                              {"FROM", FORM_OF, 0, 12, 8}}};

static const struct table analyzers_table = {
    7,
    {{"ANALYZER", FORM_NAME, 0, 0, 0},
     {"CPU%", FORM_PERCENT, TOP_CPU, 6, 0},
     {"EVENTS/S", FORM_RATE, TOP_EVENTS, 9, 1},
     {"MEMORY", FORM_BYTES, TOP_BYTES, 7, 2},
     {"RESTARTS", FORM_COUNT, TOP_RESTARTS, 8, 3},
     {"WAIT", FORM_WAIT, TOP_WAIT, 7, 4},
     {"PIPELINE", FORM_OF, 0, 24, 0}}};

struct writer {
    const struct top_form *form;
    void (*line)(void *ctx, enum top_style style, const char *text);
    void *ctx;
};

/* ---- Text ---- */

/* Control characters, also those that UTF-8 writes in two bytes (U+0080 to U+009F), and what is no UTF-8 become '?'; cut at
 * `width` characters, unless it is 0. */
static void say(const struct writer *w, enum top_style style, const char *text)
{
    char clean[LINE_ROOM + 1];
    size_t size = 0, n = 0, all = strlen(text);
    for (size_t i = 0; i < all && (!w->form->width || n < w->form->width); n++) {
        size_t length = utf8_length(text + i, all - i);
        unsigned char c = (unsigned char)text[i], d = (unsigned char)text[i + 1];
        bool bad = !length || c < 0x20 || c == 0x7f || (c == 0xc2 && d < 0xa0);
        length = length ? length : 1;
        if (size + length > LINE_ROOM)
            break;
        if (bad)
            clean[size++] = '?';
        else
            memcpy(clean + size, text + i, length), size += length;
        i += length;
    }
    while (size && clean[size - 1] == ' ')
        size--;
    clean[size] = 0;
    w->line(w->ctx, style, clean);
}

/* 12345678 as 12.3M; of bytes 11.8M. */
static void put_short(double v, double thousand, char *to, size_t size)
{
    static const char unit[] = " kMGTPE";
    size_t u = 0;
    for (; v >= 999.5 && unit[u + 1]; u++)
        v /= thousand;
    if (u)
        snprintf(to, size, v < 99.95 ? "%.1f%c" : "%.0f%c", v, unit[u]);
    else
        snprintf(to, size, v < 9.95 && v != floor(v) ? "%.1f" : "%.0f", v);
}

static void put_seconds(double s, char *to, size_t size)
{
    double a = fabs(s);
    if (a < 10)
        snprintf(to, size, "%.1fs", s);
    else if (a < 120)
        snprintf(to, size, "%.0fs", s);
    else if (a < 7200)
        snprintf(to, size, "%.0fm", s / 60);
    else if (a < 2 * 86400)
        snprintf(to, size, "%.0fh", s / 3600);
    else
        snprintf(to, size, "%.0fd", s / 86400);
}

/* The text of a cell; in plain numbers for scripts. */
static const char *cell(const struct column *c, const struct top_row *r, bool plain,
                        char *to, size_t size)
{
    bool rate =
        c->form == FORM_RATE || c->form == FORM_BYTE_RATE || c->form == FORM_PERCENT;
    double v = rate ? r->rate[c->count] : r->count[c->count];
    if (c->form == FORM_WAIT) /* none came: none waited */
        v = r->rate[TOP_ENTRIES] > 0      ? r->rate[TOP_WAIT] / r->rate[TOP_ENTRIES]
            : isnan(r->rate[TOP_ENTRIES]) ? NAN
                                          : 0;
    if (c->form == FORM_NAME)
        return r->name;
    if (c->form == FORM_OF)
        return r->of[0] ? r->of : "-";
    if (c->form == FORM_STATE)
        return r->state[0] ? r->state : "-";
    if (isnan(v))
        return "-";
    if (c->form == FORM_PERCENT)
        snprintf(to, size, "%.1f", 100 * v);
    else if (plain)
        snprintf(to, size,
                 rate                      ? "%.1f"
                 : c->form == FORM_WAIT    ? "%.6f"
                 : c->form == FORM_SECONDS ? "%.3f"
                                           : "%.0f",
                 v);
    else if (c->form == FORM_WAIT && v < 1)
        snprintf(to, size, "%.1fms", 1000 * v);
    else if (c->form == FORM_SECONDS || c->form == FORM_WAIT)
        put_seconds(v, to, size);
    else
        put_short(v, c->form == FORM_COUNT || c->form == FORM_RATE ? 1000 : 1024, to,
                  size);
    return to;
}

static bool is_text(const struct column *c)
{
    return c->form == FORM_NAME || c->form == FORM_OF || c->form == FORM_STATE;
}

/* ---- Tables ---- */

struct layout {
    size_t n;
    const struct column *column[COLUMNS_MAX];
    int width[COLUMNS_MAX];
};

static void lay_out(const struct table *t, const struct top_rows *rows,
                    const struct top_form *form, struct layout *l)
{
    unsigned name = (unsigned)strlen(t->column[0].title), total = 0, keep = COLUMNS_MAX;
    for (size_t i = 0; i < rows->n; i++)
        name = strlen(rows->row[i].name) > name ? (unsigned)strlen(rows->row[i].name)
                                                : name;
    if (form->width && name > form->width / 3)
        name = form->width / 3 > NAME_LEAST ? form->width / 3 : NAME_LEAST;
    do { /* only those of a rank below `keep` */
        total = name;
        for (size_t i = 1; i < t->n; i++)
            total += t->column[i].rank < keep ? t->column[i].width + 2 : 0;
    } while (form->width && total > form->width && --keep > 0);
    l->n = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (t->column[i].rank && t->column[i].rank >= keep)
            continue;
        l->column[l->n] = &t->column[i];
        l->width[l->n++] = (int)(i ? t->column[i].width : name);
    }
}

/* Appends one cell, cut at its width or not; names are ASCII. */
static int put_cell(char *line, int at, int place, int width, bool left, bool cut,
                    const char *text)
{
    int n = snprintf(line + at, (size_t)(LINE_ROOM - at), "%s%*.*s", place ? "  " : "",
                     left ? -width : width, cut ? width : LINE_ROOM, text);
    return n < LINE_ROOM - at ? at + n : LINE_ROOM - 1;
}

static bool has_state(const struct layout *l)
{
    return l->n > 1 && l->column[1]->form == FORM_STATE;
}

static void put_row(const struct writer *w, const struct layout *l,
                    const struct top_row *r)
{
    char line[LINE_ROOM] = "", text[64];
    int at = 0;
    bool plain = !w->form->width;
    for (size_t i = 0; i < l->n; i++) {
        const struct column *c = l->column[i];
        at = put_cell(line, at, (int)i, l->width[i], is_text(c), !plain && is_text(c),
                      r ? cell(c, r, plain, text, sizeof(text)) : c->title);
    }
    if (plain && has_state(l)) /* it is the last, and may be long */
        snprintf(line + at, (size_t)(LINE_ROOM - at), "  %s",
                 !r            ? "ERROR"
                 : r->error[0] ? r->error
                               : "-");
    enum top_style style = TOP_PLAIN;
    if (!r)
        style = TOP_TITLE;
    else if (!strcmp(r->state, "failed"))
        style = TOP_BAD;
    else if (r->error[0])
        style = TOP_FAIR;
    say(w, style, line);
    if (plain || !r || !r->error[0])
        return;
    snprintf(line, sizeof(line), "  %s", r->error);
    say(w, style, line);
}

static int compare(const void *a, const void *b, void *form)
{
    const struct top_form *f = form;
    const struct top_row *x = *(struct top_row *const *)a;
    const struct top_row *y = *(struct top_row *const *)b;
    int by = 0;
    if (f->sort >= 0) { /* by what grows, its rate; what is not known last */
        bool grows = f->sort == TOP_EVENTS || f->sort == TOP_ROWS || f->sort == TOP_CPU;
        double v = grows ? x->rate[f->sort] : x->count[f->sort];
        double u = grows ? y->rate[f->sort] : y->count[f->sort];
        if (isnan(v) || isnan(u))
            return isnan(v) - isnan(u) ? isnan(v) - isnan(u) : strcmp(x->name, y->name);
        by = (v < u) - (v > u);
    }
    if (!by)
        by = strcmp(x->name, y->name);
    return f->last_first ? -by : by;
}

static void put_table(const struct writer *w, const struct table *t,
                      const struct top_rows *rows)
{
    struct layout l;
    struct top_row **sorted = calloc(rows->n + 1, sizeof(struct top_row *));
    struct top_form form = *w->form;
    lay_out(t, rows, &form, &l);
    say(w, TOP_PLAIN, "");
    put_row(w, &l, NULL);
    for (size_t i = 0; sorted && i < rows->n; i++)
        sorted[i] = &rows->row[i];
    if (sorted)
        qsort_r(sorted, rows->n, sizeof(struct top_row *), compare, &form);
    for (size_t i = 0; i < rows->n; i++)
        put_row(w, &l, sorted ? sorted[i] : &rows->row[i]);
    free(sorted);
}

/* "0LINE\n" or "1LINE\n"; the first of each table is its title. */
static void put_nodes(const struct writer *w, const struct buffer *lines)
{
    bool title = true;
    const char *end = lines->data + lines->size;
    say(w, TOP_PLAIN, "");
    for (const char *at = lines->data, *next; at < end; at = next + 1) {
        char line[LINE_ROOM];
        next = memchr(at, '\n', (size_t)(end - at));
        snprintf(line, sizeof(line), "%.*s", (int)(next - at - 1), at + 1);
        say(w, title ? TOP_TITLE : *at == '1' ? TOP_BAD : TOP_PLAIN, line);
        title = !line[0];
    }
}

/* ---- */

static void put_head(const struct writer *w, const struct top_look *l,
                     const char *where)
{
    char line[LINE_ROOM], up[16] = "-", memory[16] = "-", commit[16] = "-",
                          cpu[16] = "-";
    if (!isnan(l->started_s))
        put_seconds(fmax((double)time(NULL) - l->started_s, 0), up, sizeof(up));
    if (!isnan(l->server.count[TOP_BYTES]))
        put_short(l->server.count[TOP_BYTES], 1024, memory, sizeof(memory));
    if (!isnan(l->commit_age_s))
        put_seconds(l->commit_age_s, commit, sizeof(commit));
    if (!isnan(l->server.rate[TOP_CPU]))
        snprintf(cpu, sizeof(cpu), "%.1f", 100 * l->server.rate[TOP_CPU]);
    snprintf(line, sizeof(line),
             "weir %s  up %s  cpu %s%%  memory %s  last commit %s  %s", l->version, up,
             cpu, memory, commit, where);
    say(w, TOP_PLAIN, line);
    snprintf(line, sizeof(line), "%s%s", l->ready[0] ? "not ready: " : "ready",
             l->ready);
    say(w, l->ready[0] ? TOP_BAD : TOP_PLAIN, line);
}

void top_lines(const struct top_look *l, const struct top_form *form, const char *where,
               void (*line)(void *ctx, enum top_style style, const char *text),
               void *ctx)
{
    const struct writer w = {.form = form, .line = line, .ctx = ctx};
    put_head(&w, l, where);
    if (l->nodes.size) {
        put_nodes(&w, &l->nodes);
        return;
    }
    put_table(&w, &streams_table, &l->streams);
    put_table(&w, &pipelines_table, &l->pipelines);
    if (form->analyzers)
        put_table(&w, &analyzers_table, &l->analyzers);
}
