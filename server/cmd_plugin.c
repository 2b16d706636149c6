/* SPDX-License-Identifier: Apache-2.0
 *
 * weir plugin new: a folder with an analyzer that builds and runs, to be changed into one's own.
 * weir plugin check: does an analyzer keep what every analyzer promises?
 */
#include "cmd.h"
#include "cmd_new.h"
#include "laws/laws.h"
#include "wire.h"

#include <dlfcn.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_BYTES 40 /* output columns are called after it */

static const char help[] =
    "Usage: weir plugin new [--many | --whole | --async | --python] NAME\n"
    "       weir plugin check [OPTIONS] FILE.so\n\n"
    "new: makes the folder NAME with an analyzer of that name, its Makefile, a "
    "configuration to try it\n"
    "with, and tests (make test). Change it into yours: weir-plugin(3).\n\n"
    "      --many   it gives many rows a group: the largest values of a column\n"
    "      --whole  it gets all rows of a group at once: their median\n"
    "      --async  it asks another service about values: the mean of what that says\n"
    "      --python in Python: a class that folds, with tests for pytest, "
    "weir-python(7)\n"
    "               (without: one row a group, folded row by row: the mean)\n"
    "  -h, --help   this text\n\n"
    "check: weir plugin check --help tells more.\n\n"
    "Exit status: 0 done, 64 not a name, 73 the folder or a file cannot be made.\n";

/* What can be begun: files with their texts. */
struct kind {
    struct {
        const char *path, *text;
    } file[5];
};

static const struct kind kinds[] = {
    {{{"@.c", new_one},
      {"Makefile", new_Makefile},
      {"weir.yaml", new_weir},
      {"test.yaml", new_one_test}}},
    {{{"@.c", new_many},
      {"Makefile", new_Makefile},
      {"weir.yaml", new_weir},
      {"test.yaml", new_many_test}}},
    {{{"@.c", new_whole},
      {"Makefile", new_Makefile},
      {"weir.yaml", new_weir},
      {"test.yaml", new_whole_test}}},
    {{{"@.py", new_python},
      {"test_@.py", new_python_pytest},
      {"Makefile", new_python_Makefile},
      {"weir.yaml", new_python_weir},
      {"test.yaml", new_python_test}}},
    {{{"@.c", new_async},
      {"service.py", new_async_service},
      {"Makefile", new_async_Makefile},
      {"weir.yaml", new_async_weir},
      {"test.yaml", new_async_test}}},
};
#define KIND_PYTHON 3
#define KIND_ASYNC  4

/* In all texts @ stands for the name. */
/* "$@" is make's own and stays. */
static void put_template(FILE *to, const char *text, const char *name)
{
    for (const char *at = text; *at; at++) {
        if (*at == '@' && (at == text || at[-1] != '$'))
            fputs(name, to);
        else
            fputc(*at, to);
    }
}

static int cannot_make(const char *path)
{
    fprintf(stderr, "weir: cannot make '%s': %s\n", path, strerror(errno));
    return EXIT_CANNOT_CREATE;
}

static int write_file(int folder, const char *path, const char *text, const char *name)
{
    int fd = openat(folder, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    FILE *to = fd < 0 ? NULL : fdopen(fd, "w");
    if (!to)
        return cannot_make(path);
    put_template(to, text, name);
    int failed = ferror(to);
    if (fclose(to) != 0 || failed)
        return cannot_make(path);
    return EXIT_SUCCESS;
}

static int write_all(int folder, const char *name, const struct kind *k)
{
    int status = EXIT_SUCCESS;
    for (size_t i = 0; status == EXIT_SUCCESS && i < 5 && k->file[i].path; i++) {
        const char *path = k->file[i].path;
        char full[NAME_MAX_BYTES + 16];
        size_t size = strcspn(path, "@");
        snprintf(full, sizeof(full), "%.*s%s%s", (int)size, path,
                 path[size] ? name : "", path[size] ? path + size + 1 : "");
        status = write_file(folder, full, k->file[i].text, name);
    }
    return status;
}

static int make_new(const char *name, const struct kind *k)
{
    if (strlen(name) > NAME_MAX_BYTES || *name < 'a' || *name > 'z' ||
        name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")])
        return cmd_usage(
            "plugin",
            "'%s' is not an analyzer name ([a-z][a-z0-9_]*, %d bytes at most)", name,
            NAME_MAX_BYTES);
    if (mkdir(name, 0777) < 0)
        return cannot_make(name);
    int folder = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return cannot_make(name);
    int status = write_all(folder, name, k);
    close(folder);
    if (status == EXIT_SUCCESS && k == &kinds[KIND_PYTHON])
        printf(
            "%s/%s.py, test_%s.py, Makefile, weir.yaml and test.yaml are there. Next:\n"
            "  cd %s && make test\n",
            name, name, name, name);
    else if (status == EXIT_SUCCESS)
        printf("%s/%s.c, %sMakefile, weir.yaml and test.yaml are there. Next:\n"
               "  cd %s && make && weir plugins -p . %s && make test\n",
               name, name, k == &kinds[KIND_ASYNC] ? "service.py, " : "", name, name);
    return status;
}

/* ---- check ------------------------------------------------------------------------------------- */

static const char check_help[] =
    "Usage: weir plugin check [--with PARAMETERS] [--without LAW]... [-o FILE] "
    "FILE.so\n\n"
    "Tries an analyzer on rows made by chance, in processes of their own, and says "
    "which laws it keeps.\n"
    "What breaks one is made as small as it can be, and written down as a C "
    "program.\n\n"
    "  -w, --with PARAMETERS  such as 'of: price, k: 3'; a column may name its type, "
    "price:float;\n"
    "                         what is not given is chosen by the plugin's own table\n"
    "      --without LAW      leave a law out that it does not claim to keep; up to 16 "
    "times\n"
    "      --exact            merging gives every bit of what folding gives\n"
    "      --seed NUMBER      other rows; 1 if it is not given\n"
    "      --limit SECONDS    for all trials of a law; 20 if it is not given\n"
    "  -o, --output FILE      write the C program there\n"
    "  -h, --help             this text\n\n"
    "The laws:\n";

#define WITHOUT_MAX 16

/* The runtime of a sanitizer that the plugin was built with and that has to come first in the process: "libasan.so.8";
 * false: none. */
static bool needs_runtime(const char *path, char *name, size_t room)
{
    static const char *const runtime[] = {"libasan.so", "libtsan.so"};
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t size = 0;
    bool found = false;
    if (!file)
        return false;
    FILE *to = open_memstream(&text, &size);
    char piece[65536];
    for (size_t n; to && (n = fread(piece, 1, sizeof(piece), file)) > 0;)
        fwrite(piece, 1, n, to);
    fclose(file);
    if (to)
        fclose(to);
    for (size_t i = 0; to && !found && i < 2; i++) {
        const char *at = memmem(text, size, runtime[i], strlen(runtime[i]));
        found = at && snprintf(name, room, "%.*s", (int)strnlen(at, 32), at) > 0;
    }
    free(text);
    return found;
}

/* Begins again with the sanitizer's runtime in front, unless it is there. */
static void take_runtime(const char *path, int argc, char **argv)
{
    char name[40];
    if (dlsym(RTLD_DEFAULT, "__sanitizer_print_stack_trace") ||
        getenv("WEIR_RUNTIME") || !needs_runtime(path, name, sizeof(name)))
        return;
    char **again = calloc((size_t)argc + 3, sizeof(*again));
    if (!again)
        return;
    again[0] = "weir";
    again[1] = "plugin";
    again[2] = "check";
    memcpy(again + 3, argv + 1, (size_t)(argc - 1) * sizeof(*again));
    setenv("LD_PRELOAD", name, 1);
    setenv("WEIR_RUNTIME", name, 1);
    execv("/proc/self/exe", again);
    free(again);
}

struct check_arguments {
    struct laws_options o;
    const char *except[WITHOUT_MAX + 1];
    size_t n_except;
    const char *output;
};

/* -1: go on. */
static int read_check(int argc, char **argv, struct check_arguments *c)
{
    static const struct option options[] = {{"with", required_argument, NULL, 'w'},
                                            {"without", required_argument, NULL, 'n'},
                                            {"exact", no_argument, NULL, 'e'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"limit", required_argument, NULL, 'l'},
                                            {"output", required_argument, NULL, 'o'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "w:o:h", options, NULL)) != -1;) {
        if (o == 'h') {
            fputs(check_help, stdout);
            laws_list(stdout);
            fputs(
                "\nExit status: 0 it keeps all of them, 1 it does not, 65 it cannot be "
                "tried.\n",
                stdout);
            return EXIT_SUCCESS;
        }
        if (o == '?')
            return EXIT_USAGE;
        if (o == 'w')
            c->o.with = optarg;
        else if (o == 'e')
            c->o.exact = true;
        else if (o == 'o')
            c->output = optarg;
        else if (o == 'l')
            c->o.limit_s = (unsigned)strtoul(optarg, NULL, 10);
        else if (o == 's')
            c->o.seed = strtoull(optarg, NULL, 10);
        else if (!laws_has(optarg))
            return cmd_usage("plugin check", "there is no law '%s'", optarg);
        else if (c->n_except == WITHOUT_MAX)
            return cmd_usage("plugin check", "--without more than %d times",
                             WITHOUT_MAX);
        else
            c->except[c->n_except++] = optarg;
    }
    if (argc - optind != 1)
        return cmd_usage("plugin check", "it takes one FILE.so");
    c->o.path = argv[optind];
    return -1;
}

static int check(int argc, char **argv)
{
    struct check_arguments c = {.o = {.seed = 1, .to = stdout}};
    c.o.except = c.except;
    int status = read_check(argc, argv, &c);
    if (status >= 0)
        return status;
    take_runtime(c.o.path, argc, argv);
    c.o.program = c.output ? fopen(c.output, "we") : NULL;
    if (c.output && !c.o.program)
        return cannot_make(c.output);
    status = laws_check(&c.o);
    if (c.o.program && (fseek(c.o.program, 0, SEEK_END) == 0) && ftell(c.o.program) > 0)
        printf("        a program that shows it: %s\n", c.output);
    if (c.o.program)
        fclose(c.o.program);
    if (c.output && status != 1)
        unlink(c.output);
    return status == 0 ? EXIT_SUCCESS : status == 1 ? EXIT_FAILURE : EXIT_BAD_INPUT;
}

/* ---- */

int cmd_plugin(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'},
                                            {"many", no_argument, NULL, 1},
                                            {"whole", no_argument, NULL, 2},
                                            {"python", no_argument, NULL, KIND_PYTHON},
                                            {"async", no_argument, NULL, KIND_ASYNC},
                                            {NULL, 0, NULL, 0}};
    size_t kind = 0;
    if (argc > 1 && !strcmp(argv[1], "check")) {
        argv[1] = "weir plugin check";
        return check(argc - 1, argv + 1);
    }
    for (int o; (o = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (o == 'h')
            return fputs(help, stdout) < 0;
        if (o == '?')
            return EXIT_USAGE;
        if (kind)
            return cmd_usage(
                "plugin", "--many, --whole, --async and --python exclude each other");
        kind = (size_t)o;
    }
    if (argc - optind != 2 || strcmp(argv[optind], "new") != 0)
        return cmd_usage("plugin", "it takes `new NAME` or `check FILE.so`");
    return make_new(argv[optind + 1], &kinds[kind]);
}
