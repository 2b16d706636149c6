/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading plugins: whatever is wrong with one is said in words, and headers of other versions do.
 */
#include "plugin/loader.h"

#include <elf.h>
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BUILT "tests/unit/plugins/broken"

static char base[64];    /* of this run */
static char folder[128]; /* of this test, in it */
static char *const folders[] = {folder, NULL};

/* A new folder: from the same path or the same inode dlopen would not load a second time. */
static void new_folder(void)
{
    static int n;
    snprintf(folder, sizeof(folder), "%s/%d", base, n++);
    assert_int_equal(mkdir(folder, 0700), 0);
}

static void path_of(const char *file, char path[256])
{
    snprintf(path, 256, "%s/%s", folder, file);
}

static void write_file(const char *file, const void *bytes, size_t size)
{
    char path[256];
    path_of(file, path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

static void copy_plugin(const char *from, const char *to)
{
    static char bytes[1 << 22];
    char path[256];
    snprintf(path, sizeof(path), "%s.so", from);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t size = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    assert_true(size > 0 && size < sizeof(bytes));
    write_file(to, bytes, size);
}

/* Loads NAME from the folder; the error must have each of the texts (NULL-ended). */
static void refused(const char *name, int expected, ...)
{
    struct plugins *p;
    struct plugin *plugin = NULL;
    struct error error = {0};
    assert_int_equal(plugins_new(folders, &p), 0);
    assert_int_equal(plugins_get(p, name, &plugin, &error), expected);
    assert_null(plugin);
    va_list args;
    va_start(args, expected);
    for (const char *text; (text = va_arg(args, const char *));)
        if (!strstr(error.text, text))
            fail_msg("'%s' does not say '%s'", error.text, text);
    va_end(args);
    plugins_free(p);
}

static void faulty(const char *fault, const char *text)
{
    new_folder();
    copy_plugin(BUILT "/faulty", "faulty.so");
    setenv("WEIR_TEST_FAULT", fault, 1);
    refused("faulty", -EINVAL, folder, "/faulty.so: ", text, NULL);
    unsetenv("WEIR_TEST_FAULT");
}

static struct plugins *with_fault(const char *fault, struct plugin **ret)
{
    struct plugins *p;
    struct error error = {0};
    new_folder();
    copy_plugin(BUILT "/faulty", "faulty.so");
    setenv("WEIR_TEST_FAULT", fault, 1);
    assert_int_equal(plugins_new(folders, &p), 0);
    if (plugins_get(p, "faulty", ret, &error))
        fail_msg("%s", error.text);
    unsetenv("WEIR_TEST_FAULT");
    return p;
}

static void a_good_plugin_is_loaded_once(void **unused)
{
    (void)unused;
    struct plugin *one, *two;
    struct plugins *p = with_fault("", &one);
    assert_int_equal(plugins_get(p, "faulty", &two, NULL), 0);
    assert_ptr_equal(one, two);
    assert_string_equal(one->analyzer.help, "A plugin for tests");
    assert_string_equal(one->analyzer.params[7].name, "set");
    assert_null(one->analyzer.params[10].name);
    plugins_free(p);
}

static void a_name_that_is_close_is_suggested(void **unused)
{
    (void)unused;
    new_folder(); /* a file that is loaded must not be written over */
    copy_plugin(BUILT "/faulty", "faulty.so");
    refused("fautly", -ENOENT, "there is no analyzer 'fautly'", folder,
            "did you mean 'faulty'?", NULL);
}

static void names_cannot_leave_the_folders(void **unused)
{
    (void)unused;
    refused("../x/faulty", -ENOENT, "there is no analyzer '../x/faulty'", NULL);
    refused("", -ENOENT, "there is no analyzer ''", NULL);
}

static void files_that_are_no_shared_object_are_refused(void **unused)
{
    (void)unused;
    static const char text[] =
        "#!/bin/sh\necho this is a script of more than sixty-four bytes, no plugin\n";
    write_file("script.so", text, sizeof(text) - 1);
    refused("script", -EINVAL, "/script.so: ", "no ELF header", NULL);
    write_file("empty.so", "", 0);
    refused("empty", -EINVAL, "/empty.so: ", "no ELF header", NULL);
}

/* Where what is loaded of a shared object ends: behind it there may be much for debuggers. */
static size_t end_of_loaded(const char *bytes)
{
    Elf64_Ehdr head;
    size_t end = 0;
    memcpy(&head, bytes, sizeof(head));
    for (size_t i = 0; i < head.e_phnum; i++) {
        Elf64_Phdr p;
        memcpy(&p, bytes + head.e_phoff + i * head.e_phentsize, sizeof(p));
        if (p.p_type == PT_LOAD && p.p_offset + p.p_filesz > end)
            end = p.p_offset + p.p_filesz;
    }
    return end;
}

static void a_file_that_is_cut_off_is_refused(void **unused)
{
    (void)unused;
    static char bytes[1 << 22];
    FILE *f = fopen("plugins/count.so", "rb");
    assert_non_null(f);
    size_t size = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    size_t end = end_of_loaded(bytes);
    assert_in_range(end, 4096, size);
    for (size_t n = 4; n < end; n += n < 200 ? 1 : 997) {
        new_folder();
        write_file("count.so", bytes, n);
        refused("count", -EINVAL, "/count.so: the file is cut off", NULL);
    }
}

static void what_is_no_file_is_refused(void **unused)
{
    (void)unused;
    char path[256];
    path_of("fifo.so", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    refused("fifo", -EINVAL, "/fifo.so: it is not a regular file", NULL);
    path_of("folder.so", path);
    assert_int_equal(mkdir(path, 0700), 0);
    refused("folder", -EINVAL, "/folder.so: it is not a regular file", NULL);
}

static void a_shared_object_that_is_no_plugin_is_refused(void **unused)
{
    (void)unused;
    copy_plugin(BUILT "/nosymbol", "nosymbol.so");
    refused("nosymbol", -EINVAL, "not a weir plugin", "no weir_plugin_abi1",
            "WEIR_PLUGIN", NULL);
}

static void another_abi_is_named(void **unused)
{
    (void)unused;
    copy_plugin(BUILT "/abi2", "abi2.so");
    refused("abi2", -EINVAL, "built for plugin ABI 2, this weir loads ABI 1", NULL);
}

static void a_missing_symbol_is_named(void **unused)
{
    (void)unused;
    copy_plugin(BUILT "/undefined", "undefined.so");
    refused("undefined", -EINVAL, "undefined symbol: function_that_nobody_has", NULL);
}

static void faults_of_the_entry(void **unused)
{
    (void)unused;
    faulty("null analyzer", "weir_plugin_abi1 is not what WEIR_PLUGIN makes");
    faulty("small analyzer",
           "(number 2, 16 bytes) is smaller than in any version of ABI 1");
    faulty("small param",
           "(number 3, 8 bytes) is smaller than in any version of ABI 1");
    faulty("small rows",
           "(number 7, 64 bytes) is smaller than in any version of ABI 1");
    faulty("huge window", "or it is of a much newer header");
    faulty("huge output", "weir_plugin_abi1 is not what WEIR_PLUGIN makes");
}

static void faults_of_the_analyzer(void **unused)
{
    (void)unused;
    faulty("no name", "'' is not an analyzer name");
    faulty("bad name", "'Faulty-1' is not an analyzer name ([a-z][a-z0-9_]*)");
    faulty("other name", "calls itself 'other', so the file must be other.so");
    faulty("no version", "no version");
    faulty("no help", "no help line");
    faulty("flags", "unknown flags 0x40000000");
    faulty("threads", "threads are 2, which is unknown");
    faulty("whole", "a whole function, but not the flag WEIR_WHOLE");
    faulty("whole flag", "the flag WEIR_WHOLE, but no whole function");
    faulty("whole states", "with a whole function it has no states");
    faulty("param all", "WEIR_ALL is for columns that need not be given");
    faulty("param file", "WEIR_FILE is for strings");
    faulty("reason", "'not-positive' is not a reason");
    faulty("many reasons", "17 reasons, the limit is 16");
    faulty("oldest version", "oldest_version 1 is above its state_version 0");
    faulty("no update", "no update function");
    faulty("no emit", "no emit function");
    faulty("load without save", "has a load function, but no save");
    faulty("large config", "config struct has 4097 bytes, the limit is 4096");
    faulty("large state", "state has 1048577 bytes, it must have 1 to 1048576");
    faulty("no state", "state has 0 bytes");
    faulty("null outputs", "declares no outputs, and has no open that could");
    faulty("no outputs", "declares no outputs");
}

static void faults_of_the_asynchronous_part(void **unused)
{
    (void)unused;
    struct plugin *plugin;
    struct plugins *p = with_fault("async", &plugin);
    assert_ptr_equal(plugin->analyzer.async, &plugin->async);
    assert_string_equal(plugin->async.answers[1].name, "tier");
    assert_null(plugin->async.answers[2].name);
    plugins_free(p);
    faulty("async size", "says that it has 8 bytes");
    faulty("async later", "has members that this weir does not know");
    faulty("async ask", "its asynchronous part has no ask function");
    faulty("async read", "its asynchronous part has no read function");
    faulty("async answers", "declares no answers");
    faulty("async answer name", "'{of}' is not the name of an answer");
    faulty("async answer type", "answer 'tier' has the unknown type 256");
    faulty("async answer help", "answer 'tier' has no help line");
    faulty("async answer word", "answer 'tier' has a set_word");
    faulty("async answer twice", "answer 'country' stands twice");
    faulty("async asked", "0 of its parameters have the flag WEIR_ASKED");
    faulty("async optional", "WEIR_ASKED is for a column of string, int or bool");
    faulty("async float", "WEIR_ASKED is for a column of string, int or bool");
    faulty("async no column", "WEIR_ASKED is for a column of string, int or bool");
    faulty("asked without async", "flag WEIR_ASKED, but it has no asynchronous part");
}

static void faults_of_parameters(void **unused)
{
    (void)unused;
    faulty("param twice", "parameter 'of' stands twice");
    faulty("param name", "'Text' is not a parameter name");
    faulty("param type", "parameter 'text' has the unknown type 99");
    faulty("param flags", "parameter 'text' has the unknown flags 0x80");
    faulty("param help", "parameter 'text' has no help line");
    faulty(
        "param outside",
        "parameter 'k' (8 bytes at 88) does not lie in the config struct of 88 bytes");
    faulty("param far outside", "parameter 'k' (8 bytes at");
    faulty("param aligned", "parameter 'k' (8 bytes at 41)");
    faulty("no choices", "parameter 'choice' has no choices");
    faulty("choices default", "'choice' cannot be 'neerest'");
    faulty("int default", "'k' is 1001, but goes from 1 to 1000");
    faulty("two sets", "'set' is the second parameter of type set");
    faulty("column types", "parameter 'of' takes columns of no type");
    faulty("unknown column types", "columns of the unknown types 0x400");
    faulty("columns default", "parameter 'more': a list of columns has no default");
}

static void faults_of_outputs(void **unused)
{
    (void)unused;
    faulty("output name", "'a-b' is not an output name");
    faulty("output twice", "output '{of}_low' stands twice");
    faulty("output type", "output '{of}_middle' has the unknown type 10");
    faulty("output decimal", "is of type decimal, which this weir does not have yet");
    faulty("output list", "is of type list, which this weir does not have yet");
    faulty("output help", "output '{of}_middle' has no help line");
    faulty("output braces", "output '{off}_x': what stands in {} must be a parameter");
    faulty("output open brace", "output '{of': what stands in {} must be a parameter");
    faulty("output brace type",
           "output '{f}_x': what stands in {} must be a parameter of type column, "
           "string, choice or int");
    faulty("same as nothing", "takes its type from an input that does not exist");
    faulty("same as optional", "takes its type from 'with', which need not be given");
    faulty("output word", "no parameter of type set has the word 'median'");
}

static void a_plugin_of_a_later_header_loads(void **unused)
{
    (void)unused;
    struct plugin *plugin;
    struct plugins *p = with_fault("later header", &plugin);
    assert_string_equal(plugin->analyzer.params[7].choices, "low middle high");
    assert_string_equal(plugin->analyzer.outputs[2].name, "{with}_{of}_{k}_{choice}");
    plugins_free(p);
}

static void what_a_later_header_asks_for_is_refused(void **unused)
{
    (void)unused;
    faulty("later analyzer", "it has members that this weir does not know");
    faulty("later param", "its parameters have members that this weir does not know");
    faulty("later output", "its outputs have members that this weir does not know");
}

static void columns_of_types_to_come_can_be_taken(void **unused)
{
    (void)unused;
    struct plugin *plugin;
    plugins_free(with_fault("later column types", &plugin));
}

struct seen {
    char names[1024];
    int errors;
};

static void see(void *ctx, const char *name, const struct plugin *plugin,
                const struct error *error)
{
    struct seen *seen = ctx;
    size_t used = strlen(seen->names);
    snprintf(seen->names + used, sizeof(seen->names) - used, "%s ", name);
    assert_true(!plugin == (error != NULL));
    seen->errors += error != NULL;
}

static void all_are_listed_by_name_with_their_errors(void **unused)
{
    (void)unused;
    char path[256];
    new_folder();
    copy_plugin(BUILT "/faulty", "faulty.so");
    copy_plugin(BUILT "/nosymbol", "nosymbol.so");
    write_file("empty.so", "", 0);
    char *const both[] = {folder, (char[]){"plugins"}, NULL};
    struct plugins *p;
    struct seen seen = {0};
    copy_plugin("plugins/count", "count.so"); /* hides the one of the later folder */
    write_file("libx.so.1", "", 0);
    write_file("Upper.so", "", 0);
    assert_int_equal(plugins_new(both, &p), 0);
    assert_int_equal(plugins_each(p, see, &seen), 0);
    int python = access("plugins/python.so", F_OK) == 0;
    char expected[1024];
    snprintf(
        expected, sizeof(expected),
        "anomaly change collect count covariance delta distinct drawdown empty entropy "
        "ewma faulty first funnel gap histogram holt_winters imbalance last mad "
        "mode moments nosymbol ohlc path %squantiles rate retention rows sample "
        "score sessions "
        "sql stats sum threshold time_weighted topk trending twap volatility vwap ",
        python ? "python python_window " : "");
    assert_string_equal(seen.names, expected);
    assert_int_equal(seen.errors, 2);
    struct plugin *plugin;
    assert_int_equal(plugins_get(p, "count", &plugin, NULL), 0);
    path_of("count.so", path);
    assert_string_equal(plugin->path, path);
    plugins_free(p);
}

static void the_environment_comes_first(void **unused)
{
    (void)unused;
    struct plugins *p;
    struct plugin *plugin;
    setenv("WEIR_PLUGIN_PATH", "/nowhere:plugins", 1);
    assert_int_equal(plugins_new(folders, &p), 0);
    assert_int_equal(plugins_get(p, "count", &plugin, NULL), 0);
    assert_string_equal(plugin->path, "plugins/count.so");
    unsetenv("WEIR_PLUGIN_PATH");
    plugins_free(p);
}

static void no_folder_is_left_out_however_many_there_are(void **unused)
{
    (void)unused;
    static char nowhere[] = "nowhere", plugins[] = "plugins";
    char path[8 * 100 + 1] = "";
    char *many[101] = {NULL};
    struct plugins *p;
    struct plugin *plugin;
    for (size_t i = 0; i < 100; i++) {
        memcpy(path + 8 * i, "nowhere:", 9);
        many[i] = nowhere;
    }
    many[99] = plugins;
    setenv("WEIR_PLUGIN_PATH", path, 1);
    assert_int_equal(plugins_new(many, &p), 0);
    assert_int_equal(plugins_get(p, "count", &plugin, NULL), 0);
    assert_string_equal(plugin->path, "plugins/count.so");
    unsetenv("WEIR_PLUGIN_PATH");
    plugins_free(p);
}

static int setup(void **unused)
{
    (void)unused;
    unsetenv("WEIR_PLUGIN_PATH");
    unsetenv("WEIR_TEST_FAULT");
    snprintf(base, sizeof(base), "test_loader.XXXXXX");
    if (!mkdtemp(base))
        return -1;
    new_folder();
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind,
                      struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int teardown(void **unused)
{
    (void)unused;
    return nftw(base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_plugin_is_loaded_once),
        cmocka_unit_test(a_name_that_is_close_is_suggested),
        cmocka_unit_test(names_cannot_leave_the_folders),
        cmocka_unit_test(files_that_are_no_shared_object_are_refused),
        cmocka_unit_test(a_file_that_is_cut_off_is_refused),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(a_shared_object_that_is_no_plugin_is_refused),
        cmocka_unit_test(another_abi_is_named),
        cmocka_unit_test(a_missing_symbol_is_named),
        cmocka_unit_test(faults_of_the_entry),
        cmocka_unit_test(faults_of_the_analyzer),
        cmocka_unit_test(faults_of_the_asynchronous_part),
        cmocka_unit_test(faults_of_parameters),
        cmocka_unit_test(faults_of_outputs),
        cmocka_unit_test(a_plugin_of_a_later_header_loads),
        cmocka_unit_test(what_a_later_header_asks_for_is_refused),
        cmocka_unit_test(columns_of_types_to_come_can_be_taken),
        cmocka_unit_test(all_are_listed_by_name_with_their_errors),
        cmocka_unit_test(the_environment_comes_first),
        cmocka_unit_test(no_folder_is_left_out_however_many_there_are),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
