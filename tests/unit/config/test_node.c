/* SPDX-License-Identifier: Apache-2.0
 *
 * The tree of a YAML file: structure, places, variables, limits, scalars. Places are counted by hand.
 */
#include "base/buffer.h"
#include "config/node.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct node *parse(const char *text)
{
    struct node *root = NULL;
    struct error error = {0};
    if (node_parse("f", text, strlen(text), &root, &error) < 0)
        fail_msg("%s", error.text);
    return root;
}

/* That the text is refused, with exactly this message. */
static void check_refused(const char *text, size_t size, int code, const char *message)
{
    struct node *root = NULL;
    struct error error = {0};
    int r = node_parse("f", text, size, &root, &error);
    if (r != code || strcmp(error.text, message) != 0)
        fail_msg("%s\ngave %d \"%s\",\nnot %d \"%s\"", size < 200 ? text : "(long)", r,
                 error.text, code, message);
    assert_null(root);
}

static void check_place(const struct node *n, enum node_kind kind, unsigned line,
                        unsigned column)
{
    assert_non_null(n);
    assert_int_equal(n->kind, kind);
    assert_int_equal(n->line, line);
    assert_int_equal(n->column, column);
    assert_string_equal(n->file, "f");
}

static void nodes_know_where_they_stand(void **state)
{
    (void)state;
    struct node *root = parse("# comment\n"
                              "a: 1\n"
                              "list:\n"
                              "  - x\n"
                              "  - {k: 'v', \"q\": [1, 2]}\n"
                              "\xc3\xa9\xc3\xa9: z\n"); /* two characters, four bytes */
    check_place(root, NODE_MAP, 2, 1);
    assert_int_equal(root->n, 3);
    check_place(&root->key[0], NODE_SCALAR, 2, 1);
    check_place(node_get(root, "a"), NODE_SCALAR, 2, 4);
    const struct node *list = node_get(root, "list");
    check_place(list, NODE_LIST, 4, 3);
    assert_int_equal(list->n, 2);
    check_place(&list->item[0], NODE_SCALAR, 4, 5);
    const struct node *map = &list->item[1];
    check_place(map, NODE_MAP, 5, 5);
    check_place(node_get(map, "k"), NODE_SCALAR, 5, 9);
    check_place(&map->key[1], NODE_SCALAR, 5, 14);
    check_place(node_get(map, "q"), NODE_LIST, 5, 19);
    check_place(&node_get(map, "q")->item[1], NODE_SCALAR, 5, 23);
    check_place(&root->item[2], NODE_SCALAR, 6, 5);
    assert_null(node_get(root, "b"));
    assert_null(node_get(list, "x"));
    node_free(root);
    node_free(NULL);
}

static void scalars_have_text_and_know_their_quotes(void **state)
{
    static const struct {
        const char *yaml, *text;
        bool quoted, null;
    } known[] = {
        {"a: plain text # comment", "plain text", false, false},
        {"a: '10'", "10", true, false},
        {"a: \"x\\ty\\u20ac\"", "x\ty\xe2\x82\xac", true, false},
        {"a: |\n  one\n  two\n", "one\ntwo\n", true, false},
        {"a: >-\n  one\n  two\n", "one two", true, false},
        {"a:", "", false, true},
        {"a: ~", "~", false, true},
        {"a: null", "null", false, true},
        {"a: ''", "", true, false},
        {"a: 'null'", "null", true, false},
        {"\xef\xbb\xbf"
         "a: x",
         "x", false, false}, /* byte order mark */
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        struct node *root = parse(known[i].yaml);
        const struct node *a = node_get(root, "a");
        assert_non_null(a);
        assert_string_equal(a->text, known[i].text);
        assert_int_equal(a->quoted, known[i].quoted);
        assert_int_equal(node_is_null(a), known[i].null);
        node_free(root);
    }
}

static void variables_are_replaced(void **state)
{
    static const struct {
        const char *yaml, *text;
        bool quoted;
    } known[] = {
        {"a: ${WEIR_T}", "value", false},
        {"a: <${WEIR_T}${WEIR_T}>", "<valuevalue>", false},
        {"a: '${WEIR_T}'", "value",
         false}, /* may be a number where YAML asks for quotes */
        {"a: 'no variable'", "no variable", true},
        {"a: ${WEIR_EMPTY}", "", false},
        {"a: ${WEIR_EMPTY:-d}", "d", false},
        {"a: ${WEIR_NOT_SET:-d}", "d", false},
        {"a: ${WEIR_NOT_SET:-}", "", false},
        {"a: ${WEIR_NOT_SET:-http://x:1/?a=-b}", "http://x:1/?a=-b", false},
        {"a: ${WEIR_T:-d}", "value", false},
        {"a: ${WEIR_T:?must be}", "value", false},
        {"a: ${WEIR_NOT_SET:-${WEIR_T}}", "${WEIR_T}",
         false},                                     /* the first brace ends it */
        {"a: ${WEIR_DOLLAR}", "${WEIR_T}$$", false}, /* not looked at again */
        {"a: $${WEIR_T}", "${WEIR_T}", false},
        {"a: $$$$", "$$", false},
        {"a: $", "$", false},
        {"a: json(x, '$.a') + $1", "json(x, '$.a') + $1", false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        struct node *root = parse(known[i].yaml);
        const struct node *a = node_get(root, "a");
        assert_string_equal(a->text, known[i].text);
        assert_int_equal(a->quoted, known[i].quoted);
        node_free(root);
    }
}

static void variables_in_keys_stay(void **state)
{
    (void)state;
    struct node *root = parse("${WEIR_T}: 1");
    assert_string_equal(root->key[0].text, "${WEIR_T}");
    node_free(root);
}

static void wrong_variables_are_refused(void **state)
{
    static const struct {
        const char *yaml, *message;
    } known[] = {
        {"a: ${WEIR_NOT_SET}",
         "f:1:4: the environment variable WEIR_NOT_SET is not set (a default "
         "is written '${WEIR_NOT_SET:-value}')"},
        {"b: 1\na: [x, '${WEIR_NOT_SET:?say where}']",
         "f:2:8: WEIR_NOT_SET: say where"},
        {"a: ${WEIR_EMPTY:?say where}", "f:1:4: WEIR_EMPTY: say where"},
        {"a: ${WEIR_EMPTY:?}",
         "f:1:4: the environment variable WEIR_EMPTY is not set or empty (a "
         "default is written '${WEIR_EMPTY:-value}')"},
        {"a: ${WEIR_T", "f:1:4: '${' without '}'"},
        {"a: ${}", "f:1:4: '${' must be followed by the name of a variable (a plain "
                   "'${' is written "
                   "'$${')"},
        {"a: ${1A}",
         "f:1:4: '${' must be followed by the name of a variable (a plain '${' is "
         "written '$${')"},
        {"a: ${WEIR_T:+x}",
         "f:1:4: ':+x' cannot follow the name in '${WEIR_T': only ':-default' "
         "and ':?message' can"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++)
        check_refused(known[i].yaml, strlen(known[i].yaml), -EINVAL, known[i].message);
}

static void what_is_no_yaml_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *yaml, *message;
    } known[] = {
        {"", "f:1:1: the file is empty"},
        {"# nothing\n", "f:2:1: the file is empty"},
        {"a:\n\tb: 1", "f:2:1: a tab cannot be used here, only spaces"},
        {"a: b: c", "f:1:5: mapping values are not allowed in this context"},
        {"a: [b\nc: d\n",
         "f:2:2: did not find expected ',' or ']' while parsing a flow sequence "
         "that begins in line 1"},
        {"a: 'b",
         "f:1:6: found unexpected end of stream while scanning a quoted scalar"},
        {"a: 1\n---\nb: 2\n", "f:2:1: only one document can be in the file"},
        {"a: 1\nb: 2\na: 3\n", "f:3:1: the key 'a' is there twice, first in line 1"},
        {"{z: 1, b: 2, 'b': 3, z: 4}",
         "f:1:14: the key 'b' is there twice, first in line 1"},
        {"[a]: 1", "f:1:1: a key must be a plain word"},
        {"? {a: b}\n: 1", "f:1:3: a key must be a plain word"},
        {"a: !!int 3",
         "f:1:4: tags such as 'tag:yaml.org,2002:int' are not supported; what a value "
         "is follows from its key, and quotes make it a text"},
        {"a: !foo [3]", "f:1:4: tags such as '!foo' are not supported; what a value is "
                        "follows from its key, and quotes make it a text"},
        {"!x a: 3", "f:1:1: a key can have no tag and no anchor"},
        {"a: *b", "f:1:4: there is no anchor '&b' before this"},
        {"a: &b [*b]", "f:1:8: there is no anchor '&b' before this"},
        {"a: \"x\\0y\"", "f:1:4: a zero byte cannot be used in a text"},
        {"a: 1\nb\xc3\xa9: \xff", "f:2:5: invalid leading UTF-8 octet"},
        {"a: \x01", "f:1:4: control characters are not allowed"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++)
        check_refused(known[i].yaml, strlen(known[i].yaml), -EINVAL, known[i].message);
}

static void an_alias_is_a_copy_of_what_its_anchor_names(void **state)
{
    (void)state;
    struct node *root = parse("a: &x {k: [1, '2']}\n"
                              "b: *x\n"
                              "c: &x three\n"
                              "d: [*x, *x]\n");
    const struct node *b = node_get(root, "b"), *k = node_get(b, "k");
    check_place(b, NODE_MAP, 1, 4); /* where it is written, from its anchor on */
    assert_int_equal(k->n, 2);
    assert_string_equal(k->item[0].text, "1");
    assert_true(k->item[1].quoted);
    assert_ptr_not_equal(k, node_get(node_get(root, "a"), "k"));
    assert_string_equal(node_get(root, "d")->item[1].text, "three");
    node_free(root);
}

/* Nine levels of ten references each would make a billion nodes. */
static void a_billion_laughs_are_refused(void **state)
{
    struct buffer b = {0};
    (void)state;
    buffer_puts(&b, "l0: &l0 lol\n");
    for (int i = 1; i <= 9; i++) {
        buffer_printf(&b, "l%d: &l%d [", i, i);
        for (int k = 0; k < 10; k++)
            buffer_printf(&b, "%s*l%d", k ? ", " : "", i - 1);
        buffer_puts(&b, "]\n");
    }
    buffer_text(&b);
    check_refused(b.data, b.size, -E2BIG,
                  "f:1:5: the document has more than 100,000 nodes");
    buffer_free(&b);
}

static void copies_of_a_long_text_are_limited(void **state)
{
    struct buffer b = {0};
    (void)state;
    buffer_puts(&b, "a: &a ");
    for (int i = 0; i < 500000; i++)
        buffer_putc(&b, 'x');
    buffer_puts(&b, "\nb: [");
    for (int i = 0; i < 100; i++)
        buffer_puts(&b, "*a, ");
    buffer_puts(&b, "]\n");
    buffer_text(&b);
    check_refused(b.data, b.size, -E2BIG,
                  "f:1:4: the document has more than 4 MiB of text");
    buffer_free(&b);
}

/* `n` times `piece`. */
static void repeat(struct buffer *b, const char *piece, int n)
{
    for (int i = 0; i < n; i++)
        buffer_puts(b, piece);
}

static void limits_hold_to_the_last(void **state)
{
    struct buffer b = {0};
    struct node *root;
    (void)state;
    repeat(&b, "[", 64); /* 64 levels are fine, 65 are not */
    repeat(&b, "]", 64);
    root = parse(buffer_text(&b));
    node_free(root);
    buffer_clear(&b);
    repeat(&b, "[", 65);
    repeat(&b, "]", 65);
    check_refused(buffer_text(&b), b.size, -E2BIG,
                  "f:1:65: lists and mappings are nested more than 64 levels deep");

    buffer_clear(&b);
    buffer_puts(&b, "["); /* the list and 99,999 items; then one more */
    repeat(&b, "a,", 99999);
    buffer_puts(&b, "]");
    root = parse(buffer_text(&b));
    assert_int_equal(root->n, 99999);
    node_free(root);
    buffer_clear(&b);
    buffer_puts(&b, "[");
    repeat(&b, "a,", 100000);
    buffer_puts(&b, "]");
    check_refused(buffer_text(&b), b.size, -E2BIG,
                  "f:1:200000: the document has more than 100,000 nodes");

    buffer_clear(&b);
    buffer_puts(&b, "a: 1\n#");
    repeat(&b, "x", (1 << 20) - 6);
    root = parse(buffer_text(&b));
    node_free(root);
    buffer_putc(&b, 'x');
    check_refused(buffer_text(&b), b.size, -E2BIG, "f: larger than 1 MiB");

    buffer_clear(&b);
    for (int i = 0; i <= 1000; i++)
        buffer_printf(&b, "- &a%d x\n", i);
    check_refused(buffer_text(&b), b.size, -E2BIG,
                  "f:1001:3: the document has more than 1,000 anchors");
    buffer_free(&b);
}

/* Expanding one variable again and again must end, too. */
static void variables_count_as_text(void **state)
{
    struct buffer value = {0}, b = {0};
    (void)state;
    repeat(&value, "0123456789", 10000); /* 100 kB, and 4 MiB hold 41 of them */
    assert_int_equal(setenv("WEIR_LONG", buffer_text(&value), 1), 0);
    for (int i = 0; i < 50; i++)
        buffer_puts(&b, "- ${WEIR_LONG}\n");
    check_refused(buffer_text(&b), b.size, -E2BIG,
                  "f:42:3: the document has more than 4 MiB of text");
    unsetenv("WEIR_LONG");
    buffer_free(&value);
    buffer_free(&b);
}

/* ---- Scalars ----------------------------------------------------------------------------------- */

enum reader { INT, FLOAT, BOOL, TEXT, DURATION, SIZE, NAME };

/* Reads the item of a list of one with the reader; the result as text. */
static int read_as(enum reader reader, const struct node *n, char ret[80],
                   struct error *error)
{
    int64_t i = 0;
    uint64_t u = 0;
    double d = 0;
    bool b = false;
    const char *t = "";
    int r = -EINVAL;
    switch (reader) {
    case INT:
        r = node_int(n, -5, 100, &i, error);
        snprintf(ret, 80, "%lld", (long long)i);
        break;
    case FLOAT:
        r = node_float(n, &d, error);
        snprintf(ret, 80, "%.17g", d);
        break;
    case BOOL:
        r = node_bool(n, &b, error);
        snprintf(ret, 80, "%d", b);
        break;
    case TEXT:
        r = node_text(n, &t, error);
        snprintf(ret, 80, "%s", t);
        break;
    case DURATION:
        r = node_duration(n, &i, error);
        snprintf(ret, 80, "%lld", (long long)i);
        break;
    case SIZE:
        r = node_size(n, &u, error);
        snprintf(ret, 80, "%llu", (unsigned long long)u);
        break;
    case NAME:
        r = node_name(n, &t, error);
        snprintf(ret, 80, "%s", t);
        break;
    }
    return r;
}

static void scalars_are_read(void **state)
{
    static const struct {
        enum reader reader;
        const char *yaml, *value;
    } known[] = {
        {INT, "0", "0"},
        {INT, "-5", "-5"},
        {INT, "+7", "7"},
        {INT, "100", "100"},
        {INT, "0", "0"},
        {INT, "-0", "0"},
        {INT, "007", NULL}, /* seven, or octal? 010 is 8 in YAML 1.1 and 10 in 1.2 */
        {INT, "010", NULL},
        {INT, "-010", NULL},
        {INT, "0o10", NULL},
        {INT, "0x10", NULL},
        {INT, "1_000", NULL},
        {INT, "1e3", NULL},
        {FLOAT, "010", NULL},
        {FLOAT, "00.5", NULL},
        {FLOAT, "0.5", "0.5"},
        {FLOAT, "0", "0"},
        {SIZE, "010", NULL},
        {SIZE, "010kB", NULL},
        {SIZE, "0MiB", "0"},
        {SIZE, "3PB", "3000000000000000"},
        {SIZE, "2PiB", "2251799813685248"},
        {SIZE, "16384PiB", NULL},
        {FLOAT, "10", "10"},
        {FLOAT, "-0.5", "-0.5"},
        {FLOAT, ".5", "0.5"},
        {FLOAT, "1.", "1"},
        {FLOAT, "1e-3", "0.001"},
        {FLOAT, "2E+2", "200"},
        {BOOL, "true", "1"},
        {BOOL, "True", "1"},
        {BOOL, "yes", "1"},
        {BOOL, "ON", "1"},
        {BOOL, "false", "0"},
        {BOOL, "no", "0"},
        {BOOL, "off", "0"},
        {TEXT, "price > 0", "price > 0"},
        {TEXT, "10", "10"},
        {TEXT, "'null'", "null"},
        {DURATION, "10s", "10000000"},
        {DURATION, "'1.5h'", "5400000000"},
        {SIZE, "0", "0"},
        {SIZE, "4096", "4096"},
        {SIZE, "10kB", "10000"},
        {SIZE, "64MiB", "67108864"},
        {SIZE, "1B", "1"},
        {SIZE, "2GB", "2000000000"},
        {SIZE, "16777215TiB", "18446742974197923840"},
        {SIZE, "18446744073709551615", "18446744073709551615"},
        {NAME, "_", "_"},
        {NAME, "Window_1", "Window_1"},
        {NAME, "a2345678901234567890123456789012345678901234567890123456789012_3",
         NULL},
        {NAME, "a23456789012345678901234567890123456789012345678901234567890_23",
         "a23456789012345678901234567890123456789012345678901234567890_23"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char value[80], yaml[128];
        struct error error = {0};
        snprintf(yaml, sizeof yaml, "- %s", known[i].yaml);
        struct node *root = parse(yaml);
        int r = read_as(known[i].reader, &root->item[0], value, &error);
        if (known[i].value ? r != 0 || strcmp(value, known[i].value) != 0
                           : r != -EINVAL)
            fail_msg("%s: %d %s %s", known[i].yaml, r, value, error.text);
        node_free(root);
    }
}

static void scalars_of_another_type_are_refused(void **state)
{
#define WHOLE "expected a whole number from -5 to 100, found "
#define LENGTH                                                                         \
    "expected a duration with its unit, such as 250ms, 10s, 5m, 1h or 7d, found "
#define BYTES "expected a size in bytes, such as 4096, 10kB or 64MiB, found "
#define PLAIN "expected a name of letters, digits and '_', found "
    static const struct {
        enum reader reader;
        const char *yaml, *message;
    } known[] = {
        {INT, "-6", WHOLE "'-6'"},
        {INT, "101", WHOLE "'101'"},
        {INT, "99999999999999999999", WHOLE "'99999999999999999999'"},
        {INT, "1.0", WHOLE "'1.0'"},
        {INT, "1e1", WHOLE "'1e1'"},
        {INT, "0x10", WHOLE "'0x10'"},
        {INT, "'10'", WHOLE "the string \"10\""},

        {INT, "", WHOLE "nothing"},
        {INT, "[1]", WHOLE "a list"},
        {INT, "{a: 1}", WHOLE "a mapping"},
        {FLOAT, "x", "expected a number, found 'x'"},
        {FLOAT, ".", "expected a number, found '.'"},
        {FLOAT, "1e", "expected a number, found '1e'"},
        {FLOAT, ".inf", "expected a number, found '.inf'"},
        {FLOAT, "nan", "expected a number, found 'nan'"},
        {FLOAT, "0x1p3", "expected a number, found '0x1p3'"},
        {FLOAT, "1e999", "expected a number that fits a double, found '1e999'"},
        {FLOAT, "'1'", "expected a number, found the string \"1\""},
        {BOOL, "1", "expected true or false, found '1'"},
        {BOOL, "'true'", "expected true or false, found the string \"true\""},
        {TEXT, "", "expected a text, found nothing"},
        {TEXT, "''", "expected a text, found an empty one"},
        {TEXT, "[a]", "expected a text, found a list"},
        {DURATION, "10", LENGTH "'10'"},
        {DURATION, "[10s]", LENGTH "a list"},
        {DURATION, "9999999999w",
         "expected a duration of less than 292,000 years, found '9999999999w'"},
        {SIZE, "64M", BYTES "'64M'"},
        {SIZE, "-1", BYTES "'-1'"},
        {SIZE, "1.5MiB", BYTES "'1.5MiB'"},
        {SIZE, "10 kB", BYTES "'10 kB'"},
        {SIZE, "16777216TiB", "expected a size that fits 64 bits, found '16777216TiB'"},
        {SIZE, "18446744073709551616",
         "expected a size that fits 64 bits, found '18446744073709551616'"},
        {NAME, "1a", "expected a name that begins with a letter or '_', found '1a'"},
        {NAME, "a-b", PLAIN "'a-b'"},
        {NAME, "\"a\\nb\"", PLAIN "the string \"a b\""},
        {DURATION, "'1234567890123456789012345678901234567890123456\xc3\xa9x'",
         LENGTH "the string \"1234567890123456789012345678901234567890123456...\""},
        {NAME, "\xc3\xa9",
         "expected a name that begins with a letter or '_', found '\xc3\xa9'"},
        {NAME,
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "expected a name of at most 63 characters, found "
         "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...'"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char value[80], yaml[128], message[256];
        struct error error = {0};
        snprintf(yaml, sizeof yaml, "a:\n  k: %s", known[i].yaml);
        snprintf(message, sizeof message, "f:2:%d: %s", known[i].yaml[0] ? 6 : 5,
                 known[i].message);
        struct node *root = parse(yaml);
        int r = read_as(known[i].reader, &root->item[0].item[0], value, &error);
        assert_int_equal(r, -EINVAL);
        assert_string_equal(error.text, message);
        node_free(root);
    }
}

static void close_words_are_suggested(void **state)
{
    static const char *const words[] = {"window", "workers", "where",
                                        "from",   "of",      "key"};
    static const struct {
        const char *word, *suggestion;
    } known[] = {
        {"widow", ", did you mean 'window'?"},
        {"wnidow", ", did you mean 'window'?"},
        {"Window", ", did you mean 'window'?"},
        {"worker", ", did you mean 'workers'?"},
        {"wokrer", ", did you mean 'workers'?"},
        {"form", ", did you mean 'from'?"},
        {"off", ", did you mean 'of'?"},
        {"kye", ", did you mean 'key'?"},
        {"analyzers", ""},
        {"windowing", ""},
        {"", ""},
        {"ke", ", did you mean 'key'?"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        struct error error = {.text = "x"};
        char expected[80];
        snprintf(expected, sizeof expected, "x%s", known[i].suggestion);
        node_suggest(&error, known[i].word, words, COUNT(words));
        if (strcmp(error.text, expected) != 0)
            fail_msg("%s: %s", known[i].word, error.text);
    }
    node_suggest(NULL, "widow", words, COUNT(words));
}

static void files_are_loaded_or_refused_by_name(void **state)
{
    char path[] = "/tmp/weir-test-XXXXXX", expected[128];
    struct node *root = NULL;
    struct error error = {0};
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a: [1,\n", 7), 7);
    assert_int_equal(node_load(path, &root, &error), -EINVAL);
    snprintf(expected, sizeof expected, "%s:2:1: ", path);
    assert_memory_equal(error.text, expected, strlen(expected));
    assert_int_equal(write(fd, "2]\n", 3), 3);
    assert_int_equal(node_load(path, &root, &error), 0);
    assert_string_equal(root->file, path);
    assert_int_equal(root->item[0].n, 2);
    node_free(root);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(node_load(path, &root, &error), -EINVAL);
    assert_int_equal(ftruncate(fd, (1 << 20) + 1), 0);
    assert_int_equal(node_load(path, &root, &error), -E2BIG);
    close(fd);
    unlink(path);
    assert_int_equal(node_load(path, &root, &error), -ENOENT);
    snprintf(expected, sizeof expected, "%s: No such file or directory", path);
    assert_string_equal(error.text, expected);
    assert_int_equal(node_load("/", &root, &error), -EISDIR);
}

static int set_variables(void **state)
{
    (void)state;
    unsetenv("WEIR_NOT_SET");
    return setenv("WEIR_T", "value", 1) | setenv("WEIR_EMPTY", "", 1) |
           setenv("WEIR_DOLLAR", "${WEIR_T}$$", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_know_where_they_stand),
        cmocka_unit_test(scalars_have_text_and_know_their_quotes),
        cmocka_unit_test(variables_are_replaced),
        cmocka_unit_test(variables_in_keys_stay),
        cmocka_unit_test(wrong_variables_are_refused),
        cmocka_unit_test(what_is_no_yaml_is_refused_with_its_place),
        cmocka_unit_test(an_alias_is_a_copy_of_what_its_anchor_names),
        cmocka_unit_test(a_billion_laughs_are_refused),
        cmocka_unit_test(copies_of_a_long_text_are_limited),
        cmocka_unit_test(limits_hold_to_the_last),
        cmocka_unit_test(variables_count_as_text),
        cmocka_unit_test(scalars_are_read),
        cmocka_unit_test(scalars_of_another_type_are_refused),
        cmocka_unit_test(close_words_are_suggested),
        cmocka_unit_test(files_are_loaded_or_refused_by_name),
    };
    return cmocka_run_group_tests_name("node", tests, set_variables, NULL);
}
