/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds, opens and checks analyzer plugins.
 */
#include "plugin/loader.h"
#include "config/config.h"
#include "plugin/elf.h"
#include "plugin/outputs.h"
#include "plugin/params.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_MAX_BYTES    63
#define PLUGIN_CONFIG_MAX 4096u
#define STATE_SIZE_MAX    (1u << 20)
#define ENTRY_SIZE_MAX    4096u /* a struct of a later header that is larger is garbage */

struct plugins {
    pthread_mutex_t lock; /* protects `first` and what dlerror says */
    char **folder;        /* NULL-ended */
    size_t n_folders;
    struct plugin *first;
};

/* ---- The folders ---- */

static int add_folder(struct plugins *p, const char *name, size_t size)
{
    if (size == 0)
        return 0;
    char *copy = strndup(name, size);
    if (!copy)
        return -ENOMEM;
    p->folder[p->n_folders++] = copy;
    return 0;
}

static int add_path(struct plugins *p, const char *at)
{
    while (*at) {
        size_t size = strcspn(at, ":");
        int err = add_folder(p, at, size);
        if (err)
            return err;
        at += size + (at[size] == ':');
    }
    return 0;
}

/* Room for those of the path, those that are given, the installed one, and the end. The kernel limits the
 * path, the configuration what is given: none is left out. */
static size_t folders_room(const char *path, char *const *folders)
{
    size_t n = 3;
    for (; *path; path++)
        n += *path == ':';
    for (; folders && *folders; folders++)
        n++;
    return n;
}

int plugins_new(char *const *folders, struct plugins **ret)
{
    const char *path = getenv("WEIR_PLUGIN_PATH");
    struct plugins *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    path = path ? path : "";
    pthread_mutex_init(&p->lock, NULL);
    p->folder = calloc(folders_room(path, folders), sizeof(*p->folder));
    int err = p->folder ? add_path(p, path) : -ENOMEM;
    for (size_t i = 0; !err && folders && folders[i]; i++)
        err = add_folder(p, folders[i], strlen(folders[i]));
    if (!err)
        err = add_folder(p, WEIR_PLUGIN_DIR, strlen(WEIR_PLUGIN_DIR));
    if (err) {
        plugins_free(p);
        return err;
    }
    *ret = p;
    return 0;
}

static void plugin_free(struct plugin *p)
{
    if (!p)
        return;
    free((void *)(uintptr_t)p->analyzer.params);
    free((void *)(uintptr_t)p->analyzer.outputs);
    free((void *)(uintptr_t)p->async.answers);
    free(p->path);
    pthread_mutex_destroy(&p->one);
    free(p);
}

void plugins_free(struct plugins *p)
{
    if (!p)
        return;
    while (p->first) {
        struct plugin *next = p->first->next;
        plugin_free(p->first);
        p->first = next;
    }
    for (size_t i = 0; i < p->n_folders; i++)
        free(p->folder[i]);
    free(p->folder);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ---- Names ---- */

static bool good_name(const char *s)
{
    if (!s || !islower((unsigned char)*s) || strlen(s) > NAME_MAX_BYTES)
        return false;
    return s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_")] == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **name, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(name[i]);
    free(name);
}

/* Adds NAME of "NAME.so" unless it is there already. */
static int add_name(char ***name, size_t *n, const char *file)
{
    size_t size = strlen(file);
    char stem[NAME_MAX_BYTES + 1];
    if (size < 4 || size - 3 > NAME_MAX_BYTES || strcmp(file + size - 3, ".so") != 0)
        return 0;
    snprintf(stem, sizeof(stem), "%.*s", (int)size - 3, file);
    if (!good_name(stem))
        return 0;
    for (size_t i = 0; i < *n; i++)
        if (strcmp((*name)[i], stem) == 0)
            return 0;
    char **more = realloc(*name, (*n + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    *name = more;
    more[*n] = strdup(stem);
    return more[*n] ? (++*n, 0) : -ENOMEM;
}

/* All names in all folders, sorted. Folders that cannot be read are passed over. */
static int list_names(const struct plugins *p, char ***ret, size_t *ret_n)
{
    char **name = NULL;
    size_t n = 0;
    int err = 0;
    for (size_t i = 0; !err && i < p->n_folders; i++) {
        DIR *dir = opendir(p->folder[i]);
        struct dirent *entry;
        while (!err && dir && (entry = readdir(dir)))
            err = add_name(&name, &n, entry->d_name);
        if (dir)
            closedir(dir);
    }
    if (err) {
        free_names(name, n);
        return err;
    }
    if (n)
        qsort(name, n, sizeof(*name), compare_names);
    *ret = name;
    *ret_n = n;
    return 0;
}

/* Rows are kept as they are, batch after batch: codes of one dictionary mean nothing in the next. */
static bool has_dictionary(const struct weir_analyzer *a)
{
    const struct weir_param *p = a->params;
    while (p && p->name && !(p->flags & WEIR_DICTIONARY))
        p++;
    return p && p->name;
}

static bool has_states(const struct weir_analyzer *a)
{
    return a->state_size || a->init || a->drop || a->update || a->retract || a->merge ||
           a->emit || a->save || a->load;
}

static int check_header(const struct weir_analyzer *a, const char *name,
                        struct error *error)
{
    if (!good_name(a->name))
        return error_set(error, -EINVAL,
                         "'%.63s' is not an analyzer name ([a-z][a-z0-9_]*)",
                         a->name ? a->name : "");
    if (strcmp(a->name, name) != 0)
        return error_set(error, -EINVAL,
                         "the analyzer calls itself '%s', so the file must be %s.so",
                         a->name, a->name);
    if (!a->version || !a->help)
        return error_set(error, -EINVAL, "it has no %s",
                         a->version ? "help line" : "version");
    if (a->flags & ~(WEIR_MANY_ROWS | WEIR_WHOLE))
        return error_set(error, -EINVAL,
                         "it has the unknown flags 0x%x; it may need a newer weir",
                         a->flags);
    if (a->threads > WEIR_THREADS_CTX)
        return error_set(
            error, -EINVAL,
            "its threads are %u, which is unknown; it may need a newer weir",
            a->threads);
    if (!(a->flags & WEIR_WHOLE) != !a->whole)
        return error_set(error, -EINVAL, "it has %s",
                         a->whole ? "a whole function, but not the flag WEIR_WHOLE"
                                  : "the flag WEIR_WHOLE, but no whole function");
    if (a->whole && has_states(a))
        return error_set(error, -EINVAL,
                         "with a whole function it has no states: state_size is 0, and "
                         "there is no init, drop, update, retract, merge, emit, save "
                         "or load");
    if (a->whole && has_dictionary(a))
        return error_set(error, -EINVAL,
                         "with a whole function its columns cannot come with a "
                         "dictionary (WEIR_DICTIONARY)");
    if (!a->whole && (!a->update || !a->emit))
        return error_set(error, -EINVAL, "it has no %s function",
                         a->update ? "emit" : "update");
    if (!a->outputs && !a->open)
        return error_set(error, -EINVAL,
                         "it declares no outputs, and has no open that could");
    if (a->oldest_version > a->state_version)
        return error_set(error, -EINVAL,
                         "its oldest_version %u is above its state_version %u",
                         a->oldest_version, a->state_version);
    if (!a->save != !a->load)
        return error_set(error, -EINVAL, "it has a %s function, but no %s",
                         a->save ? "save" : "load", a->save ? "load" : "save");
    if (a->config_size > PLUGIN_CONFIG_MAX)
        return error_set(error, -EINVAL,
                         "its config struct has %zu bytes, the limit is %u",
                         a->config_size, PLUGIN_CONFIG_MAX);
    if (!a->whole && (a->state_size == 0 || a->state_size > STATE_SIZE_MAX))
        return error_set(error, -EINVAL,
                         "its state has %zu bytes, it must have 1 to %u", a->state_size,
                         STATE_SIZE_MAX);
    return 0;
}

/* ---- From the plugin's structs to ours, whichever header they were made with ---- */

static int copy_tables(struct weir_analyzer *a, const struct weir_entry *entry,
                       struct error *error)
{
    const void *params = a->params, *outputs = a->outputs;
    void *copy;
    a->params = NULL;
    a->outputs = NULL;
    int err = outputs_copy_table(params, entry->param_size, sizeof(*a->params),
                                 PARAMS_MAX, "parameters", &copy, error);
    if (err)
        return err;
    a->params = copy;
    err = outputs_copy_table(outputs, entry->output_size, sizeof(*a->outputs),
                             OUTPUTS_MAX, "outputs", &copy, error);
    if (!err)
        a->outputs = copy;
    return err;
}

/* ---- The asynchronous part ---- */

#define FIRST_ASYNC_SIZE 32u
static_assert(sizeof(struct weir_async) >= FIRST_ASYNC_SIZE &&
                  sizeof(struct weir_reply) <= PLUGIN_ROOM,
              "what it began with, and has room for");

static int check_answers(const struct weir_output *answer, struct error *error)
{
    if (!answer || !answer->name)
        return error_set(error, -EINVAL, "its asynchronous part declares no answers");
    for (const struct weir_output *o = answer; o->name; o++) {
        if (!good_name(o->name))
            return error_set(error, -EINVAL,
                             "'%.63s' is not the name of an answer ([a-z][a-z0-9_]*)",
                             o->name);
        if (!o->help || o->set_word)
            return error_set(error, -EINVAL,
                             o->help ? "answer '%s' has a set_word; answers are there "
                                       "always"
                                     : "answer '%s' has no help line",
                             o->name);
        if (o->type < WEIR_INT || o->type > WEIR_TIME)
            return error_set(error, -EINVAL, "answer '%s' has the unknown type %u",
                             o->name, o->type);
        for (const struct weir_output *before = answer; before < o; before++)
            if (strcmp(before->name, o->name) == 0)
                return error_set(error, -EINVAL,
                                 "answer '%s' stands twice in its table", o->name);
    }
    return 0;
}

static int check_asked(const struct weir_analyzer *a, struct error *error)
{
    size_t n = 0;
    for (const struct weir_param *p = a->params; p && p->name; p++)
        n += (p->flags & WEIR_ASKED) != 0;
    if (!a->async && n)
        return error_set(error, -EINVAL,
                         "parameters have the flag WEIR_ASKED, but it has no "
                         "asynchronous part");
    if (a->async && (!n || n > CONFIG_LOOKUP_ON_MAX))
        return error_set(error, -EINVAL,
                         "%zu of its parameters have the flag WEIR_ASKED; it asks "
                         "about 1 to %d",
                         n, CONFIG_LOOKUP_ON_MAX);
    return 0;
}

/* From the plugin's struct to ours, as with the others. */
static int take_async(struct plugin *plugin, const struct weir_entry *entry,
                      struct error *error)
{
    struct weir_analyzer *a = &plugin->analyzer;
    const struct weir_async *from = a->async;
    void *answers;
    if (!from)
        return check_asked(a, error);
    if (from->size < FIRST_ASYNC_SIZE || from->size > ENTRY_SIZE_MAX)
        return error_set(error, -EINVAL,
                         "its asynchronous part says that it has %zu bytes: size is "
                         "sizeof(struct weir_async)",
                         from->size);
    size_t size = from->size < sizeof(*from) ? from->size : sizeof(*from);
    for (size_t i = size; i < from->size; i++)
        if (((const char *)from)[i])
            return error_set(
                error, -EINVAL,
                "its asynchronous part has members that this weir does not "
                "know; it needs a newer one");
    memcpy(&plugin->async, from, size);
    plugin->async.answers = NULL;
    a->async = &plugin->async;
    int err = outputs_copy_table(from->answers, entry->output_size,
                                 sizeof(struct weir_output), CONFIG_LOOKUP_COLUMNS_MAX,
                                 "answers", &answers, error);
    if (err)
        return err;
    plugin->async.answers = answers;
    if (!plugin->async.ask || !plugin->async.read)
        return error_set(error, -EINVAL, "its asynchronous part has no %s function",
                         plugin->async.ask ? "read" : "ask");
    err = check_answers(answers, error);
    return err ? err : check_asked(a, error);
}

/* The sizes that ABI 1 began with, in the order of struct weir_entry. Structs only grow, at their ends; columns
 * and cells come in arrays and do not. */
static const size_t first_sizes[] = {72, 168, 72, 32, 48, 104, 72, 40};
static_assert(sizeof(struct weir_entry) >= 72 && sizeof(struct weir_analyzer) >= 168 &&
                  sizeof(struct weir_param) >= 72 && sizeof(struct weir_output) >= 32 &&
                  sizeof(struct weir_ctx) >= 48 && sizeof(struct weir_host) >= 104 &&
                  sizeof(struct weir_rows) >= 72 && sizeof(struct weir_window) >= 40 &&
                  sizeof(struct weir_column) == 56 && sizeof(struct weir_cell) == 16 &&
                  sizeof(struct weir_columns) == 16,
              "the sizes of ABI 1");

static int check_sizes(const struct weir_entry *e, struct error *error)
{
    const size_t size[] = {e->size,        e->analyzer_size, e->param_size,
                           e->output_size, e->ctx_size,      e->host_size,
                           e->rows_size,   e->window_size};
    for (size_t i = 0; i < sizeof(size) / sizeof(*size); i++) {
        if (size[i] < first_sizes[i])
            return error_set(
                error, -EINVAL,
                "one of its structs (number %zu, %zu bytes) is smaller than in any "
                "version of ABI %d; build it again with this weir's header",
                i + 1, size[i], WEIR_ABI);
        /* The first four it declares, the others it is handed. */
        if (size[i] > (i < 4 ? ENTRY_SIZE_MAX : PLUGIN_ROOM))
            return error_set(
                error, -EINVAL,
                "weir_plugin_abi%d is not what WEIR_PLUGIN makes, or it is "
                "of a much newer header",
                WEIR_ABI);
    }
    if (!e->analyzer)
        return error_set(error, -EINVAL,
                         "weir_plugin_abi%d is not what WEIR_PLUGIN makes", WEIR_ABI);
    return 0;
}

/* They become labels of metrics. */
static int check_reasons(struct plugin *plugin, struct error *error)
{
    char word[PARAMS_WORD];
    const char *reasons = plugin->analyzer.reasons;
    plugin->n_reasons = params_words(reasons);
    if (plugin->n_reasons > PLUGIN_REASONS_MAX)
        return error_set(error, -EINVAL, "it has %zu reasons, the limit is %d",
                         plugin->n_reasons, PLUGIN_REASONS_MAX);
    for (size_t i = 0; i < plugin->n_reasons; i++)
        if (params_word(reasons, i, word) && !good_name(word))
            return error_set(error, -EINVAL, "'%s' is not a reason ([a-z][a-z0-9_]*)",
                             word);
    return 0;
}

static int take_entry(struct plugin *plugin, const struct weir_entry *entry,
                      const char *name, struct error *error)
{
    struct weir_analyzer *a = &plugin->analyzer;
    int err = check_sizes(entry, error);
    if (err)
        return err;
    const char *more = (const char *)(entry->analyzer + 1);
    for (size_t i = sizeof(*a); i < entry->analyzer_size; i++)
        if (*more++)
            return error_set(error, -EINVAL,
                             "it has members that this weir does not know; it needs a "
                             "newer one");
    memcpy(a, entry->analyzer, sizeof(*a));
    plugin->output_size = entry->output_size;
    err = copy_tables(a, entry, error);
    if (!err)
        err = check_header(a, name, error);
    if (!err)
        err = take_async(plugin, entry, error);
    if (!err)
        err = check_reasons(plugin, error);
    if (!err)
        err = params_check(a->params, a->config_size, error);
    if (!err && a->outputs)
        err = outputs_check(a, a->outputs, false, error);
    return err;
}

/* ---- Opening ---- */

static int wrong_abi(void *code, struct error *error)
{
    for (int abi = 0; abi < 10; abi++) {
        char symbol[32];
        snprintf(symbol, sizeof(symbol), "weir_plugin_abi%d", abi);
        if (dlsym(code, symbol))
            return error_set(error, -EINVAL,
                             "it was built for plugin ABI %d, this weir loads ABI %d; "
                             "build it again with this weir's header",
                             abi, WEIR_ABI);
    }
    return error_set(error, -EINVAL,
                     "it is not a weir plugin: it exports no weir_plugin_abi%d "
                     "(is WEIR_PLUGIN(...) missing?)",
                     WEIR_ABI);
}

/* dlerror's text begins with the path too. */
static int open_failed(const char *path, struct error *error)
{
    const char *text = dlerror();
    size_t size = strlen(path);
    if (text && strncmp(text, path, size) == 0 && strncmp(text + size, ": ", 2) == 0)
        text += size + 2;
    return error_set(error, -EINVAL, "%s", text ? text : "dlopen failed");
}

static int open_file(struct plugin *plugin, const char *name, struct error *error)
{
    int err = elf_check(plugin->path, error);
    if (err)
        return err;
    void *code = dlopen(plugin->path, RTLD_NOW | RTLD_LOCAL);
    if (!code)
        return open_failed(plugin->path, error);
    char symbol[32];
    snprintf(symbol, sizeof(symbol), "weir_plugin_abi%d", WEIR_ABI);
    const struct weir_entry *entry = dlsym(code, symbol);
    return entry ? take_entry(plugin, entry, name, error) : wrong_abi(code, error);
}

static int load(struct plugins *p, char *path, const char *name, struct plugin **ret,
                struct error *error)
{
    struct plugin *plugin = calloc(1, sizeof(*plugin));
    if (!plugin) {
        free(path);
        return error_set(error, -ENOMEM, "out of memory");
    }
    pthread_mutex_init(&plugin->one, NULL);
    plugin->path = path;
    int err = open_file(plugin, name, error);
    if (err) {
        error_prefix(error, "plugin %s", path);
        plugin_free(plugin);
        return err;
    }
    plugin->next = p->first;
    p->first = plugin;
    *ret = plugin;
    return 0;
}

static int not_found(const struct plugins *p, const char *name, struct error *error)
{
    char searched[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < p->n_folders && used < sizeof(searched); i++)
        used += (size_t)snprintf(searched + used, sizeof(searched) - used, "%s%s",
                                 i ? ", " : "", p->folder[i]);
    if (!strcmp(name, "python") || !strcmp(name, "python_window"))
        return error_set(
            error, -ENOENT,
            "there is no analyzer '%s' in %s: it comes with a weir that is "
            "built where CPython is found (python3-dev)",
            name, searched);
    error_set(error, -ENOENT, "there is no analyzer '%.80s' in %s", name, searched);
    char **names;
    size_t n;
    if (list_names(p, &names, &n))
        return -ENOENT;
    node_suggest(error, name, (const char *const *)names, n);
    free_names(names, n);
    return -ENOENT;
}

static int get_locked(struct plugins *p, const char *name, struct plugin **ret,
                      struct error *error)
{
    for (struct plugin *plugin = p->first; plugin; plugin = plugin->next)
        if (strcmp(plugin->analyzer.name, name) == 0) {
            *ret = plugin;
            return 0;
        }
    for (size_t i = 0; good_name(name) && i < p->n_folders; i++) {
        char *path;
        /* A path with a slash, or dlopen would search the system's libraries. */
        if (asprintf(&path, "%s/%s.so", p->folder[i], name) < 0)
            return error_set(error, -ENOMEM, "out of memory");
        if (access(path, F_OK) == 0)
            return load(p, path, name, ret, error);
        free(path);
    }
    return not_found(p, name, error);
}

int plugins_get(struct plugins *p, const char *name, struct plugin **ret,
                struct error *error)
{
    pthread_mutex_lock(&p->lock);
    int err = get_locked(p, name, ret, error);
    pthread_mutex_unlock(&p->lock);
    return err;
}

int plugins_each(struct plugins *p,
                 void (*call)(void *ctx, const char *name, const struct plugin *plugin,
                              const struct error *error),
                 void *ctx)
{
    char **name;
    size_t n;
    int err = list_names(p, &name, &n);
    if (err)
        return err;
    for (size_t i = 0; i < n; i++) {
        struct plugin *plugin = NULL;
        struct error error = {0};
        err = plugins_get(p, name[i], &plugin, &error);
        call(ctx, name[i], err ? NULL : plugin, err ? &error : NULL);
    }
    free_names(name, n);
    return 0;
}
