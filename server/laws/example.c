/* SPDX-License-Identifier: Apache-2.0 */
#include "laws/example.h"

#include "laws/frame.h"
#include "laws/texts.h"
#include <string.h>
#include <unistd.h>

#include <ctype.h>
#include <inttypes.h>
#include <math.h>

/* Nothing in it may end the comment that it stands in. */
static void put_comment(FILE *to, const char *text)
{
    for (; *text; text++)
        fputc((*text == '*' && text[1] == '/') || *text == '\n' ? ' ' : *text, to);
}

static void put_string(FILE *to, const char *s, size_t size)
{
    fputc('"', to);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\' || c == '?')
            fprintf(to, "\\%c", c);
        else if (c >= ' ' && c < 127)
            fputc(c, to);
        else
            fprintf(to, "\\%03o", c);
        if (i % 2000 == 1999)
            fputs("\"\n    \"", to);
    }
    fputc('"', to);
}

static void put_int(FILE *to, int64_t v)
{
    if (v == INT64_MIN)
        fputs("INT64_MIN", to);
    else
        fprintf(to, "%" PRId64, v);
}

static void put_float(FILE *to, double v)
{
    if (isnan(v))
        fputs("NAN", to);
    else if (isinf(v))
        fputs(v < 0 ? "-INFINITY" : "INFINITY", to);
    else
        fprintf(to, "%a /* %g */", v, v);
}

/* ---- Columns ----------------------------------------------------------------------------------- */

static void put_bits(FILE *to, const char *name, size_t k, const uint8_t *bits,
                     size_t n)
{
    fprintf(to, "static const uint8_t %s%zu[] = {", name, k);
    for (size_t i = 0; i < (n + 63) / 64 * 8 + 1; i++)
        fprintf(to, "%s0x%02x", i ? ", " : "", i < (n + 63) / 64 * 8 ? bits[i] : 0);
    fputs("};\n", to);
}

static void put_offsets(FILE *to, size_t k, const struct weir_column *c, size_t n)
{
    size_t strings = c->dictionary_size ? (size_t)c->dictionary_size : n;
    fprintf(to, "static const int32_t offsets%zu[] = {", k);
    for (size_t i = 0; i <= strings; i++)
        fprintf(to, "%s%d", i ? ", " : "", c->offsets[i]);
    fprintf(to, "};\nstatic const char bytes%zu[] =\n    ", k);
    put_string(to, c->bytes, (size_t)c->offsets[strings]);
    fputs(";\n", to);
}

static void put_values(FILE *to, size_t k, const struct weir_column *c, size_t n)
{
    bool codes = c->type == WEIR_STRING;
    if (codes && !c->dictionary_size)
        return;
    fprintf(to, "static const %s values%zu[] = {",
            codes                   ? "int32_t"
            : c->type == WEIR_FLOAT ? "double"
                                    : "int64_t",
            k);
    for (size_t i = 0; i < n; i++) {
        fputs(i ? ", " : "", to);
        if (codes)
            fprintf(to, "%d", ((const int32_t *)c->values)[i]);
        else if (c->type == WEIR_FLOAT)
            put_float(to, ((const double *)c->values)[i]);
        else
            put_int(to, ((const int64_t *)c->values)[i]);
    }
    fputs(n ? "};\n" : "0};\n", to);
}

static void put_column(FILE *to, size_t k, const struct weir_column *c, size_t n)
{
    if (c->validity)
        put_bits(to, "validity", k, c->validity, n);
    if (c->type == WEIR_BOOL)
        put_bits(to, "values", k, c->values, n);
    else
        put_values(to, k, c, n);
    if (c->type == WEIR_STRING)
        put_offsets(to, k, c, n);
    fprintf(to, "static struct weir_column column%zu = {.type = %u", k, c->type);
    if (c->validity)
        fprintf(to, ", .validity = validity%zu, .null_count = %" PRId64, k,
                c->null_count);
    if (c->type != WEIR_STRING || c->dictionary_size)
        fprintf(to, ", .values = values%zu", k);
    if (c->type == WEIR_STRING)
        fprintf(
            to,
            ", .offsets = offsets%zu, .bytes = bytes%zu, .dictionary_size = %" PRId64,
            k, k, c->dictionary_size);
    fputs("};\n", to);
}

/* All rows of the columns, strangers too. */
static size_t rows_of(const struct frame *f)
{
    const struct fence *g = &f->fence[0]; /* the times come first */
    return (size_t)(g->map + g->map_size - g->data) / 8 -
           (size_t)sysconf(_SC_PAGESIZE) / 8;
}

/* The tables `one` and `other`: they differ where the layout does. */
static void put_table(FILE *to, const char *name, size_t first, const struct example *e,
                      const struct frame *f)
{
    size_t n = rows_of(f);
    fprintf(to, "static const int64_t time_%s[] = {", name);
    for (size_t i = 0; i < n; i++)
        fprintf(to, "%s%" PRId64, i ? ", " : "", f->time[i]);
    fprintf(to, "%s};\nstatic const uint32_t row_%s[] = {", n ? "" : "0", name);
    for (size_t i = 0; i < f->n; i++)
        fprintf(to, "%s%u", i ? ", " : "", f->row[i]);
    fputs(f->n ? "};\n" : "0};\n", to);
    for (size_t k = 0; k < e->rows->n_inputs; k++)
        if (f->in[k])
            put_column(to, first + k, &f->column[k], n);
    fprintf(to, "static const struct weir_column *const in_%s[] = {", name);
    for (size_t k = 0; k < e->rows->n_inputs; k++)
        fprintf(to, f->in[k] ? "&column%zu, " : "NULL, ", first + k);
    fprintf(to,
            "NULL};\nstatic const struct table %s = {%zu, time_%s, row_%s, in_%s};\n\n",
            name, f->n, name, name, name);
}

/* ---- Parameters -------------------------------------------------------------------------------- */

static void put_text_param(FILE *to, const struct weir_param *p, const char *text)
{
    if (!text)
        return;
    fprintf(to, "    *(const char **)member(\"%s\") = ", p->name);
    put_string(to, text, strlen(text));
    fputs(";\n", to);
}

static void put_columns_param(FILE *to, const struct weir_param *p,
                              const struct weir_columns *c)
{
    fprintf(to, "    static const char *const names_%s[] = {", p->name);
    for (uint32_t i = 0; i < c->n; i++) {
        put_string(to, c->name[i], strlen(c->name[i]));
        fputs(", ", to);
    }
    fprintf(to,
            "NULL};\n    *(struct weir_columns *)member(\"%s\") = (struct "
            "weir_columns){%u, %u, names_%s};\n",
            p->name, c->first, c->n, p->name);
}

static void put_numbers_param(FILE *to, const struct weir_param *p,
                              const struct weir_numbers *n)
{
    fprintf(to, "    static const double numbers_%s[] = {", p->name);
    for (size_t i = 0; i < n->n; i++) {
        put_float(to, n->value[i]);
        fputs(", ", to);
    }
    fprintf(to,
            "0};\n    *(struct weir_numbers *)member(\"%s\") = (struct "
            "weir_numbers){%zu, numbers_%s};\n",
            p->name, n->n, p->name);
}

static void put_param(FILE *to, const struct weir_param *p, const void *config)
{
    const void *member = (const char *)config + p->offset;
    switch (p->type) {
    case WEIR_PARAM_INT:
        fprintf(to, "    *(int64_t *)member(\"%s\") = ", p->name);
        put_int(to, *(const int64_t *)member);
        fputs(";\n", to);
        break;
    case WEIR_PARAM_FLOAT:
        fprintf(to, "    *(double *)member(\"%s\") = ", p->name);
        put_float(to, *(const double *)member);
        fputs(";\n", to);
        break;
    case WEIR_PARAM_BOOL:
    case WEIR_PARAM_CHOICE:
    case WEIR_PARAM_SET:
        fprintf(to, "    *(uint32_t *)member(\"%s\") = 0x%x;\n", p->name,
                *(const uint32_t *)member);
        break;
    case WEIR_PARAM_COLUMNS:
        put_columns_param(to, p, member);
        break;
    case WEIR_PARAM_NUMBERS:
        put_numbers_param(to, p, member);
        break;
    default:
        put_text_param(to, p, *(const char *const *)member);
    }
}

/* ---- Steps ------------------------------------------------------------------------------------- */

static void put_step(FILE *to, const struct step *s, const char *table,
                     const char *result)
{
    switch (s->kind) {
    case STEP_NEW:
        fprintf(to, "    new_state(%u, %d);\n", s->s, s->other);
        break;
    case STEP_FOLD:
        fprintf(to, "    fold(%u, &%s, %u, %u, %u, %d);\n", s->s, table, s->first,
                s->by, s->n, s->other);
        break;
    case STEP_DEAL:
        fprintf(to, "    deal(%u, &%s, %u);\n", s->s, table, s->n);
        break;
    case STEP_RETRACT:
        fprintf(to, "    take_out(%u, &%s, %u, %u);\n", s->s, table, s->first, s->n);
        break;
    case STEP_MERGE:
        fprintf(to, "    merge(%u, %u, %u);\n", s->s, s->t, s->n);
        break;
    case STEP_RELOAD:
        fprintf(to, "    reload(%u);\n", s->s);
        break;
    case STEP_EMIT:
    case STEP_GIVE:
        fprintf(to, "    %s = give(%s, %u, %u, &%s, %d, %u);\n", result,
                s->kind == STEP_GIVE ? result : "NULL", s->s, s->n,
                s->early ? "window_early" : "window_final", s->other,
                s->kind == STEP_GIVE ? s->s : 0);
        break;
    }
}

static void put_way(FILE *to, const struct way *w, const char *table,
                    const char *result, const char *comment)
{
    fprintf(to, "\n    /* %s */\n", comment);
    for (size_t i = 0; i < w->n; i++)
        put_step(to, &w->step[i], table, result);
}

/* Copies of the arrays that end where memory does. */
static void put_fences(FILE *to, size_t first, const struct example *e,
                       const struct frame *f)
{
    size_t n = rows_of(f), bits = (n + 63) / 64 * 8;
    for (size_t i = 0; i < e->rows->n_inputs; i++) {
        const struct weir_column *c = &f->column[i];
        size_t k = first + i,
               strings = c->dictionary_size ? (size_t)c->dictionary_size : n;
        if (!f->in[i])
            continue;
        if (c->validity)
            fprintf(to, "    column%zu.validity = fenced(validity%zu, %zu);\n", k, k,
                    bits);
        if (c->type != WEIR_STRING || c->dictionary_size)
            fprintf(to, "    column%zu.values = fenced(values%zu, %zu);\n", k, k,
                    c->type == WEIR_BOOL     ? bits
                    : c->type == WEIR_STRING ? 4 * n
                                             : 8 * n);
        if (c->type == WEIR_STRING)
            fprintf(to,
                    "    column%zu.offsets = fenced(offsets%zu, %zu);\n"
                    "    column%zu.bytes = fenced(bytes%zu, %zu);\n",
                    k, k, 4 * (strings + 1), k, k, (size_t)c->offsets[strings]);
    }
}

/* What a law that is no comparison does with them. */
static const char leaks_body[] = "    size_t used = 0, grew = 0;\n"
                                 "    for (int i = 0; i < 9; i++) {\n"
                                 "        ways(&one, &other);\n"
                                 "        free(one);\n"
                                 "        free(other);\n"
                                 "        drop_all();\n"
                                 "        size_t now = mallinfo2().uordblks;\n"
                                 "        grew += i > 2 && now > used;\n"
                                 "        used = now;\n"
                                 "    }\n"
                                 "    if (grew == 6)\n"
                                 "        fault(\"memory is lost\");\n"
                                 "    return faults != 0;\n";

static const char memory_body[] =
    "    may_fail = 1; /* with a text, and nothing else */\n"
    "    for (int n = 0; n < 12; n++) {\n"
    "        allocs_left = n;\n"
    "        new_state(0, 0);\n"
    "        fold(0, &one_table, 0, 1, (uint32_t)one_table.n, 0);\n"
    "        drop_all();\n"
    "    }\n"
    "    close_plugin();\n"
    "    return faults != 0;\n";

static const char damage_body[] =
    "    struct weir_out saved = {0};\n"
    "    new_state(0, 0);\n"
    "    fold(0, &one_table, 0, 1, (uint32_t)one_table.n, 0);\n"
    "    check(\"save\", a->save(&ctx[0], state_of[0], &saved));\n"
    "    drop_all();\n"
    "    may_fail = 1; /* with a text, and nothing else */\n"
    "    for (size_t i = 0; i < 9 * saved.size; i++) { /* cut off, or with another bit "
    "*/\n"
    "        size_t size = i < saved.size ? i : saved.size, bit = i - saved.size;\n"
    "        char *copy = malloc(saved.size + 1);\n"
    "        memcpy(copy, saved.data, size);\n"
    "        if (i >= saved.size)\n"
    "            copy[bit / 8] ^= (char)(1 << bit % 8);\n"
    "        new_state(0, 0);\n"
    "        int r = a->load(&ctx[0], state_of[0], a->state_version, fenced(copy, "
    "size), size);\n"
    "        if (r == 0)\n"
    "            give(NULL, 0, 1, &window_final, 0, 0);\n"
    "        drop_all();\n"
    "        free(copy);\n"
    "    }\n"
    "    close_plugin();\n"
    "    return faults != 0;\n";

static void put_ways(FILE *to, const struct example *e)
{
    fputs("static void ways(char **one, char **other)\n{\n    *one = *other = NULL;\n",
          to);
    put_way(to, &e->plan->one, "one_table", "*one", "One way.");
    fputs("    drop_all();\n", to);
    put_way(to, &e->plan->other, "other_table", "*other",
            "The other: the result is to be the same.");
    fputs("}\n\n", to);
}

static void put_main(FILE *to, const struct example *e, const struct frame *one,
                     const struct frame *other)
{
    const struct weir_analyzer *a = &e->binding->plugin->analyzer;
    const char *special = !strcmp(e->law, "leaks")    ? leaks_body
                          : !strcmp(e->law, "memory") ? memory_body
                          : !strcmp(e->law, "damage") ? damage_body
                                                      : NULL;
    bool process = !strcmp(e->law, "process");
    fputs("int main(int argc, char **argv)\n{\n    char *one, *other;\n"
          "    static const uint32_t types[] = {",
          to);
    for (size_t k = 0; k < e->binding->n_inputs; k++)
        fprintf(to, "%u, ", e->binding->types[k]);
    fputs("0};\n    load_plugin(argc > 1 ? argv[1] : ", to);
    fprintf(to, "%s", strchr(e->path, '/') ? "" : "\"./\" ");
    put_string(to, e->path, strlen(e->path));
    fputs(");\n", to);
    put_fences(to, 0, e, one);
    put_fences(to, e->rows->n_inputs, e, other);
    if (process)
        fputs("    static char before[16384], after[16384], text[256];\n"
              "    settings_text(before, sizeof(before));\n",
              to);
    for (const struct weir_param *p = a->params; p && p->name; p++)
        put_param(to, p, e->binding->config);
    fprintf(to, "    open_plugin(types, %zu);\n", e->binding->n_inputs);
    fputs(special ? special : "    ways(&one, &other);\n", to);
    if (!special && process)
        fputs("    settings_text(after, sizeof(after));\n"
              "    if (settings_differ(before, after, text, sizeof(text)))\n"
              "        fault(text);\n",
              to);
    if (!special)
        fprintf(to, "    printf(\"one way:\\n%%sthe other:\\n%%s\", one, other);\n");
    if (!special && e->compare)
        fprintf(to, "    if (!same(one, other, %d))\n        fault(\"they differ\");\n",
                e->rounded);
    if (!special)
        fputs("    drop_all();\n    close_plugin();\n    return faults != 0;\n", to);
    fputs("}\n", to);
}

bool example_write(const struct example *e, FILE *to)
{
    struct frame one, other;
    const struct binding *b = e->binding;
    if (!frame_new(&one, e->rows, b->types, b->dictionary, e->plan->one.layout,
                   e->seed))
        return false;
    if (!frame_new(&other, e->rows, b->types, b->dictionary, e->plan->other.layout,
                   e->seed)) {
        frame_free(&one);
        return false;
    }
    fprintf(to, "/* The analyzer '%s' breaks the law '%s': %s.\n * With ",
            b->plugin->analyzer.name, e->law, e->help);
    put_comment(to, e->params);
    fputs(": ", to);
    put_comment(to, e->said);
    fprintf(to,
            ".\n *\n *     cc -std=gnu11 $(pkg-config --cflags weir) -o counter "
            "counter.c -lm -ldl && "
            "./counter %s%s\n */\n",
            strchr(e->path, '/') ? "" : "./", e->path);
    fputs("#define _GNU_SOURCE\n#pragma GCC diagnostic ignored \"-Wunused-function\"\n"
          "#pragma GCC diagnostic ignored \"-Wunused-variable\"\n",
          to);
    fputs(strcmp(e->law, "leaks") ? "" : "#include <malloc.h>\n", to);
    fputs(laws_counter, to);
    if (!strcmp(e->law, "process"))
        fputs(laws_settings, to);
    fprintf(to, "/* ---- %zu row%s ---- */\n\n", e->rows->n,
            e->rows->n == 1 ? "" : "s");
    put_table(to, "one_table", 0, e, &one);
    put_table(to, "other_table", e->rows->n_inputs, e, &other);
    put_ways(to, e);
    put_main(to, e, &one, &other);
    frame_free(&one);
    frame_free(&other);
    return true;
}
