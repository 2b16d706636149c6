/* SPDX-License-Identifier: Apache-2.0
 *
 * Binding an analyzer of the configuration: values and columns find their place, and what is wrong is said
 * with the place in the file.
 */
#include "plugin/binding.h"
#include "plugin/binding_form.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct plugins *plugins;
static struct schema *schema;

/* The config struct of tests/unit/plugins/broken/faulty.c. */
struct faulty {
    const char *of, *with, *text;
    struct weir_columns more;
    int64_t k;
    double f;
    int flag, choice;
    uint32_t set;
    struct weir_numbers list;
};

static int bind(const char *plugin, const char *as, const char *yaml,
                struct binding **ret, struct error *error)
{
    struct node *root = NULL;
    int err = node_parse("t.yaml", yaml, strlen(yaml), &root, error);
    if (err)
        fail_msg("%s", error->text);
    struct config_analyzer a = {.plugin = (char *)(uintptr_t)plugin,
                                .as = (char *)(uintptr_t)as,
                                .node = root,
                                .params = node_get(root, "params")};
    err = binding_new(plugins, &a, schema, NULL, ret, error);
    node_free(root); /* nothing of the binding may point into it */
    return err;
}

static struct binding *good(const char *plugin, const char *as, const char *yaml)
{
    struct binding *b = NULL;
    struct error error = {0};
    if (bind(plugin, as, yaml, &b, &error))
        fail_msg("%s", error.text);
    return b;
}

static void bad(const char *plugin, const char *yaml, const char *text)
{
    struct binding *b = NULL;
    struct error error = {0};
    assert_int_not_equal(bind(plugin, NULL, yaml, &b, &error), 0);
    assert_null(b);
    if (!strstr(error.text, text))
        fail_msg("'%s' does not say '%s'", error.text, text);
}

static void names(const struct binding *b, const char *expected)
{
    char text[512] = "";
    for (size_t i = 0; i < b->n_outputs; i++) {
        strcat(text, i ? " " : "");
        strcat(text, b->output[i].name);
    }
    assert_string_equal(text, expected);
}

static void defaults_are_filled_in(void **unused)
{
    (void)unused;
    struct binding *b = good("faulty", NULL, "params: {of: price}");
    const struct faulty *c = b->config;
    assert_string_equal(c->of, "price");
    assert_null(c->with);
    assert_null(c->text);
    assert_int_equal(c->k, 10);
    assert_true(c->f == 0.5);
    assert_int_equal(c->flag, 1);
    assert_int_equal(c->choice, 1);
    assert_int_equal(c->set, 5);
    assert_int_equal(c->list.n, 2);
    assert_true(c->list.value[0] == 0.5 && c->list.value[1] == 0.99);
    binding_free(b);
}

static void values_are_filled_in(void **unused)
{
    (void)unused;
    struct binding *b = good(
        "faulty", NULL,
        "params: {of: qty, with: side, text: '12', k: 1000, f: -2.5e-3, flag: no,\n"
        "         choice: linear, set: [middle], list: [1, -0.25, 1e-3]}");
    const struct faulty *c = b->config;
    assert_string_equal(c->of, "qty");
    assert_string_equal(c->with, "side");
    assert_string_equal(c->text, "12");
    assert_int_equal(c->k, 1000);
    assert_true(c->f == -2.5e-3);
    assert_int_equal(c->flag, 0);
    assert_int_equal(c->choice, 0);
    assert_int_equal(c->set, 2);
    assert_int_equal(c->list.n, 3);
    assert_true(c->list.value[0] == 1 && c->list.value[1] == -0.25 &&
                c->list.value[2] == 1e-3);
    binding_free(b);
}

static void columns_become_inputs(void **unused)
{
    (void)unused;
    struct binding *b = good("faulty", NULL, "params: {of: qty}");
    assert_int_equal(b->n_inputs, 2);
    assert_int_equal(b->input[0], 2);
    assert_int_equal(b->types[0], WEIR_INT);
    assert_int_equal(b->input[1], -1);
    assert_int_equal(b->types[1], 0);
    binding_free(b);
}

static void a_list_of_columns_becomes_inputs(void **unused)
{
    (void)unused;
    struct binding *b =
        good("faulty", NULL, "params: {of: qty, more: [side, price], with: side}");
    const struct faulty *c = b->config;
    assert_int_equal(b->n_inputs, 4);
    assert_int_equal(c->more.first, 2);
    assert_int_equal(c->more.n, 2);
    assert_string_equal(c->more.name[0], "side");
    assert_string_equal(c->more.name[1], "price");
    assert_int_equal(b->input[2], 3);
    assert_int_equal(b->types[2], WEIR_STRING);
    assert_int_equal(b->input[3], 1);
    assert_int_equal(b->types[3], WEIR_FLOAT);
    binding_free(b);
    b = good("faulty", NULL, "params: {of: qty, more: price}");
    c = b->config;
    assert_int_equal(c->more.n, 1);
    assert_string_equal(c->more.name[0], "price");
    binding_free(b);
    bad("faulty", "params: {of: qty, more: [price, prize]}",
        "t.yaml:1:33: the stream has no column 'prize', did you mean 'price'?");
    bad("faulty", "params: {of: qty, more: [price, ts]}",
        "t.yaml:1:33: column 'ts' is of type time, but 'more' of 'faulty' takes: int, "
        "float, string");
    bad("faulty", "params: {of: qty, more: [price, price]}",
        "t.yaml:1:33: 'more' names 'price' twice");
    bad("faulty", "params: {of: qty, more: []}",
        "t.yaml:1:25: 'more' is a list of columns' names");
    bad("faulty", "params: {of: qty, more: {a: b}}",
        "t.yaml:1:25: 'more' is a list of columns' names");
}

static const struct weir_output described[] = {
    {"{of}_p50", WEIR_SAME_AS(0), "a quantile", NULL},
    {"{of}_p99", WEIR_FLOAT, "a quantile", NULL},
    {.name = NULL},
};

static void outputs_can_be_described_later(void **unused)
{
    (void)unused;
    struct error error = {0};
    struct binding *b = good("faulty", "bid", "params: {of: qty}");
    for (size_t i = 0; i < b->n_outputs; i++) { /* as if its table were NULL */
        free(b->output[i].name);
        free(b->output[i].help);
    }
    free(b->output);
    free(b->cell);
    b->output = NULL;
    b->cell = NULL;
    b->n_outputs = b->n_cells = 0;
    assert_int_equal(binding_describe(b, described, &error), 0);
    names(b, "bid_qty_p50 bid_qty_p99");
    assert_int_equal(b->cell[0].type, WEIR_INT);
    assert_int_equal(binding_describe(b, described, &error), 0);
    assert_int_equal(b->n_outputs, 2);
    assert_int_equal(binding_describe(b, &described[1], &error), -EINVAL);
    assert_string_equal(error.text,
                        "it describes other outputs than when it was first opened");
    names(b, "bid_qty_p50 bid_qty_p99");
    binding_free(b);
}

static void faults_of_what_is_described(void **unused)
{
    (void)unused;
    struct binding *b = good("faulty", NULL, "params: {of: qty}");
    const struct {
        struct weir_output output;
        const char *text;
    } wrong[] = {
        {{"a-b", WEIR_INT, "x", NULL}, "'a-b' is not an output name"},
        {{"a", WEIR_LIST, "x", NULL}, "is of type list, which this weir does not have"},
        {{"a", 77, "x", NULL}, "unknown type 77"},
        {{"a", WEIR_SAME_AS(1), "x", NULL}, "type from an input that is not given"},
        {{"a", WEIR_SAME_AS(9), "x", NULL}, "type from an input that is not given"},
        {{"a", WEIR_INT, NULL, NULL}, "no help line"},
        {{NULL, 0, NULL, NULL}, "declares no outputs"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct error error = {0};
        const struct weir_output table[] = {wrong[i].output, {.name = NULL}};
        assert_int_equal(binding_describe(b, table, &error), -EINVAL);
        if (!strstr(error.text, wrong[i].text))
            fail_msg("'%s' does not say '%s'", error.text, wrong[i].text);
    }
    binding_free(b);
}

static void outputs_are_named_typed_and_chosen(void **unused)
{
    (void)unused;
    struct binding *b = good("faulty", NULL, "params: {of: qty}");
    names(b, "qty_low qty_10_nearest");
    assert_int_equal(b->n_cells, 3);
    assert_int_equal(b->cell[0].output, 0);
    assert_int_equal(b->output[0].type, WEIR_INT);
    assert_int_equal(b->cell[2].output, 1);
    assert_int_equal(b->cell[1].output, -1);
    assert_int_equal(b->output[1].type, WEIR_STRING);
    binding_free(b);
    b = good("faulty", NULL,
             "params: {of: price, with: side, k: 3, set: 'middle low'}");
    names(b, "price_low price_middle side_price_3_nearest");
    assert_int_equal(b->output[0].type, WEIR_FLOAT);
    binding_free(b);
}

static void as_is_a_prefix_of_columns(void **unused)
{
    (void)unused;
    struct binding *b = good("stats", "bid", "params: {of: price, emit: [mean, max]}");
    names(b, "bid_price_max bid_price_mean");
    binding_free(b);
    b = good("count", "all", "{}");
    names(b, "all");
    binding_free(b);
}

static void as_leaves_columns_of_a_table_of_its_own(void **unused)
{
    (void)unused;
    struct binding *b = good("topk", "sides", "params: {of: side}");
    names(b, "side side_count side_error");
    binding_free(b);
}

static void an_optional_part_of_a_name_goes_with_its_underscore(void **unused)
{
    (void)unused;
    struct binding *b = good("count", NULL, "{}");
    names(b, "count");
    assert_int_equal(b->types[0], 0);
    binding_free(b);
    b = good("count", NULL, "params: {of: side}");
    names(b, "side_count");
    binding_free(b);
}

static void faults_are_said_with_their_place(void **unused)
{
    (void)unused;
    bad("stat", "\n\nparams: {of: price}", "t.yaml:3:1: there is no analyzer 'stat'");
    bad("stats", "params: {of: price,\n  emmit: [mean]}",
        "t.yaml:2:3: analyzer 'stats' has no parameter 'emmit', did you mean 'emit'?");
    bad("stats", "params: {}",
        "analyzer 'stats' needs the parameter 'of' (the column)");
    bad("stats", "x: 1", "analyzer 'stats' needs the parameter 'of'");
    bad("stats", "params: [of]", "t.yaml:1:9: the parameters of 'stats' are a map");
    bad("stats", "params: {of: prize}",
        "t.yaml:1:14: the stream has no column 'prize', did you mean 'price'?");
    bad("stats", "params: {of: side}",
        "t.yaml:1:14: column 'side' is of type string, but 'of' of 'stats' takes: int, "
        "float");
    bad("stats", "params: {of: [price]}",
        "t.yaml:1:14: 'of' is a column's name, not a list or map");
}

static void faults_of_values(void **unused)
{
    (void)unused;
    bad("stats", "params: {of: price, emit: [mean, meen]}",
        "t.yaml:1:34: 'emit' cannot be 'meen', only one of: count sum min max mean "
        "stddev variance, did you mean 'mean'?");
    bad("stats", "params: {of: price, emit: [mean, mean]}",
        "t.yaml:1:34: 'emit' names 'mean' twice");
    bad("stats", "params: {of: price, emit: []}", "t.yaml:1:27: 'emit' is empty");
    bad("stats", "params: {of: price, emit: {a: 1}}",
        "t.yaml:1:27: 'emit' is a list of words");
    bad("stats", "params: {of: price, emit: [[mean]]}", "'emit' is a list of words");
    bad("topk", "params: {of: side, k: 0}",
        "t.yaml:1:23: 'k' is 0, but goes from 1 to 1000");
    bad("topk", "params: {of: side, k: 1001}", "'k' is 1001, but goes from 1 to 1000");
    bad("topk", "params: {of: side, k: ten}", "t.yaml:1:23: ");
    bad("topk", "params: {of: side, k: 99999999999999999999}", "t.yaml:1:23: ");
    bad("faulty", "params: {of: qty, f: .inf}", "t.yaml:1:22: ");
    bad("faulty", "params: {of: qty, list: [0, 2]}",
        "t.yaml:1:29: 'list' is 2, but goes from -1 to 1");
    bad("faulty", "params: {of: qty, list: [0, x]}", "t.yaml:1:29: ");
    bad("faulty", "params: {of: qty, list: [0, .nan]}", "t.yaml:1:29: ");
    bad("faulty", "params: {of: qty, list: [0, [1]]}", "'list' is a list of numbers");
    bad("faulty", "params: {of: qty, list: {a: 1}}", "'list' is a list of numbers");
    bad("faulty", "params: {of: qty, list: []}", "'list' is empty");
    bad("faulty", "params: {of: qty, list: ''}", "'list' is empty");
    bad("faulty", "params: {of: qty, list: 0 0 2}", "'list' is 2, but goes");
    char many[1200] = "params: {of: qty, list: [0";
    for (int i = 0; i < 256; i++)
        strcat(many, ", 0");
    bad("faulty", strcat(many, "]}"), "'list' has more than 256 numbers");
    bad("faulty", "params: {of: qty, flag: maybe}", "t.yaml:1:25: ");
    bad("faulty", "params: {of: qty, choice: [linear]}",
        "t.yaml:1:27: 'choice' is one of: linear nearest");
    bad("faulty", "params: {of: qty, choice: linaer}", "did you mean 'linear'?");
}

static int setup(void **unused)
{
    (void)unused;
    static char built[] = "plugins", broken[] = "tests/unit/plugins/broken";
    char *const folders[] = {built, broken, NULL};
    unsetenv("WEIR_PLUGIN_PATH");
    unsetenv("WEIR_TEST_FAULT");
    if (plugins_new(folders, &plugins) || schema_new(4, "ts", &schema))
        return -1;
    return schema_set(schema, 1, "price", WEIR_FLOAT) ||
           schema_set(schema, 2, "qty", WEIR_INT) ||
           schema_set(schema, 3, "side", WEIR_STRING);
}

/* What a process says that open has described. */
static int take_outputs(struct binding_cell *cell, size_t n_cells,
                        struct binding_output *output, size_t n_outputs)
{
    struct binding said = {
        .n_cells = n_cells, .cell = cell, .n_outputs = n_outputs, .output = output};
    struct binding *taken = calloc(1, sizeof(*taken));
    struct buffer bytes = {0};
    struct error error = {0};
    assert_non_null(taken);
    taken->left_out = calloc(1, sizeof(*taken->left_out));
    binding_form_put_opened(&said, &bytes);
    int err = binding_form_take_opened(taken, bytes.data, bytes.size, &error);
    assert_true(!err == !error.text[0]);
    assert_int_equal(taken->n_outputs, err ? 0 : n_outputs);
    binding_free(taken);
    buffer_free(&bytes);
    return err;
}

static void outputs_of_a_process_are_checked(void **unused)
{
    (void)unused;
    char help[] = "what", a[] = "a", b[] = "B_2", big_a[] = "A", wrong[] = "a b",
         none[] = "";
    struct binding_cell cell[] = {{WEIR_INT, 0}, {WEIR_FLOAT, -1}, {WEIR_STRING, 1}};
    struct binding_output output[] = {{a, help, WEIR_INT}, {b, help, WEIR_STRING}};
    assert_int_equal(take_outputs(cell, 3, output, 2), 0);
    assert_int_equal(take_outputs(cell, 0, output, 0), -EBADMSG);
    assert_int_equal(take_outputs(cell + 1, 1, output, 0), -EBADMSG); /* no column */
    assert_int_equal(take_outputs(cell, 2, output, 2), -EBADMSG);     /* no cell */
    assert_int_equal(take_outputs(cell, 3, output, 1), -EBADMSG);
    const char *const bad[] = {big_a, wrong, none, NULL};
    for (size_t i = 0; bad[i]; i++) {
        output[1].name = (char *)(uintptr_t)bad[i];
        assert_int_equal(take_outputs(cell, 3, output, 2), -EBADMSG);
    }
    output[1].name = b;
    output[1].type = WEIR_INT; /* another one than its cell's */
    assert_int_equal(take_outputs(cell, 3, output, 2), -EBADMSG);
    output[1].type = WEIR_STRING;
    cell[2].output = 0; /* twice the same */
    assert_int_equal(take_outputs(cell, 3, output, 2), -EBADMSG);
    cell[2].output = 1;
    cell[1].type = (enum weir_type)77;
    assert_int_equal(take_outputs(cell, 3, output, 2), -EBADMSG);
    cell[1].type = (enum weir_type)0;
    assert_int_equal(take_outputs(cell, 3, output, 2), -EBADMSG);
}

/* As bytes and back it is the same: the same values, the same bytes. */
static void bytes_are_read_back(void **unused)
{
    (void)unused;
    struct binding *b = good(
        "faulty", "x",
        "params: {of: qty, with: side, text: 'a b', k: 1000, f: -2.5e-3, flag: no,\n"
        "         choice: linear, set: [middle], list: [1, -0.25, 1e-3], more: [price, "
        "qty]}");
    struct binding *back = NULL;
    struct buffer bytes = {0}, again = {0};
    binding_form_put(b, &bytes);
    assert_int_equal(bytes.error, 0);
    assert_int_equal(binding_form_take(b->plugin, bytes.data, bytes.size, &back), 0);
    const struct faulty *c = back->config;
    assert_string_equal(c->of, "qty");
    assert_string_equal(c->with, "side");
    assert_string_equal(c->text, "a b");
    assert_int_equal(c->k, 1000);
    assert_true(c->f == -2.5e-3);
    assert_int_equal(c->list.n, 3);
    assert_true(c->list.value[1] == -0.25);
    assert_int_equal(c->more.n, 2);
    assert_string_equal(c->more.name[1], "qty");
    assert_int_equal(back->n_inputs, b->n_inputs);
    for (size_t i = 0; i < b->n_inputs; i++)
        assert_int_equal(back->input[i], b->input[i]);
    assert_int_equal(back->n_outputs, b->n_outputs);
    for (size_t i = 0; i < b->n_outputs; i++)
        assert_string_equal(back->output[i].name, b->output[i].name);
    struct binding *third = NULL; /* pointers in `config` are other ones */
    binding_form_put(back, &again);
    assert_int_equal(again.size, bytes.size);
    assert_int_equal(binding_form_take(b->plugin, again.data, again.size, &third), 0);
    binding_free(third);
    binding_free(back);
    binding_free(b);
    buffer_free(&again);
    buffer_free(&bytes);
}

/* Whatever comes in their place is refused, or is a binding that can be used and freed. */
static void bytes_that_are_cut_or_wrong_do_no_harm(void **unused)
{
    (void)unused;
    struct binding *b =
        good("faulty", "x", "params: {of: qty, list: [1, 0.5], text: 'a'}");
    struct buffer bytes = {0};
    binding_form_put(b, &bytes);
    for (size_t n = 0; n < bytes.size; n++) {
        struct binding *back = NULL;
        char *cut = malloc(n + 1); /* so that a sanitizer sees a byte too much */
        memcpy(cut, bytes.data, n);
        assert_int_equal(binding_form_take(b->plugin, cut, n, &back), -EBADMSG);
        assert_null(back);
        free(cut);
    }
    size_t behind = b->plugin->analyzer.config_size; /* that is the plugin's own */
    for (size_t i = behind; i < bytes.size; i++)
        for (int bit = 0; bit < 8; bit++) {
            struct binding *back = NULL;
            bytes.data[i] = (char)(bytes.data[i] ^ 1 << bit);
            if (binding_form_take(b->plugin, bytes.data, bytes.size, &back) == 0)
                binding_free(back);
            bytes.data[i] = (char)(bytes.data[i] ^ 1 << bit);
        }
    buffer_free(&bytes);
    binding_free(b);
}

static int teardown(void **unused)
{
    (void)unused;
    plugins_free(plugins);
    schema_free(schema);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(values_are_filled_in),
        cmocka_unit_test(columns_become_inputs),
        cmocka_unit_test(a_list_of_columns_becomes_inputs),
        cmocka_unit_test(outputs_can_be_described_later),
        cmocka_unit_test(faults_of_what_is_described),
        cmocka_unit_test(outputs_are_named_typed_and_chosen),
        cmocka_unit_test(as_is_a_prefix_of_columns),
        cmocka_unit_test(as_leaves_columns_of_a_table_of_its_own),
        cmocka_unit_test(an_optional_part_of_a_name_goes_with_its_underscore),
        cmocka_unit_test(faults_are_said_with_their_place),
        cmocka_unit_test(faults_of_values),
        cmocka_unit_test(outputs_of_a_process_are_checked),
        cmocka_unit_test(bytes_are_read_back),
        cmocka_unit_test(bytes_that_are_cut_or_wrong_do_no_harm),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
