/* SPDX-License-Identifier: Apache-2.0
 *
 * weir plugins: the analyzers that can be loaded, or all about one of them.
 */
#include "batch/schema.h"
#include "cmd.h"
#include "config/config.h"
#include "plugin/loader.h"
#include "plugin/params.h"
#include "wire.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATHS_MAX   16
#define FOLDERS_MAX (PATHS_MAX + CONFIG_PLUGIN_FOLDERS_MAX)

static const char help[] =
    "Usage: weir plugins [-c FILE] [-p DIR]... [NAME]\n\n"
    "Lists the analyzers that can be loaded, or shows the parameters and the output "
    "columns of one.\n\n"
    "  -c, --config FILE  look in the folders of this configuration too, weir.yaml(5)\n"
    "  -p, --path DIR     look in this folder before those of the configuration; up to "
    "16 times\n"
    "  -h, --help         this text\n\n"
    "Exit status: 0 all is well, 1 a plugin cannot be loaded, 78 the configuration is "
    "wrong.\n";

/* ---- One ---- */

static void print_range(const struct weir_param *p)
{
    if (p->min != 0 || p->max != 0)
        printf(", %.15g to %.15g", p->min, p->max);
}

static void print_param(const struct weir_param *p)
{
    char types[64];
    printf("  %-12s %s", p->name, params_type_name(p->type));
    if (p->type == WEIR_PARAM_COLUMN || p->type == WEIR_PARAM_COLUMNS) {
        params_types_text(p->column_types, types, sizeof(types));
        printf(" (%s)", types);
    } else if (p->type == WEIR_PARAM_CHOICE || p->type == WEIR_PARAM_SET) {
        printf(" of: %s", p->choices);
    }
    print_range(p);
    if (p->flags & WEIR_REQUIRED)
        printf("; must be given");
    else if (p->init)
        printf("; default %s", p->init);
    printf("\n               %s\n", p->help);
}

/* The name of the k-th column parameter; the loader has checked that it is there. */
static const char *input_name(const struct weir_analyzer *a, uint32_t k)
{
    const struct weir_param *p = a->params;
    while (p->type != WEIR_PARAM_COLUMN || k-- > 0)
        p++;
    return p->name;
}

static void print_output(const struct weir_analyzer *a, const struct weir_output *o)
{
    printf("  %-12s ", o->name);
    if (o->type >= WEIR_SAME_AS(0))
        printf("type of '%s'", input_name(a, o->type - WEIR_SAME_AS(0)));
    else
        printf("%s", schema_type_name((enum weir_type)o->type));
    if (o->set_word)
        printf("; if '%s' is asked for", o->set_word);
    printf("\n               %s\n", o->help);
}

static void print_async(const struct weir_analyzer *a)
{
    const char *before = "";
    fputs("\nAnswers of other services (run: async), about ", stdout);
    for (const struct weir_param *p = a->params; p->name; p++) {
        if (!(p->flags & WEIR_ASKED))
            continue;
        printf("%s'%s'", before, p->name);
        before = ", ";
    }
    puts(":");
    for (const struct weir_output *o = a->async->answers; o->name; o++)
        print_output(a, o);
}

static void print_plugin(const struct plugin *plugin)
{
    const struct weir_analyzer *a = &plugin->analyzer;
    printf("%s %s: %s\n\n", a->name, a->version, a->help);
    puts("Parameters:");
    if (!a->params || !a->params[0].name)
        puts("  none");
    for (const struct weir_param *p = a->params; p && p->name; p++)
        print_param(p);
    puts(a->flags & WEIR_MANY_ROWS
             ? "\nOutput columns (any number of rows a group, in a table of its own):"
             : "\nOutput columns:");
    if (!a->outputs)
        puts("  as the parameters say");
    for (const struct weir_output *o = a->outputs; o && o->name; o++)
        print_output(a, o);
    if (a->async)
        print_async(a);
    printf("\nThreads:  %s\n", a->threads == WEIR_THREADS_CTX
                                   ? "workers run it side by side"
                                   : "one call at a time in the whole server");
    printf("Merging:  %s\n", a->merge || a->whole ? "yes" : "no");
    if (a->reasons)
        printf("Skips:    rows for: %s\n", a->reasons);
    if (a->whole)
        puts("State:    all rows of the group");
    else
        printf("State:    %zu bytes a group%s\n", a->state_size,
               a->save ? ", and more by need" : "");
    printf("File:     %s\n", plugin->path);
}

static int show(struct plugins *plugins, const char *name)
{
    struct plugin *plugin;
    struct error error = {0};
    if (plugins_get(plugins, name, &plugin, &error)) {
        fprintf(stderr, "weir: %s\n", error.text);
        return EXIT_FAILURE;
    }
    print_plugin(plugin);
    return EXIT_SUCCESS;
}

/* ---- All ---- */

static void print_line(void *ctx, const char *name, const struct plugin *plugin,
                       const struct error *error)
{
    int *status = ctx;
    if (plugin) {
        printf("%-12s %s\n", name, plugin->analyzer.help);
        return;
    }
    fprintf(stderr, "weir: %s\n", error->text);
    *status = EXIT_FAILURE;
}

static int list(struct plugins *plugins)
{
    int status = EXIT_SUCCESS;
    if (plugins_each(plugins, print_line, &status) < 0) {
        fputs("weir: out of memory\n", stderr);
        return EXIT_FAILURE;
    }
    return status;
}

/* ---- */

/* Appends what the configuration says to the `n` folders of the command line. */
static void add_configured(const struct config *config, char **folder, size_t n)
{
    char *const *more = config ? config->server.plugin_path : NULL;
    for (; more && *more; more++)
        folder[n++] = *more;
}

static int with_folders(char **folder, const char *name)
{
    struct plugins *plugins;
    if (plugins_new(folder, &plugins) < 0) {
        fputs("weir: out of memory\n", stderr);
        return EXIT_FAILURE;
    }
    int status = name ? show(plugins, name) : list(plugins);
    plugins_free(plugins);
    return status;
}

int cmd_plugins(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"path", required_argument, NULL, 'p'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    char *folder[FOLDERS_MAX + 1] = {NULL};
    const char *path = NULL;
    size_t n = 0;
    for (int o; (o = getopt_long(argc, argv, "c:p:h", options, NULL)) != -1;) {
        if (o == 'c')
            path = optarg;
        else if (o == 'p' && n < PATHS_MAX)
            folder[n++] = optarg;
        else if (o == 'p')
            return cmd_usage("plugins", "--path can be given %d times", PATHS_MAX);
        else if (o == 'h')
            return fputs(help, stdout) < 0;
        else
            return EXIT_USAGE;
    }
    if (argc - optind > 1)
        return cmd_usage("plugins", "one name at most");

    struct config *config = NULL;
    struct error error = {0};
    if (path && config_load(path, &config, &error) < 0) {
        fprintf(stderr, "weir: %s\n", error.text);
        return EXIT_CONFIG;
    }
    add_configured(config, folder, n);
    int status = with_folders(folder, argv[optind]);
    config_free(config);
    return status;
}
