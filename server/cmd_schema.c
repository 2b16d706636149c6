/* SPDX-License-Identifier: Apache-2.0
 *
 * weir schema: JSON Schema of the configuration, with the parameters of all plugins that can be loaded.
 */
#include "cmd.h"
#include "config/config.h"
#include "plugin/loader.h"
#include "plugin/params.h"
#include "wire.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATHS_MAX 16

static const char help[] =
    "Usage: weir schema [-p DIR]... > weir.schema.json\n\n"
    "Writes JSON Schema (2020-12) of the configuration, with the parameters of all "
    "analyzers that can be\n"
    "loaded: for editors, with the line\n\n"
    "  # yaml-language-server: $schema=weir.schema.json\n\n"
    "at the top of a configuration. `weir check` knows more: whether columns are "
    "there, "
    "expressions make\n"
    "sense, durations are in their range.\n\n"
    "  -p, --path DIR  look for plugins in this folder first; up to 16 times\n"
    "  -h, --help      this text\n\n"
    "Exit status: 0 done, 1 a plugin cannot be loaded (the others are there).\n";

struct writing {
    struct plugins *plugins;
    struct buffer *to;
    struct buffer alone, names; /* of the plugins: those that need no parameters; all */
    struct buffer inside;       /* keys that are the same for all */
    bool failed;
};

/* "count" alone: a plugin without parameters that must be given. */
static bool stands_alone(const struct weir_param *p)
{
    for (; p && p->name; p++)
        if (p->flags & WEIR_REQUIRED)
            return false;
    return true;
}

static void put_name(void *ctx, const char *name, const struct plugin *plugin,
                     const struct error *error)
{
    struct writing *w = ctx;
    if (!plugin) {
        fprintf(stderr, "weir: %s\n", error->text);
        w->failed = true;
        return;
    }
    if (stands_alone(plugin->analyzer.params))
        buffer_printf(&w->alone, "%s\"%s\"", w->alone.size ? "," : "", name);
    buffer_printf(&w->names, "%s{\"required\":[\"%s\"]}", w->names.size ? "," : "",
                  name);
}

/* NAME: {parameters}, NAME: the value of the first, NAME: of one that needs none. */
static void put_params(void *ctx, const char *name, const struct plugin *plugin,
                       const struct error *error)
{
    struct writing *w = ctx;
    (void)error;
    if (!plugin)
        return;
    const struct weir_analyzer *a = &plugin->analyzer;
    buffer_printf(w->to, "%s\"%s\":{\"description\":",
                  w->to->data[w->to->size - 1] == ',' ? "" : ",", name);
    buffer_put_json_string(w->to, a->help, strlen(a->help));
    buffer_puts(w->to, ",\"anyOf\":[");
    params_schema(a->params, buffer_text(&w->inside), w->to);
    if (stands_alone(a->params))
        buffer_puts(w->to, ",{\"type\":\"null\"}");
    if (a->params && a->params->name)
        buffer_puts(w->to, ",{\"$ref\":\"#/$defs/text\"}");
    buffer_puts(w->to, "]}");
}

static void put_analyzer(void *ctx, struct buffer *to)
{
    struct writing *w = ctx;
    config_analyzer_keys_schema(true, &w->inside);
    plugins_each(w->plugins, put_name, w);
    if (!w->names.size) { /* nobody knows what there is */
        buffer_puts(to, "true");
        return;
    }
    buffer_puts(to, "{\"anyOf\":[{\"enum\":[");
    buffer_put(to, w->alone.data, w->alone.size);
    buffer_puts(to,
                "]},{\"type\":\"object\",\"additionalProperties\":false,\"oneOf\":[");
    buffer_put(to, w->names.data, w->names.size);
    buffer_puts(to, "],\"properties\":{");
    config_analyzer_keys_schema(false, to);
    plugins_each(w->plugins, put_params, w);
    buffer_puts(to, "}}]}");
}

static int write_schema(char *const *folders)
{
    struct buffer to = {0};
    struct writing w = {.to = &to};
    int status = EXIT_FAILURE;
    if (plugins_new(folders, &w.plugins) == 0) {
        config_schema(&to, put_analyzer, &w);
        if (!to.error && !w.alone.error && !w.names.error && !w.inside.error) {
            (void)!fwrite(to.data, to.size, 1,
                          stdout); /* main.c looks whether it could be */
            status = w.failed ? EXIT_FAILURE : EXIT_SUCCESS;
        }
    }
    if (to.error || !w.plugins)
        fputs("weir: out of memory\n", stderr);
    plugins_free(w.plugins);
    buffer_free(&to);
    buffer_free(&w.alone);
    buffer_free(&w.names);
    buffer_free(&w.inside);
    return status;
}

int cmd_schema(int argc, char **argv)
{
    static const struct option options[] = {{"path", required_argument, NULL, 'p'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    char *folders[PATHS_MAX + 1] = {NULL};
    size_t n = 0;
    for (int o; (o = getopt_long(argc, argv, "p:h", options, NULL)) != -1;) {
        if (o == 'h')
            return fputs(help, stdout) < 0;
        if (o == '?')
            return EXIT_USAGE;
        if (n == PATHS_MAX)
            return cmd_usage("schema", "--path more than %d times", PATHS_MAX);
        folders[n++] = optarg;
    }
    if (optind < argc)
        return cmd_usage("schema", "one argument too many");
    return write_schema(folders);
}
