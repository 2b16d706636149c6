/* SPDX-License-Identifier: Apache-2.0 */
#include "graph.h"

#include "base/clock.h"

#include <string.h>

/* ---- What is told of a pipeline ----------------------------------------------------------------- */

static void put_duration(FILE *to, const char *before, int64_t us)
{
    char text[CLOCK_TEXT_MAX];
    clock_format_duration(us, text);
    fprintf(to, "%s%s", before, text);
}

static void put_window(FILE *to, const struct config_window *w)
{
    fputs(config_window_word[w->kind], to);
    if (w->days)
        fprintf(to, " %ud", w->days);
    else if (w->months)
        fprintf(to, " %u months", w->months);
    else if (w->size_us)
        put_duration(to, " ", w->size_us);
    if (w->zone)
        fprintf(to, " %s", w->zone);
    for (size_t i = 1; i < 1 + w->n_coarse; i++) {
        char size[CONFIG_SIZE_MAX];
        config_window_size(w, i, size);
        fprintf(to, ", %s", size);
    }
    if (w->kind == CONFIG_HOPPING)
        put_duration(to, " by ", w->by_us);
    if (w->kind == CONFIG_COUNT)
        fprintf(to, " %llu%s", (unsigned long long)w->rows,
                w->running ? " running" : "");
}

static void put_key(FILE *to, const struct config_pipeline *c, const char *before)
{
    for (size_t i = 0; i < c->n_keys; i++)
        fprintf(to, "%s%s", i ? ", " : before, c->schema->column[c->key[i]].name);
}

static const char *joined_name(const struct weir *w, const struct config_join *j)
{
    return j->result ? j->result->table : w->config->stream[j->stream].name;
}

/* ---- Text --------------------------------------------------------------------------------------- */

static void text_pipeline(const struct weir *w, struct pipeline *p, int depth, FILE *to)
{
    const struct config_pipeline *c = pipeline_config(p);
    const struct table *const *table;
    size_t n = pipeline_tables(p, &table);
    fprintf(to, "%*spipeline %s: ", 2 * depth, "", c->name);
    put_window(to, &c->window);
    put_key(to, c, ", key ");
    for (size_t i = 0; i < c->joins.n; i++)
        fprintf(to, "%s%s",
                i              ? ", "
                : c->joins.all ? ", with "
                               : ", joins ",
                joined_name(w, &c->joins.join[i]));
    for (size_t i = 0; i < c->references.n; i++)
        fprintf(to, "%stable %s", i ? ", " : ", joins ",
                c->references.reference[i].table);
    fprintf(to, "%s\n", c->where ? ", where" : "");
    for (size_t i = 0; i < n; i++) {
        fprintf(to, "%*stable %s\n", 2 * (depth + 1), "", table[i]->name);
        for (struct pipeline *child = NULL; (child = pipeline_child(p, child));)
            if (pipeline_reads_table(child) == table[i])
                text_pipeline(w, child, depth + 2, to);
    }
}

void graph_text(const struct weir *w, FILE *to)
{
    for (size_t i = 0; i < w->config->n_streams; i++) {
        fprintf(to, "stream %s\n", w->config->stream[i].name);
        for (size_t k = 0; k < w->n_pipelines; k++)
            if (!pipeline_parent(w->pipeline[k]) &&
                pipeline_config(w->pipeline[k])->stream == i)
                text_pipeline(w, w->pipeline[k], 1, to);
    }
}

/* ---- DOT ---------------------------------------------------------------------------------------- */

/* Names of tables are the user's. */
static void dot_name(const char *name, FILE *to)
{
    for (; *name; name++)
        fprintf(to, *name == '"' || *name == '\\' ? "\\%c" : "%c", *name);
}

static void dot_reference(const struct config_reference *r, const char *pipeline,
                          FILE *to)
{
    fputs("  \"table ", to);
    dot_name(r->table, to);
    fputs("\" [shape=cylinder, label=\"", to);
    dot_name(r->table, to);
    fputs("\"];\n  \"table ", to);
    dot_name(r->table, to);
    fprintf(to, "\" -> \"pipeline %s\" [style=dashed];\n", pipeline);
}

/* Names are letters, digits and underscores: nothing needs escaping. */
static void dot_pipeline(const struct weir *w, struct pipeline *p, FILE *to)
{
    const struct config_pipeline *c = pipeline_config(p);
    const struct table *const *table;
    size_t n = pipeline_tables(p, &table);
    fprintf(to, "  \"pipeline %s\" [shape=box, label=\"%s\\n", c->name, c->name);
    put_window(to, &c->window);
    put_key(to, c, "\\nkey ");
    fprintf(to, "%s\"];\n", c->where ? "\\nwhere" : "");
    if (pipeline_parent(p))
        fprintf(to, "  \"table %s\" -> \"pipeline %s\";\n",
                pipeline_reads_table(p)->name, c->name);
    else
        fprintf(to, "  \"stream %s\" -> \"pipeline %s\";\n",
                w->config->stream[c->stream].name, c->name);
    for (size_t i = 0; i < c->joins.n; i++)
        fprintf(to, "  \"%s %s\" -> \"pipeline %s\"%s;\n",
                c->joins.join[i].result ? "table" : "stream",
                joined_name(w, &c->joins.join[i]), c->name,
                c->joins.all ? "" : " [style=dashed]");
    for (size_t i = 0; i < c->references.n; i++)
        dot_reference(&c->references.reference[i], c->name, to);
    for (size_t i = 0; i < n; i++)
        fprintf(to,
                "  \"table %s\" [shape=cylinder, label=\"%s\"];\n"
                "  \"pipeline %s\" -> \"table %s\";\n",
                table[i]->name, table[i]->name, c->name, table[i]->name);
}

void graph_dot(const struct weir *w, FILE *to)
{
    fputs("digraph weir {\n  rankdir=LR;\n", to);
    for (size_t i = 0; i < w->config->n_streams; i++)
        fprintf(to, "  \"stream %s\" [shape=cds, label=\"%s\"];\n",
                w->config->stream[i].name, w->config->stream[i].name);
    for (size_t i = 0; i < w->n_pipelines; i++)
        dot_pipeline(w, w->pipeline[i], to);
    fputs("}\n", to);
}
