/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameter tables of plugins: is a table sound, and what does a value of the configuration (or a
 * default) become in the plugin's config struct.
 */
#ifndef WEIR_PLUGIN_PARAMS_H
#define WEIR_PLUGIN_PARAMS_H

#include "base/buffer.h"
#include "config/node.h"
#include "weir/plugin.h"

#define PARAMS_MAX     64
#define PARAMS_NUMBERS 256 /* of a parameter of type numbers */
#define PARAMS_WORD    64  /* bytes of a word in `choices`, its zero included */

/* "int", "float", "bool", "string", "choice", "set", "column", "columns", "numbers"; "?" for any
 * other. */
const char *params_type_name(uint32_t type);

/* The k-th word of a space-separated list, copied to `word`; false: there are not so many. */
bool params_word(const char *choices, size_t k, char word[PARAMS_WORD]);

/* Number of the word in the list, or -1. */
int params_word_find(const char *choices, const char *word);

/* Words of such a list. */
size_t params_words(const char *words);

/* "int, float": the types of a WEIR_TYPES set, for messages and help. */
void params_types_text(uint32_t types, char *text, size_t room);

/* -EINVAL with the fault for a table that makes no sense: names, duplicates, types, members outside
 * the config struct, defaults that would be refused. */
int params_check(const struct weir_param *params, size_t config_size,
                 struct error *error);

/* Stores the value of `node` into the config struct. The text of STRING and COLUMN parameters stays the
 * node's; of COLUMNS and NUMBERS it is stored how many there are, not which. -EINVAL with the node's place. */
int params_store(const struct weir_param *p, const struct node *node, void *config,
                 struct error *error);

/* The values of a parameter of type NUMBERS, room for PARAMS_NUMBERS; how many goes to *ret_n. NULL: those of the
 * default. */
int params_numbers(const struct weir_param *p, const struct node *node, double *value,
                   size_t *ret_n, struct error *error);

/* JSON Schema of the parameters, as a mapping. `more`: properties beside them, each with a comma behind it. What it refers
 * to stands in config_schema. */
void params_schema(const struct weir_param *params, const char *more,
                   struct buffer *to);

/* As params_store, of the default, which may be NULL. */
int params_store_default(const struct weir_param *p, void *config, struct error *error);

#endif
