/* SPDX-License-Identifier: Apache-2.0
 *
 * An analyzer of a pipeline bound to its plugin: parameters checked and filled into the plugin's config
 * struct, column parameters resolved against the stream's schema, output columns named and typed.
 */
#ifndef WEIR_PLUGIN_BINDING_H
#define WEIR_PLUGIN_BINDING_H

#include "batch/schema.h"
#include "config/config.h"
#include "plugin/loader.h"
#include "plugin/params.h"

#define BINDING_NAME_MAX                                                               \
    127 /* bytes of an output's name: a column of 63, a word and a prefix */
#define BINDING_INPUTS_MAX (SCHEMA_COLUMNS_MAX + PARAMS_MAX + CONFIG_LOOKUP_COLUMNS_MAX)

/* A column of the result: "price_mean"; with `as: bid` "bid_price_mean", but only of an analyzer that gives
 * one row a group: of others `as` names the table. */
struct binding_output {
    char *name, *help;
    enum weir_type type;
};

/* An output of the plugin, wanted or not: what emit puts there. */
struct binding_cell {
    enum weir_type type;
    int output; /* -1: not wanted */
};

struct binding {
    struct plugin *plugin;
    size_t place; /* in its pipeline, from 1; 0: nobody said */
    char *as;     /* NULL: not given */
    void *config; /* the plugin's struct; strings in it belong to the binding */
    char **string;
    size_t n_strings;
    void *
        *list; /* of each parameter of type columns the names, of numbers the values */
    size_t n_lists;
    /* Columns that parameters name, in the order of their table, then answers of other services. */
    size_t n_inputs;
    size_t n_answers; /* the last inputs */
    size_t n_asked;
    size_t asked[CONFIG_LOOKUP_ON_MAX]; /* inputs whose values others are asked about */
    int *input;                         /* column of the schema, -1: not given */
    uint32_t *types; /* enum weir_type of the input, 0: not given; for weir_ctx.types */
    bool *dictionary; /* the input is to come with a dictionary */
    /* open has said that rows that are kept need not have the input; contexts may be opened at the same time */
    _Atomic bool *left_out;
    char *form;     /* of states, as open says; NULL: it says nothing */
    uint64_t files; /* hash of the contents of files that parameters name */
    size_t n_cells; /* 0: open has to describe them */
    struct binding_cell *cell;
    struct binding_cell *answer; /* cells of an answer */
    size_t n_outputs; /* those that become columns; at least one, names differ */
    struct binding_output *output;
};

/* -EINVAL with file:line:column for an unknown parameter, a missing or bad one, a column that does not
 * exist or has another type; errors of plugins_get with the place. Does not call the plugin's open.
 * is_key: of each column whether it is one of the pipeline's key; NULL: none is. */
int binding_new(struct plugins *plugins, const struct config_analyzer *analyzer,
                const struct schema *schema, const bool *is_key, struct binding **ret,
                struct error *error);
void binding_free(struct binding *b); /* takes NULL */

/* With `run: async`: its answers are columns of what the pipeline reads, from `first` on. */
void binding_answers_at(struct binding *b, size_t first);

/* The outputs that a plugin describes when it is opened, in the form of its own header. The first time they
 * are taken, from then on they must be the same. -EINVAL, without a place. */
int binding_describe(struct binding *b, const struct weir_output *outputs,
                     struct error *error);
/* They are such as binding_describe makes: columns with good names, each of one cell of its type. */
bool binding_has_good_outputs(const struct binding *b);
/* Types and names are the same. */
bool binding_same_outputs(const struct binding *a, const struct binding *b);

/* What open says of the form of states, in one line. The first time it is taken, from then on it must be the same.
 * -EINVAL, -ENOMEM. */
int binding_form(struct binding *b, const char *text, struct error *error);

/* Has a file that a parameter names (WEIR_FILE) other contents than when the binding was made? */
bool binding_is_stale(const struct binding *b);

#endif
