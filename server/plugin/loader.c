/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds, opens and checks analyzer plugins.
 */
#include "plugin/loader.h"
#include "plugin/elf.h"
#include "plugin/params.h"

#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUTPUTS_MAX     256
#define NAME_MAX_BYTES  63
#define CONFIG_SIZE_MAX 4096u
#define STATE_SIZE_MAX  (1u << 20)
#define ENTRY_SIZE_MAX  4096u /* a struct of a later header that is larger is garbage */

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

/* ---- Is what it declares sound? ---- */

static int check_braces(const struct weir_analyzer *a, const char *name,
                        struct error *error)
{
    const char *open = name;
    while ((open = strchr(open, '{'))) {
        size_t size = strcspn(open, "}");
        const struct weir_param *p = a->params;
        while (p && p->name &&
               (strlen(p->name) != size - 1 || strncmp(p->name, open + 1, size - 1)))
            p++;
        if (!open[size] || !p || !p->name ||
            (p->type != WEIR_PARAM_COLUMN && p->type != WEIR_PARAM_STRING &&
             p->type != WEIR_PARAM_CHOICE && p->type != WEIR_PARAM_INT))
            return error_set(
                error, -EINVAL,
                "output '%s': what stands in {} must be a parameter of type column, "
                "string, choice or int",
                name);
        open += size;
    }
    return 0;
}

static int check_same_as(const struct weir_analyzer *a, const struct weir_output *o,
                         struct error *error)
{
    uint32_t k = o->type - WEIR_SAME_AS(0);
    for (const struct weir_param *p = a->params; p && p->name; p++)
        if (p->type == WEIR_PARAM_COLUMN && k-- == 0) {
            if (p->flags & WEIR_REQUIRED)
                return 0;
            return error_set(
                error, -EINVAL,
                "output '%s' takes its type from '%s', which need not be given",
                o->name, p->name);
        }
    return error_set(error, -EINVAL,
                     "output '%s' takes its type from an input that does not exist",
                     o->name);
}

static int check_output(const struct weir_analyzer *a, const struct weir_output *o,
                        struct error *error)
{
    if (strlen(o->name) > NAME_MAX_BYTES ||
        o->name[strspn(o->name, "abcdefghijklmnopqrstuvwxyz0123456789_{}")])
        return error_set(error, -EINVAL,
                         "'%.63s' is not an output name ([a-z0-9_] and {parameter})",
                         o->name);
    if (!o->help)
        return error_set(error, -EINVAL, "output '%s' has no help line", o->name);
    const struct weir_param *set = a->params;
    while (set && set->name && set->type != WEIR_PARAM_SET)
        set++;
    if (o->set_word &&
        (!set || !set->name || params_word_find(set->choices, o->set_word) < 0))
        return error_set(error, -EINVAL,
                         "output '%s': no parameter of type set has the word '%s'",
                         o->name, o->set_word);
    if (o->type >= WEIR_SAME_AS(0)) {
        int err = check_same_as(a, o, error);
        if (err)
            return err;
    } else if (o->type < WEIR_INT || o->type > WEIR_TIME) {
        return error_set(error, -EINVAL, "output '%s' has the unknown type %u", o->name,
                         o->type);
    }
    return check_braces(a, o->name, error);
}

static int check_outputs(const struct weir_analyzer *a, struct error *error)
{
    if (!a->outputs || !a->outputs[0].name)
        return error_set(error, -EINVAL, "it declares no outputs");
    for (size_t i = 0; a->outputs[i].name; i++) {
        int err = check_output(a, &a->outputs[i], error);
        if (err)
            return err;
        for (size_t k = 0; k < i; k++)
            if (strcmp(a->outputs[k].name, a->outputs[i].name) == 0)
                return error_set(error, -EINVAL,
                                 "output '%s' stands twice in its table",
                                 a->outputs[i].name);
    }
    return 0;
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
    if (a->flags & ~WEIR_MANY_ROWS)
        return error_set(error, -EINVAL,
                         "it has the unknown flags 0x%x; it may need a newer weir",
                         a->flags);
    if (!a->update || !a->emit)
        return error_set(error, -EINVAL, "it has no %s function",
                         a->update ? "emit" : "update");
    if (!a->save != !a->load)
        return error_set(error, -EINVAL, "it has a %s function, but no %s",
                         a->save ? "save" : "load", a->save ? "load" : "save");
    if (a->config_size > CONFIG_SIZE_MAX)
        return error_set(error, -EINVAL,
                         "its config struct has %zu bytes, the limit is %u",
                         a->config_size, CONFIG_SIZE_MAX);
    if (a->state_size == 0 || a->state_size > STATE_SIZE_MAX)
        return error_set(error, -EINVAL,
                         "its state has %zu bytes, it must have 1 to %u", a->state_size,
                         STATE_SIZE_MAX);
    return 0;
}

/* ---- From the plugin's structs to ours, whichever header they were made with ---- */

/* A copy of a table whose rows begin with a name and end with one that is NULL. */
static int copy_table(const void *table, size_t row_size, size_t our_size, size_t max,
                      void **ret)
{
    size_t n = 0;
    const char *row = table;
    while (*(const char *const *)(const void *)(row + n * row_size))
        if (n++ == max)
            return -E2BIG;
    char *copy = calloc(n + 1, our_size);
    if (!copy)
        return -ENOMEM;
    size_t size = row_size < our_size ? row_size : our_size;
    for (size_t i = 0; i < n; i++)
        memcpy(copy + i * our_size, row + i * row_size, size);
    *ret = copy;
    return 0;
}

static int copy_tables(struct weir_analyzer *a, const struct weir_entry *entry,
                       struct error *error)
{
    const void *params = a->params, *outputs = a->outputs;
    void *copy = NULL;
    a->params = NULL;
    a->outputs = NULL;
    int err = params ? copy_table(params, entry->param_size, sizeof(*a->params),
                                  PARAMS_MAX, &copy)
                     : 0;
    if (err)
        return error_set(error, err == -E2BIG ? -EINVAL : err,
                         "more than %d parameters", PARAMS_MAX);
    a->params = copy;
    copy = NULL;
    err = outputs ? copy_table(outputs, entry->output_size, sizeof(*a->outputs),
                               OUTPUTS_MAX, &copy)
                  : 0;
    a->outputs = copy;
    if (err)
        return error_set(error, err == -E2BIG ? -EINVAL : err, "more than %d outputs",
                         OUTPUTS_MAX);
    return 0;
}

/* The least that ABI 1 has had: rows and structs only ever grow at their ends. */
static const size_t analyzer_size_min = offsetof(struct weir_analyzer, save);
static const size_t param_size_min = sizeof(struct weir_param);
static const size_t output_size_min = sizeof(struct weir_output);

static int take_entry(struct plugin *plugin, const struct weir_entry *entry,
                      const char *name, struct error *error)
{
    struct weir_analyzer *a = &plugin->analyzer;
    if (entry->size < analyzer_size_min || entry->param_size < param_size_min ||
        entry->output_size < output_size_min)
        return error_set(error, -EINVAL,
                         "its structs (%zu, %zu, %zu bytes) are smaller than those of "
                         "any version of ABI %d",
                         entry->size, entry->param_size, entry->output_size, WEIR_ABI);
    if (entry->size > ENTRY_SIZE_MAX || entry->param_size > ENTRY_SIZE_MAX ||
        entry->output_size > ENTRY_SIZE_MAX || !entry->analyzer)
        return error_set(error, -EINVAL,
                         "weir_plugin_abi%d is not what WEIR_PLUGIN makes", WEIR_ABI);
    memcpy(a, entry->analyzer, entry->size < sizeof(*a) ? entry->size : sizeof(*a));
    int err = copy_tables(a, entry, error);
    if (!err)
        err = check_header(a, name, error);
    if (!err)
        err = params_check(a->params, a->config_size, error);
    if (!err)
        err = check_outputs(a, error);
    if (a->threads > WEIR_THREADS_CTX)
        a->threads = WEIR_THREADS_CTX; /* a later level promises more than we can use */
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
