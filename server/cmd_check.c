/* SPDX-License-Identifier: Apache-2.0
 *
 * weir check: the way of `weir serve` up to the point where it would listen.
 */
#include "cmd.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char help[] =
    "Usage: weir check -c FILE\n\n"
    "Reads the configuration, loads its plugins, checks their parameters, compiles the "
    "filters, and\n"
    "opens the database (which makes the file and its tables).\n\n"
    "  -c, --config FILE  the configuration, weir.yaml(5)\n"
    "      --no-database  leave the database alone\n"
    "  -h, --help         this text\n\n"
    "Exit status: 0 all is well, 78 the configuration is wrong, 69/73/74 the database "
    "is.\n";

static void print_summary(const struct weir *w)
{
    printf("%zu stream%s, %zu pipeline%s\n", w->config->n_streams,
           w->config->n_streams == 1 ? "" : "s", w->n_pipelines,
           w->n_pipelines == 1 ? "" : "s");
    for (size_t i = 0; i < w->n_pipelines; i++) {
        const struct table *const *table;
        size_t n = pipeline_tables(w->pipeline[i], &table);
        for (size_t k = 0; k < n; k++) {
            printf("table %s:", table[k]->name);
            for (size_t j = 0; j < table[k]->n_columns; j++)
                printf(" %s", table[k]->column[j].name);
            putchar('\n');
        }
    }
}

int cmd_check(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"no-database", no_argument, NULL, 'n'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *path = NULL;
    bool database = true;
    for (int o; (o = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        if (o == 'c')
            path = optarg;
        else if (o == 'n')
            database = false;
        else if (o == 'h')
            return fputs(help, stdout) < 0;
        else
            return EXIT_USAGE;
    }
    if (!path || optind < argc)
        return cmd_usage("check",
                         path ? "one argument too many" : "-c FILE is missing");

    struct weir *w;
    struct error error = {0};
    int status;
    if (weir_load(path, &w, &status, &error) < 0) {
        fprintf(stderr, "weir: %s\n", error.text);
        return status;
    }
    int r = database ? weir_open_store(w, NULL, &status, &error) : 0;
    if (r < 0)
        fprintf(stderr, "weir: %s\n", error.text);
    if (r == -EBUSY) /* a running server has it open, and has checked it */
        fputs("weir: all but the database was checked\n", stderr);
    if (r == 0 || r == -EBUSY)
        status = EXIT_SUCCESS;
    if (status == EXIT_SUCCESS)
        print_summary(w);
    weir_free(w);
    return status;
}
