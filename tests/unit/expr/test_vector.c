/* SPDX-License-Identifier: Apache-2.0
 *
 * Vectors against SQLite: random expressions over a table of rows that are hard, null and extreme ones. What
 * vector_run says must be what SELECT gives, value and type; what filter_rows keeps, what WHERE keeps.
 *
 *      WEIR_EXPRESSIONS=100000 WEIR_SEED=7 tests/unit/expr/test_vector
 */
#include "expr/filter.h"
#include "expr/split.h"
#include "expr/vector.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 100u

static uint64_t seed = 1;

static uint32_t below(uint32_t n) /* xorshift64* */
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (uint32_t)((seed * UINT64_C(2685821657736338717)) >> 33) % n;
}

/* ---- Rows, in a batch and in a table ---------------------------------------------------------- */

static const int64_t whole[] = {0,
                                1,
                                -1,
                                2,
                                7,
                                -100,
                                INT64_MAX,
                                INT64_MIN,
                                INT64_MAX - 1,
                                (INT64_C(1) << 53) + 1,
                                -(INT64_C(1) << 53) - 1,
                                INT64_C(3037000500)};
static const double real[] = {
    0.0,  1.0,   -1.5, 0.1,    1e308,  -1e308,  9007199254740992.0,
    1e19, -1e19, 7.0,  2.5e-9, 9.3e18, -0x1p63, 0x1p63};
static const char *const text[] = {"",    "a",    "B",        "b", "ab",
                                   "buy", "sell", "\xc3\xa9", "10"};

#define PICK(array) (array)[below(sizeof(array) / sizeof(array)[0])]

/* ts time, i int, j int, f float, g float, ok bool, s string, t string */
static struct schema *make_schema(void)
{
    static const struct {
        const char *name;
        enum weir_type type;
    } c[] = {{"i", WEIR_INT},   {"j", WEIR_INT},   {"f", WEIR_FLOAT},
             {"g", WEIR_FLOAT}, {"ok", WEIR_BOOL}, {"s", WEIR_STRING},
             {"t", WEIR_STRING}};
    struct schema *s;
    assert_int_equal(schema_new(8, "ts", &s), 0);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(schema_set(s, i + 1, c[i].name, c[i].type), 0);
    return s;
}

static void put(struct batch *b, size_t c, sqlite3_stmt *insert)
{
    struct column *to = &b->column[c];
    uint32_t row = b->n_rows;
    const char *v;
    if (to->type == WEIR_STRING)
        to->offsets[row + 1] = to->offsets[row];
    else if (to->type == WEIR_BOOL)
        batch_put_bool(to, row, false);
    else
        ((int64_t *)to->values)[row] = 0;
    if (c > 0 && below(8) == 0) {
        assert_int_equal(batch_set_null(b, c), 0);
        sqlite3_bind_null(insert, (int)c + 1);
        return;
    }
    switch (to->type) {
    case WEIR_FLOAT:
        ((double *)to->values)[row] = PICK(real);
        sqlite3_bind_double(insert, (int)c + 1, ((double *)to->values)[row]);
        break;
    case WEIR_STRING:
        v = PICK(text);
        assert_int_equal(batch_bytes(b, c, strlen(v)), 0);
        memcpy(to->bytes + to->offsets[row], v, strlen(v));
        to->offsets[row + 1] += (int32_t)strlen(v);
        sqlite3_bind_text(insert, (int)c + 1, v, -1, SQLITE_STATIC);
        break;
    case WEIR_BOOL: {
        bool yes = below(2);
        batch_put_bool(to, row, yes);
        sqlite3_bind_int(insert, (int)c + 1, yes);
        break;
    }
    default:
        ((int64_t *)to->values)[row] =
            c ? below(3) ? (int64_t)below(20) - 5 : PICK(whole) : row;
        sqlite3_bind_int64(insert, (int)c + 1, ((int64_t *)to->values)[row]);
    }
}

struct world {
    struct schema *schema;
    struct batch *batch;
    sqlite3 *db;
    uint32_t row[ROWS]; /* every second one: as behind a selection */
};

static void make_world(struct world *w)
{
    sqlite3_stmt *insert;
    w->schema = make_schema();
    assert_int_equal(batch_new(w->schema, 2 * ROWS, &w->batch), 0);
    assert_int_equal(sqlite3_open(":memory:", &w->db), SQLITE_OK);
    assert_int_equal(split_install(w->db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(w->db,
                     "CREATE TABLE events(ts INTEGER, i INTEGER, j INTEGER, f "
                     "REAL, g REAL, ok INTEGER, s TEXT, t TEXT)",
                     NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(w->db,
                                        "INSERT INTO events VALUES (?,?,?,?,?,?,?,?)",
                                        -1, &insert, NULL),
                     SQLITE_OK);
    for (uint32_t k = 0; k < 2 * ROWS; k++) {
        sqlite3_reset(insert);
        for (size_t c = 0; c < 8; c++)
            put(w->batch, c, insert);
        if (k % 2 == 0) {
            w->row[k / 2] = k;
            assert_int_equal(sqlite3_step(insert), SQLITE_DONE);
        }
        w->batch->n_rows++;
    }
    sqlite3_finalize(insert);
    batch_seal(w->batch);
}

static void end_world(struct world *w)
{
    batch_unref(w->batch);
    schema_free(w->schema);
    sqlite3_close(w->db);
}

/* ---- Expressions ------------------------------------------------------------------------------ */

struct text_of {
    char s[4000];
    size_t n;
};

static void say(struct text_of *t, const char *s)
{
    size_t size = strlen(s);
    assert_true(t->n + size < sizeof(t->s));
    memcpy(t->s + t->n, s, size + 1);
    t->n += size;
}

static void say_number(struct text_of *t, bool strings);

static void say_leaf(struct text_of *t, bool strings)
{
    static const char *const strings_of[] = {"s",   "t",     "\"s\"", "'a'",
                                             "'b'", "'buy'", "''",    "'it''s'"};
    static const char *const numbers_of[] = {"i",
                                             "j",
                                             "f",
                                             "g",
                                             "ok",
                                             "I",
                                             "1",
                                             "0",
                                             "3",
                                             "-2",
                                             "2.5",
                                             ".5",
                                             "1e3",
                                             "0.1",
                                             "9223372036854775807",
                                             "-9223372036854775808",
                                             "[i]",
                                             "`f`",
                                             "true",
                                             "ts"};
    say(t, strings ? PICK(strings_of) : PICK(numbers_of));
}

static void say_expression(struct text_of *t, unsigned depth, bool strings);

/* With and without parentheses, so that precedence is tried too. */
static void say_operand(struct text_of *t, unsigned depth, bool strings)
{
    bool around = below(2);
    say(t, around ? "(" : "");
    say_expression(t, depth, strings);
    say(t, around ? ")" : "");
}

static void say_case(struct text_of *t, unsigned depth, bool strings)
{
    bool base = below(3) == 0;
    say(t, "CASE ");
    if (base)
        say_operand(t, depth - 1, false);
    for (unsigned n = 1 + below(2); n > 0; n--) {
        say(t, " WHEN ");
        say_operand(t, depth - 1, false);
        say(t, " THEN ");
        say_operand(t, depth - 1, strings);
    }
    if (below(2)) {
        say(t, " ELSE ");
        say_operand(t, depth - 1, strings);
    }
    say(t, " END");
}

static void say_number(struct text_of *t, bool strings)
{
    static const char *const op[] = {"+",    "-",  "*",  "/",    "%",       " AND ",
                                     " OR ", "=",  "==", "<",    ">",       "<=",
                                     ">=",   "<>", "!=", " IS ", " IS NOT "};
    static const char *const text_op[] = {
        "=", "<", ">", "<=", ">=", "<>", "==", " IS ", " IS NOT "};
    say(t, strings ? PICK(text_op) : PICK(op));
}

static void say_expression(struct text_of *t, unsigned depth, bool strings)
{
    uint32_t form = below(12);
    if (depth == 0 || form == 0) {
        say_leaf(t, strings);
        return;
    }
    if (strings && form == 2) {
        static const char *const part[] = {", 1)", ", 2)", ", -1)"};
        say(t, "split_part(");
        say_operand(t, depth - 1, true);
        say(t, ", ");
        say_leaf(t, true);
        say(t, PICK(part));
        return;
    }
    if (strings || form == 1) {
        say_case(t, depth, strings);
        return;
    }
    bool of_texts = below(4) == 0;
    if (form == 2) {
        say(t, below(2) ? "-" : "NOT ");
        say_operand(t, depth - 1, false);
        return;
    }
    say_operand(t, depth - 1, form == 3 ? below(2) : of_texts);
    if (form == 3) {
        static const char *const test[] = {" IS NULL", " ISNULL", " NOTNULL",
                                           " NOT NULL", " IS NOT NULL"};
        say(t, PICK(test));
    } else if (form == 4) {
        say(t, below(2) ? " BETWEEN " : " NOT BETWEEN ");
        say_operand(t, depth - 1, of_texts);
        say(t, " AND ");
        say_operand(t, depth - 1, of_texts);
    } else if (form == 5) {
        say(t, below(2) ? " IN (" : " NOT IN (");
        say_operand(t, depth - 1, of_texts);
        say(t, ", ");
        say_operand(t, depth - 1, of_texts);
        say(t, ")");
    } else {
        say_number(t, of_texts);
        say_operand(t, depth - 1, of_texts);
    }
}

/* ---- The two answers -------------------------------------------------------------------------- */

static bool is_equal(const struct vector_values *v, uint32_t i, sqlite3_stmt *s)
{
    int type = sqlite3_column_type(s, 0);
    if (v->nulls && v->null[i])
        return type == SQLITE_NULL;
    switch (v->kind) {
    case VECTOR_INT:
        return type == SQLITE_INTEGER && v->i[i] == sqlite3_column_int64(s, 0);
    case VECTOR_REAL: /* a whole number in a branch of CASE has become real */
        return (type == SQLITE_FLOAT || type == SQLITE_INTEGER) &&
               v->f[i] == sqlite3_column_double(s, 0);
    case VECTOR_TEXT:
        return type == SQLITE_TEXT &&
               v->size[i] == (uint32_t)sqlite3_column_bytes(s, 0) &&
               memcmp(v->text[i], sqlite3_column_text(s, 0), v->size[i]) == 0;
    }
    return false;
}

/* 1: vectors computed it; 0: it is SQLite's, or no expression at all. */
static int compare_values(const struct world *w, const char *expression)
{
    struct expr_tree tree;
    struct vector *v;
    sqlite3_stmt *s = NULL;
    char sql[4200];
    snprintf(sql, sizeof(sql), "SELECT (%s\n) FROM events", expression);
    if (sqlite3_prepare_v2(w->db, sql, -1, &s, NULL) != SQLITE_OK)
        return 0;
    assert_int_equal(expr_parse(w->db, w->schema, expression, &tree), 0);
    assert_int_equal(vector_new(&tree, w->schema, &v), 0);
    const struct vector_values *values =
        v ? vector_run(v, w->batch, w->row, ROWS) : NULL;
    for (uint32_t i = 0; values && i < ROWS; i++) {
        assert_int_equal(sqlite3_step(s), SQLITE_ROW);
        if (!is_equal(values, i, s))
            fail_msg("%s: row %u: SQLite says %s", expression, i,
                     (const char *)sqlite3_column_text(s, 0));
    }
    sqlite3_finalize(s);
    vector_free(v);
    expr_tree_free(&tree);
    return values != NULL;
}

static void compare_filter(const struct world *w, const char *expression)
{
    struct filter *f;
    struct error error = {0};
    sqlite3_stmt *s;
    char sql[4200];
    uint32_t keep[ROWS];
    uint64_t errors = 0;
    snprintf(sql, sizeof(sql), "SELECT ts FROM events WHERE (%s\n) ORDER BY rowid",
             expression);
    if (filter_new(w->schema, expression, &f, &error) < 0)
        return;
    int n = filter_rows(f, w->batch, w->row, ROWS, keep, &errors);
    if (errors)
        fail_msg("%s: SQLite reports errors", expression);
    assert_int_equal(sqlite3_prepare_v2(w->db, sql, -1, &s, NULL), SQLITE_OK);
    for (int i = 0; i < n; i++)
        if (sqlite3_step(s) != SQLITE_ROW ||
            sqlite3_column_int64(s, 0) != w->row[keep[i]])
            fail_msg("%s: row %u is kept", expression, keep[i]);
    if (sqlite3_step(s) != SQLITE_DONE)
        fail_msg("%s: row %" PRId64 " is not kept", expression,
                 (int64_t)sqlite3_column_int64(s, 0));
    sqlite3_finalize(s);
    filter_free(f);
}

static void vectors_and_sqlite_agree_on_any_expression(void **state)
{
    (void)state;
    const char *count = getenv("WEIR_EXPRESSIONS"), *first = getenv("WEIR_SEED");
    long n = count ? atol(count) : 6000, computed = 0;
    seed = first ? strtoull(first, NULL, 10) : 1;
    struct world w;
    make_world(&w);
    for (long i = 0; i < n; i++) {
        struct text_of t = {.n = 0};
        say_expression(&t, 1 + below(4), false);
        computed += compare_values(&w, t.s);
        if (i % 10 == 0)
            compare_filter(&w, t.s);
    }
    end_world(&w);
    assert_in_range(computed, n / 3, n); /* most overflow somewhere, or mix types */
}

/* What people write is computed here, and not by SQLite: otherwise it would be slow without a word. */
static void common_expressions_are_vectors(void **state)
{
    (void)state;
    static const char *const expression[] = {
        "f * i",
        "s = 'buy'",
        "i > 3 AND f < 2.5 OR NOT ok",
        "CASE WHEN s = 'buy' THEN f ELSE 0 END",
        "CASE s WHEN 'buy' THEN 'in' WHEN 'sell' THEN 'out' END",
        "s IN ('buy', 'sell') AND t IS NOT NULL",
        "f BETWEEN 1 AND 2 -- with a comment",
        "(ts / 60000000) % 60",
        "s <> t",
        "ok",
        "split_part(s, 'e', 2)",
        "CASE WHEN i > 3 THEN split_part(s, t, 1) ELSE t END",
    };
    struct world w;
    make_world(&w);
    for (size_t i = 0; i < sizeof(expression) / sizeof(expression[0]); i++)
        if (!compare_values(&w, expression[i]))
            fail_msg("%s is left to SQLite", expression[i]);
    end_world(&w);
}

int main(void)
{
    /* SQLite compares numbers of both kinds in the 80 bits that the processor has, and valgrind has not. */
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "vgpreload"))
        return 77; /* skipped */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_and_sqlite_agree_on_any_expression),
        cmocka_unit_test(common_expressions_are_vectors),
    };
    return cmocka_run_group_tests_name("vector", tests, NULL, NULL);
}
