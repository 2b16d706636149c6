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

#define BINDING_NAME_MAX                                                               \
    127 /* bytes of an output's name: a column of 63, a word and a prefix */

struct binding_output {
    char *
        name; /* "price_mean"; with `as: bid` "bid_price_mean", but only of an analyzer */
              /* that gives one row a group: of others `as` names the table */
    enum weir_type type;
    size_t cell; /* its index in the cells that emit fills */
    const char *help;
};

struct binding {
    struct plugin *plugin;
    void *config; /* the plugin's struct; strings in it belong to the binding */
    char **strings;
    size_t n_strings;
    size_t n_inputs; /* column parameters of the plugin, in the order of its table */
    int *input;      /* column of the schema, -1: not given */
    uint32_t *types; /* enum weir_type of the input, 0: not given; for weir_ctx.types */
    bool *dictionary; /* the input is to come with a dictionary */
    size_t n_cells;   /* all outputs of the plugin, wanted or not */
    size_t n_outputs; /* those that become columns; at least one, names differ */
    struct binding_output *output;
};

/* -EINVAL with file:line:column for an unknown parameter, a missing or bad one, a column that does not
 * exist or has another type; errors of plugins_get with the place. Does not call the plugin's open. */
int binding_new(struct plugins *plugins, const struct config_analyzer *analyzer,
                const struct schema *schema, struct binding **ret, struct error *error);
void binding_free(struct binding *b); /* takes NULL */

#endif
