/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin with the one fault that WEIR_TEST_FAULT names when it is loaded. Without a fault it is a good
 * one: "faulty", with a parameter of each type.
 */
#include "weir/async.h"

#include <stdlib.h>
#include <string.h>

struct config {
    const char *of, *with, *text;
    struct weir_columns more;
    int64_t k;
    double f;
    int flag, choice;
    uint32_t set;
    struct weir_numbers list;
};

struct state {
    int64_t rows;
};

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    (void)ctx;
    (void)r;
    return 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    return weir_put_int(ctx, out, 0, s->rows);
}

WEIR_EMIT(emit, struct state, emit_one)

static int whole(struct weir_ctx *ctx, const struct weir_window *window,
                 const struct weir_rows *rows, struct weir_out *out)
{
    (void)ctx;
    (void)window;
    (void)rows;
    (void)out;
    return 0;
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    (void)ctx;
    (void)state;
    (void)version;
    (void)bytes;
    (void)size;
    return 0;
}

#define MEMBER(m)                                                                      \
    .name = #m, .offset = offsetof(struct config, m), .help = "a parameter"

enum { OF, WITH, TEXT, K, F, FLAG, CHOICE, SET, MORE, LIST, PARAMS };

static struct weir_param params[PARAMS + 1] = {
    {MEMBER(of), .type = WEIR_PARAM_COLUMN, .flags = WEIR_REQUIRED,
     .column_types = WEIR_NUMBERS},
    {MEMBER(with), .type = WEIR_PARAM_COLUMN, .column_types = WEIR_TYPES(WEIR_STRING)},
    {MEMBER(text), .type = WEIR_PARAM_STRING},
    {MEMBER(k), .type = WEIR_PARAM_INT, .init = "10", .min = 1, .max = 1000},
    {MEMBER(f), .type = WEIR_PARAM_FLOAT, .init = "0.5"},
    {MEMBER(flag), .type = WEIR_PARAM_BOOL, .init = "true"},
    {MEMBER(choice), .type = WEIR_PARAM_CHOICE, .choices = "linear nearest",
     .init = "nearest"},
    {MEMBER(set), .type = WEIR_PARAM_SET, .choices = "low middle high",
     .init = "low, high"},
    {MEMBER(more), .type = WEIR_PARAM_COLUMNS,
     .column_types = WEIR_NUMBERS | WEIR_TYPES(WEIR_STRING)},
    {MEMBER(list), .type = WEIR_PARAM_NUMBERS, .init = "0.5, 0.99", .min = -1,
     .max = 1},
};

static struct weir_output outputs[] = {
    {"{of}_low", WEIR_SAME_AS(0), "an output", "low"},
    {"{of}_middle", WEIR_FLOAT, "an output", "middle"},
    {"{with}_{of}_{k}_{choice}", WEIR_STRING, "an output", NULL},
    {.name = NULL},
};

static struct weir_analyzer analyzer = {
    .name = "faulty",
    .version = "1.0",
    .help = "A plugin for tests",
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .update = update,
    .emit = emit,
};

__attribute__((visibility("default"))) extern struct weir_entry weir_plugin_abi1;
struct weir_entry weir_plugin_abi1 = {
    .size = sizeof(struct weir_entry),
    .analyzer_size = sizeof(analyzer),
    .param_size = sizeof(*params),
    .output_size = sizeof(*outputs),
    .ctx_size = sizeof(struct weir_ctx),
    .host_size = sizeof(struct weir_host),
    .rows_size = sizeof(struct weir_rows),
    .window_size = sizeof(struct weir_window),
    .analyzer = &analyzer,
};

/* Tables as a later header might have them: each row has something more behind it. */
static struct {
    struct weir_param param;
    char more[24];
} wide_params[PARAMS + 1];

static struct {
    struct weir_output output;
    char more[8];
} wide_outputs[4];

static struct {
    struct weir_analyzer analyzer;
    char more[64];
} wide;

static void later_header(void)
{
    for (size_t i = 0; i < PARAMS; i++)
        wide_params[i].param = params[i];
    for (size_t i = 0; i < 3; i++)
        wide_outputs[i].output = outputs[i];
    wide.analyzer = analyzer;
    wide.analyzer.params = &wide_params[0].param;
    wide.analyzer.outputs = &wide_outputs[0].output;
    weir_plugin_abi1 =
        (struct weir_entry){.size = sizeof(struct weir_entry) + 8,
                            .analyzer_size = sizeof(wide),
                            .param_size = sizeof(*wide_params),
                            .output_size = sizeof(*wide_outputs),
                            .ctx_size = sizeof(struct weir_ctx) + 8,
                            .host_size = sizeof(struct weir_host) + 8,
                            .rows_size = sizeof(struct weir_rows) + 8,
                            .window_size = sizeof(struct weir_window) + 8,
                            .analyzer = &wide.analyzer};
}

static void break_entry(const char *fault)
{
    if (!strcmp(fault, "null analyzer"))
        weir_plugin_abi1.analyzer = NULL;
    else if (!strcmp(fault, "small analyzer"))
        weir_plugin_abi1.analyzer_size = 16;
    else if (!strcmp(fault, "small param"))
        weir_plugin_abi1.param_size = 8;
    else if (!strcmp(fault, "huge output"))
        weir_plugin_abi1.output_size = 1u << 30;
    else if (!strcmp(fault, "small rows"))
        weir_plugin_abi1.rows_size = 64;
    else if (!strcmp(fault, "huge window"))
        weir_plugin_abi1.window_size = 4096;
    else if (!strncmp(fault, "later", 5))
        later_header();
    if (!strcmp(fault, "later analyzer"))
        wide.more[3] = 1;
    else if (!strcmp(fault, "later param"))
        wide_params[1].more[23] = 1;
    else if (!strcmp(fault, "later output"))
        wide_outputs[2].more[0] = 1;
}

static void break_analyzer(const char *fault)
{
    if (!strcmp(fault, "no name"))
        analyzer.name = NULL;
    else if (!strcmp(fault, "bad name"))
        analyzer.name = "Faulty-1";
    else if (!strcmp(fault, "other name"))
        analyzer.name = "other";
    else if (!strcmp(fault, "no version"))
        analyzer.version = NULL;
    else if (!strcmp(fault, "no help"))
        analyzer.help = NULL;
    else if (!strcmp(fault, "flags"))
        analyzer.flags = 1u << 30;
    else if (!strcmp(fault, "no update"))
        analyzer.update = NULL;
    else if (!strcmp(fault, "no emit"))
        analyzer.emit = NULL;
    else if (!strcmp(fault, "load without save"))
        analyzer.load = load;
    else if (!strcmp(fault, "threads"))
        analyzer.threads = 2;
    else if (!strcmp(fault, "whole"))
        analyzer.whole = whole;
    else if (!strcmp(fault, "whole states")) {
        analyzer.whole = whole;
        analyzer.flags = WEIR_WHOLE;
    } else if (!strcmp(fault, "whole flag"))
        analyzer.flags = WEIR_WHOLE;
    else if (!strcmp(fault, "reason"))
        analyzer.reasons = "nan not-positive";
    else if (!strcmp(fault, "many reasons"))
        analyzer.reasons = "a b c d e f g h i j k l m n o p q";
    else if (!strcmp(fault, "oldest version"))
        analyzer.oldest_version = 1;
    else if (!strcmp(fault, "large config"))
        analyzer.config_size = 4097;
    else if (!strcmp(fault, "large state"))
        analyzer.state_size = (1u << 20) + 1;
    else if (!strcmp(fault, "no state"))
        analyzer.state_size = 0;
    else if (!strcmp(fault, "null outputs"))
        analyzer.outputs = NULL;
    else if (!strcmp(fault, "no outputs"))
        outputs[0].name = NULL;
}

static void break_params(const char *fault)
{
    if (!strcmp(fault, "param twice"))
        params[TEXT].name = "of";
    else if (!strcmp(fault, "param name"))
        params[TEXT].name = "Text";
    else if (!strcmp(fault, "param type"))
        params[TEXT].type = 99;
    else if (!strcmp(fault, "param all"))
        params[TEXT].flags = WEIR_ALL;
    else if (!strcmp(fault, "param file"))
        params[K].flags |= WEIR_FILE;
    else if (!strcmp(fault, "param flags"))
        params[TEXT].flags = 128;
    else if (!strcmp(fault, "param help"))
        params[TEXT].help = NULL;
    else if (!strcmp(fault, "param outside"))
        params[K].offset = sizeof(struct config);
    else if (!strcmp(fault, "param far outside"))
        params[K].offset = SIZE_MAX - 7;
    else if (!strcmp(fault, "param aligned"))
        params[K].offset++;
    else if (!strcmp(fault, "no choices"))
        params[CHOICE].choices = " ";
    else if (!strcmp(fault, "choices default"))
        params[CHOICE].init = "neerest";
    else if (!strcmp(fault, "int default"))
        params[K].init = "1001";
    else if (!strcmp(fault, "two sets"))
        params[CHOICE].type = WEIR_PARAM_SET;
    else if (!strcmp(fault, "column types"))
        params[OF].column_types = 0;
    else if (!strcmp(fault, "unknown column types"))
        params[OF].column_types = WEIR_TYPES(10) | WEIR_NUMBERS;
    else if (!strcmp(fault, "later column types"))
        params[OF].column_types = WEIR_TYPES(WEIR_DECIMAL) | WEIR_NUMBERS;
    else if (!strcmp(fault, "columns default"))
        params[MORE].init = "price";
}

static void break_outputs(const char *fault)
{
    if (!strcmp(fault, "output name"))
        outputs[1].name = "a-b";
    else if (!strcmp(fault, "output twice"))
        outputs[1].name = outputs[0].name;
    else if (!strcmp(fault, "output type"))
        outputs[1].type = 10;
    else if (!strcmp(fault, "output decimal"))
        outputs[1].type = WEIR_DECIMAL;
    else if (!strcmp(fault, "output list"))
        outputs[1].type = WEIR_LIST;
    else if (!strcmp(fault, "output help"))
        outputs[1].help = NULL;
    else if (!strcmp(fault, "output braces"))
        outputs[1].name = "{off}_x";
    else if (!strcmp(fault, "output open brace"))
        outputs[1].name = "{of";
    else if (!strcmp(fault, "output brace type"))
        outputs[1].name = "{f}_x";
    else if (!strcmp(fault, "same as nothing"))
        outputs[1].type = WEIR_SAME_AS(2);
    else if (!strcmp(fault, "same as optional"))
        outputs[1].type = WEIR_SAME_AS(1);
    else if (!strcmp(fault, "output word"))
        outputs[1].set_word = "median";
}

static int ask(struct weir_ctx *ctx, const struct weir_cell *value,
               struct weir_asked *to)
{
    (void)value;
    const struct weir_request q = {.size = sizeof(q), .url = "http://127.0.0.1:1/"};
    return to->request(ctx, to, &q);
}

static int read_reply(struct weir_ctx *ctx, const struct weir_reply *reply,
                      struct weir_out *out)
{
    (void)ctx;
    (void)reply;
    (void)out;
    return 0;
}

static struct weir_output answers[] = {
    {"country", WEIR_STRING, "an answer", NULL},
    {"tier", WEIR_INT, "an answer", NULL},
    {.name = NULL},
};

/* As a later header might have it. */
static struct {
    struct weir_async async;
    char more[16];
} wide_async = {.async = {.size = sizeof(wide_async),
                          .answers = answers,
                          .ask = ask,
                          .read = read_reply}};

static void break_async(const char *fault)
{
    struct weir_async *a = &wide_async.async;
    if (!strcmp(fault, "asked without async")) {
        params[WITH].flags = WEIR_ASKED | WEIR_REQUIRED;
        return;
    }
    if (strncmp(fault, "async", 5) != 0)
        return;
    analyzer.async = a;
    params[WITH].flags = WEIR_ASKED | WEIR_REQUIRED;
    if (!strcmp(fault, "async size"))
        a->size = 8;
    else if (!strcmp(fault, "async later"))
        wide_async.more[5] = 1;
    else if (!strcmp(fault, "async ask"))
        a->ask = NULL;
    else if (!strcmp(fault, "async read"))
        a->read = NULL;
    else if (!strcmp(fault, "async answers"))
        a->answers = NULL;
    else if (!strcmp(fault, "async answer name"))
        answers[1].name = "{of}";
    else if (!strcmp(fault, "async answer type"))
        answers[1].type = WEIR_SAME_AS(0);
    else if (!strcmp(fault, "async answer help"))
        answers[1].help = NULL;
    else if (!strcmp(fault, "async answer word"))
        answers[1].set_word = "low";
    else if (!strcmp(fault, "async answer twice"))
        answers[1].name = "country";
    else if (!strcmp(fault, "async asked"))
        params[WITH].flags = 0;
    else if (!strcmp(fault, "async optional"))
        params[WITH].flags = WEIR_ASKED;
    else if (!strcmp(fault, "async float"))
        params[OF].flags |= WEIR_ASKED;
    else if (!strcmp(fault, "async no column"))
        params[TEXT].flags = WEIR_ASKED | WEIR_REQUIRED;
}

static void __attribute__((constructor)) on_load(void)
{
    const char *fault = getenv("WEIR_TEST_FAULT");
    if (!fault)
        return;
    break_entry(fault);
    break_analyzer(fault);
    break_params(fault);
    break_outputs(fault);
    break_async(fault);
}
