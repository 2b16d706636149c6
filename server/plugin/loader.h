/* SPDX-License-Identifier: Apache-2.0
 *
 * Loads analyzer plugins: NAME.so from the configured folders, RTLD_NOW | RTLD_LOCAL, never closed.
 * One symbol, weir_plugin_abi1, gives the analyzer and the sizes of all structs in the header that the plugin was built
 * with. So plugins of older and newer headers of the same ABI load: what a plugin declares is filled up with
 * zeros, or must be zeros behind what we know; what it is handed has PLUGIN_ROOM bytes, zeros behind what we know.
 */
#ifndef WEIR_PLUGIN_LOADER_H
#define WEIR_PLUGIN_LOADER_H

#include "base/error.h"
#include "weir/async.h"
#include "weir/plugin.h"

#include <pthread.h>

#define PLUGIN_ROOM        128 /* bytes of each struct that is handed to a plugin */
#define PLUGIN_REASONS_MAX 16

struct plugin {
    /* Checked: name, tables, sizes, required functions. */
    struct weir_analyzer analyzer;
    struct weir_async async; /* what analyzer.async points to, if it has one */
    size_t output_size;      /* of a row of `outputs`, in the plugin's header */
    size_t n_reasons;
    char *path;
    pthread_mutex_t one; /* held around every call of a WEIR_THREADS_ONE plugin */
    struct plugin *next;
};

struct plugins;

/* Searches `folders` (NULL-ended) in order; WEIR_PLUGIN_PATH (colon-separated) of the environment
 * comes before them, the installed folder after them. -ENOMEM. */
int plugins_new(char *const *folders, struct plugins **ret);
void plugins_free(struct plugins *p); /* frees the tables; the code stays loaded */

/* Loads it if need be. -ENOENT (the text says which folders were searched and suggests a name that is
 * close), -EINVAL (not a plugin, wrong ABI, a symbol missing, a table that makes no sense: the text
 * names file and fault). */
int plugins_get(struct plugins *p, const char *name, struct plugin **ret,
                struct error *error);

/* Loads all there are, sorted by name; those that fail come with their error. For `weir plugins`. */
int plugins_each(struct plugins *p,
                 void (*call)(void *ctx, const char *name, const struct plugin *plugin,
                              const struct error *error),
                 void *ctx);

#endif
