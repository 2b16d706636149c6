/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows that are kept, against a plain list of them: cut into calls, merged, stored and loaded, sorted when they
 * are looked at, limited, and damaged.
 */
#include "pipeline/kept.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROWS    3000
#define GROUPS  5
#define TEXT    24
#define INPUTS  6
#define UNKEPT  4 /* this input is left out, the last is not given */
#define COLUMNS 4 /* n, x, ok, note */

struct value {
    bool is_null;
    int64_t n; /* of x: its bits */
    char text[TEXT];
};

struct row {
    int64_t time;
    struct value value[COLUMNS];
};

/* Rows as a batch has them. */
struct table {
    int64_t time[ROWS], n[ROWS];
    double x[ROWS];
    uint8_t ok[ROWS / 8], valid[COLUMNS][ROWS / 8];
    int32_t offsets[ROWS + 1];
    char bytes[ROWS * TEXT];
    struct weir_column column[INPUTS];
    const struct weir_column *in[INPUTS];
    struct row row[ROWS];
};

struct subject {
    struct plugin plugin;
    struct binding binding;
    int input[INPUTS];
    uint32_t types[INPUTS];
    _Atomic bool left_out[INPUTS];
    struct weir_host table;
    struct host host;
    struct kept_form form;
    size_t held, refuse; /* blocks; alloc fails after so many more, 0: never */
};
static struct subject subject; /* alloc has no other way to find it */

static uint64_t dice_state = 88172645463325252u;

/* Marsaglia, "Xorshift RNGs", 2003. */
static size_t dice(size_t below)
{
    dice_state ^= dice_state << 13;
    dice_state ^= dice_state >> 7;
    dice_state ^= dice_state << 17;
    return (size_t)(dice_state % below);
}

static void *take(struct weir_ctx *ctx, size_t size)
{
    (void)ctx;
    if (subject.refuse && !--subject.refuse) {
        subject.refuse = 1;
        snprintf(subject.host.error.text, sizeof(subject.host.error.text), "no memory");
        return NULL;
    }
    subject.held++;
    return calloc(1, size + 1);
}

static void give(struct weir_ctx *ctx, void *p)
{
    (void)ctx;
    subject.held -= p != NULL;
    free(p);
}

static void setup(uint32_t rows_max, size_t bytes_max)
{
    static const int input[INPUTS] = {0, 1, 2, 3, 4, -1};
    static const uint32_t types[INPUTS] = {WEIR_TIME, WEIR_INT,    WEIR_FLOAT,
                                           WEIR_BOOL, WEIR_STRING, 0};
    struct subject *s = &subject;
    memset(s, 0, sizeof(*s));
    memcpy(s->input, input, sizeof(input));
    memcpy(s->types, types, sizeof(types));
    s->binding = (struct binding){.plugin = &s->plugin,
                                  .n_inputs = INPUTS,
                                  .input = s->input,
                                  .types = s->types,
                                  .left_out = s->left_out};
    s->table =
        (struct weir_host){.size = sizeof(s->table), .alloc = take, .free = give};
    s->host.binding = &s->binding;
    s->host.ctx =
        (struct weir_ctx){.host = &s->table, .types = types, .n_inputs = INPUTS};
    assert_int_equal(kept_form_new(&s->binding, rows_max, bytes_max, &s->form), 0);
}

static void end(void)
{
    kept_form_free(&subject.form);
    assert_int_equal(subject.held, 0);
}

static void fill_row(struct table *t, uint32_t i, int64_t time)
{
    struct row *r = &t->row[i];
    double x = (double)dice(1000) / 4;
    t->time[i] = r->time = time;
    for (size_t k = 0; k < COLUMNS; k++) {
        r->value[k] = (struct value){.is_null = dice(4) == 0};
        t->valid[k][i / 8] |= (uint8_t)(!r->value[k].is_null << i % 8);
    }
    if (!r->value[0].is_null)
        t->n[i] = r->value[0].n = (int64_t)dice(100) - 50;
    if (!r->value[1].is_null) {
        t->x[i] = x;
        memcpy(&r->value[1].n, &x, sizeof(x));
    }
    if (!r->value[2].is_null) {
        r->value[2].n = (int64_t)dice(2);
        t->ok[i / 8] |= (uint8_t)(r->value[2].n << i % 8);
    }
    int size = 0;
    if (!r->value[3].is_null)
        size = snprintf(r->value[3].text, TEXT, "%.*s%zu", (int)dice(12),
                        "abcdefghijklm", dice(1000));
    memcpy(t->bytes + t->offsets[i], r->value[3].text, (size_t)size);
    t->offsets[i + 1] = t->offsets[i] + size;
}

/* Times of a span of 200, or rising. */
static struct table *table_new(bool ordered)
{
    struct table *t = calloc(1, sizeof(*t));
    for (uint32_t i = 0; i < ROWS; i++)
        fill_row(t, i, ordered ? i / 3 : (int64_t)dice(200) - 100);
    t->column[0] = (struct weir_column){.type = WEIR_TIME, .values = t->time};
    t->column[1] = (struct weir_column){.type = WEIR_INT, .values = t->n};
    t->column[2] = (struct weir_column){.type = WEIR_FLOAT, .values = t->x};
    t->column[3] = (struct weir_column){.type = WEIR_BOOL, .values = t->ok};
    t->column[4] = (struct weir_column){
        .type = WEIR_STRING, .offsets = t->offsets, .bytes = t->bytes};
    for (size_t k = 0; k < COLUMNS; k++)
        t->column[k + 1].validity = t->valid[k];
    for (size_t k = 0; k + 1 < INPUTS; k++)
        t->in[k] = &t->column[k];
    return t;
}

/* Rows [first, last) of which dice chose the groups, group[i]. Returns how many had no room. */
static uint64_t add(const struct table *t, struct kept *kept, const uint32_t *group,
                    uint32_t first, uint32_t last)
{
    uint32_t row[ROWS];
    uint64_t over = 0;
    for (uint32_t i = first; i < last; i++)
        row[i - first] = i;
    const struct weir_rows rows = {.n = last - first,
                                   .row = row,
                                   .group = group + first,
                                   .states = (char *)kept,
                                   .stride = sizeof(*kept),
                                   .time = t->time,
                                   .in = t->in};
    assert_int_equal(kept_add(&subject.form, &subject.host, &rows, &over), 0);
    return over;
}

static int by_time(const void *a, const void *b)
{
    const struct row *const *x = a, *const *y = b;
    return (*x)->time != (*y)->time ? ((*x)->time > (*y)->time ? 1 : -1)
                                    : (*x > *y ? 1 : -1);
}

static void check_row(const struct weir_rows *r, uint32_t i, const struct row *e)
{
    size_t size;
    assert_int_equal(r->row[i], i);
    assert_int_equal(weir_sequence(r, i), i + 1);
    assert_int_equal(r->time[i], e->time);
    assert_int_equal(weir_int(r->in[0], i), e->time);
    for (size_t k = 0; k < COLUMNS; k++)
        if (r->in[k + 1])
            assert_int_equal(weir_is_null(r->in[k + 1], i) != 0, e->value[k].is_null);
    assert_int_equal(weir_int(r->in[1], i), e->value[0].n);
    assert_memory_equal((const char *)r->in[2]->values + 8 * i, &e->value[1].n, 8);
    assert_int_equal(weir_bool(r->in[3], i), e->value[2].n);
    if (!r->in[4])
        return;
    const char *s = weir_string(r->in[4], i, &size);
    assert_int_equal(size, strlen(e->value[3].text));
    assert_memory_equal(s, e->value[3].text, size);
}

/* The group has the rows that were dealt to it, but for those that came beyond `most`. */
static void check(const struct table *t, const struct kept *k, const uint32_t *group,
                  uint32_t g, size_t most)
{
    static const struct row *expected[ROWS];
    struct kept_view view = {0};
    size_t n = 0;
    for (uint32_t i = 0; i < ROWS && n < most; i++)
        if (group[i] == g)
            expected[n++] = &t->row[i];
    qsort(expected, n, sizeof(*expected), by_time);
    assert_int_equal(kept_view_begin(&subject.form, &subject.host, k, &view), 0);
    assert_int_equal(view.rows.rows.n, n);
    assert_null(view.in[INPUTS - 1]);
    for (uint32_t i = 0; i < n; i++)
        check_row(&view.rows.rows, i, expected[i]);
    kept_view_end(&subject.form, &subject.host, &view);
    kept_view_free(&view);
}

static void deal(uint32_t group[ROWS])
{
    for (uint32_t i = 0; i < ROWS; i++) /* the last has few */
        group[i] = dice(200) == 0 ? GROUPS - 1 : (uint32_t)dice(GROUPS - 1);
}

static void drop_all(struct kept kept[GROUPS])
{
    for (size_t g = 0; g < GROUPS; g++)
        kept_drop(&subject.form, &subject.host, &kept[g]);
}

static void rows_come_back_by_time_whatever_the_calls(void **unused)
{
    (void)unused;
    uint32_t group[ROWS];
    for (int round = 0; round < 6; round++) {
        struct table *t = table_new(round == 0);
        struct kept kept[GROUPS] = {0};
        setup(ROWS, KEPT_BYTES_MAX);
        deal(group);
        for (uint32_t at = 0, n; at < ROWS; at += n) {
            n = 1 + (uint32_t)dice(round < 2 ? ROWS - at : 40);
            n = n < ROWS - at ? n : ROWS - at;
            assert_int_equal(add(t, kept, group, at, at + n), 0);
        }
        for (uint32_t g = 0; g < GROUPS; g++)
            check(t, &kept[g], group, g, ROWS);
        drop_all(kept);
        end();
        free(t);
    }
}

static void a_group_without_rows_has_columns(void **unused)
{
    (void)unused;
    struct kept kept = {0};
    struct kept_view view = {0};
    setup(ROWS, KEPT_BYTES_MAX);
    assert_int_equal(kept_view_begin(&subject.form, &subject.host, &kept, &view), 0);
    assert_int_equal(view.rows.rows.n, 0);
    assert_int_equal(view.in[4]->type, WEIR_STRING);
    kept_view_free(&view);
    end();
}

static void an_input_that_is_left_out_is_not_kept(void **unused)
{
    (void)unused;
    uint32_t group[ROWS] = {0};
    struct table *t = table_new(false);
    struct kept kept = {0};
    setup(ROWS, KEPT_BYTES_MAX);
    size_t row_bits = subject.form.row_bits;
    kept_form_free(&subject.form);
    subject.left_out[UNKEPT] = true;
    assert_int_equal(
        kept_form_new(&subject.binding, ROWS, KEPT_BYTES_MAX, &subject.form), 0);
    assert_int_equal(subject.form.row_bits, row_bits - 33);
    add(t, &kept, group, 0, ROWS);
    check(t, &kept, group, 0, ROWS);
    kept_drop(&subject.form, &subject.host, &kept);
    end();
    free(t);
}

static void merged_groups_have_the_rows_of_both(void **unused)
{
    (void)unused;
    uint32_t group[ROWS], all[ROWS] = {0};
    struct table *t = table_new(false);
    struct kept kept[GROUPS] = {0}, into = {0};
    uint64_t over = 0;
    setup(ROWS, KEPT_BYTES_MAX);
    for (uint32_t i = 0; i < ROWS; i++)
        group[i] = i * GROUPS / ROWS;
    add(t, kept, group, 0, ROWS);
    for (size_t g = 0; g < GROUPS; g++)
        assert_int_equal(
            kept_merge(&subject.form, &subject.host, &into, &kept[g], &over), 0);
    assert_int_equal(over, 0);
    check(t, &into, all, 0, ROWS);
    for (uint32_t g = 0; g < GROUPS; g++)
        check(t, &kept[g], group, g, ROWS); /* they stay as they are */
    kept_drop(&subject.form, &subject.host, &into);
    drop_all(kept);
    end();
    free(t);
}

static int sign_of(bool more, bool less)
{
    return more - less;
}

static int by_columns(const void *a, const void *b)
{
    const struct row *x = *(const struct row *const *)a,
                     *y = *(const struct row *const *)b;
    int order = sign_of(x->time > y->time, x->time < y->time);
    for (size_t k = 0; !order && k < COLUMNS; k++) {
        const struct value *v = &x->value[k], *w = &y->value[k];
        double f, g;
        memcpy(&f, &v->n, sizeof(f));
        memcpy(&g, &w->n, sizeof(g));
        order = sign_of(!v->is_null, !w->is_null);
        if (!order && !v->is_null)
            order = k == 3   ? strcmp(v->text, w->text)
                    : k == 1 ? sign_of(f > g, f < g)
                             : sign_of(v->n > w->n, v->n < w->n);
    }
    return order;
}

/* All rows come twice; of each none, one or both go again, before or behind the other. */
static void rows_taken_out_are_gone_and_the_rest_is_in_one_order(void **unused)
{
    (void)unused;
    static const struct row *left[2 * ROWS];
    uint32_t one[ROWS] = {0};
    for (int round = 0; round < 4; round++) {
        struct table *t = table_new(round == 0);
        struct kept in = {0}, out = {0};
        struct kept_view view = {0};
        size_t n = 0, gone;
        setup(2 * ROWS, KEPT_BYTES_MAX);
        for (uint32_t copy = 0; copy < 2; copy++) {
            for (uint32_t at = ROWS, k; at > 0; at -= k) { /* the last ones first */
                k = 1 + (uint32_t)dice(at);
                add(t, &in, one, at - k, at);
            }
            if (round == 1)
                assert_int_equal(kept_settle(&subject.form, &subject.host, &in, &out),
                                 0);
        }
        for (uint32_t i = 0; i < ROWS; i++) {
            gone = round == 3 ? 2 : dice(3);
            for (size_t k = 0; k < 2; k++)
                if (k < gone)
                    add(t, &out, one, i, i + 1);
                else
                    left[n++] = &t->row[i];
            if (round == 2 && dice(300) == 0)
                assert_int_equal(kept_settle(&subject.form, &subject.host, &in, &out),
                                 0);
        }
        qsort(left, n, sizeof(*left), by_columns);
        assert_int_equal(kept_settle(&subject.form, &subject.host, &in, &out), 0);
        assert_null(out.rows);
        assert_int_equal(kept_view_begin(&subject.form, &subject.host, &in, &view), 0);
        assert_int_equal(view.rows.rows.n, n);
        assert_true(round == 3 ? n == 0 : n > ROWS / 2);
        for (uint32_t i = 0; i < n; i++)
            check_row(&view.rows.rows, i, left[i]);
        kept_view_end(&subject.form, &subject.host, &view);
        kept_view_free(&view);
        kept_drop(&subject.form, &subject.host, &in);
        end();
        free(t);
    }
}

static void stored_and_loaded_rows_are_the_same_and_go_on(void **unused)
{
    (void)unused;
    uint32_t group[ROWS];
    struct table *t = table_new(false);
    struct kept kept[GROUPS] = {0};
    setup(ROWS, KEPT_BYTES_MAX);
    deal(group);
    for (uint32_t at = 0, n; at < ROWS; at += n) {
        n = dice(2) ? 1 + (uint32_t)dice(10) : 1 + (uint32_t)dice(600);
        n = n < ROWS - at ? n : ROWS - at;
        add(t, kept, group, at, at + n);
        for (size_t g = 0; g < GROUPS; g++) {
            struct buffer b = {.limit = KEPT_BYTES_MAX};
            struct kept other = {0};
            kept_save(&subject.form, &kept[g], &b);
            assert_int_equal(b.error, 0);
            assert_int_equal(
                kept_load(&subject.form, &subject.host, &other, b.data, b.size), 0);
            kept_drop(&subject.form, &subject.host, &kept[g]);
            kept[g] = other;
            buffer_free(&b);
        }
    }
    for (uint32_t g = 0; g < GROUPS; g++)
        check(t, &kept[g], group, g, ROWS);
    drop_all(kept);
    end();
    free(t);
}

/* Whatever bytes were stored: they are refused, or rows can be looked at. */
static void damaged_bytes_do_no_harm(void **unused)
{
    (void)unused;
    uint32_t group[ROWS] = {0};
    struct table *t = table_new(false);
    struct kept kept = {0};
    struct buffer b = {.limit = KEPT_BYTES_MAX};
    setup(ROWS, KEPT_BYTES_MAX);
    add(t, &kept, group, 0, 50);
    kept_save(&subject.form, &kept, &b);
    kept_drop(&subject.form, &subject.host, &kept);
    for (int round = 0; round < 4000; round++) {
        size_t size = dice(3) ? b.size : dice(b.size);
        char *copy = malloc(size + 1); /* of its own, for the address sanitizer */
        memcpy(copy, b.data, size);
        if (size)
            copy[dice(size < 64 || dice(2) ? size : 64)] ^= (char)(1 << dice(8));
        struct kept_view view = {0};
        int r = kept_load(&subject.form, &subject.host, &kept, copy, size);
        assert_true(r == 0 || r == -EBADMSG);
        assert_true(r < 0 || size == b.size);
        if (r == 0) {
            kept_view_begin(&subject.form, &subject.host, &kept, &view);
            kept_view_end(&subject.form, &subject.host, &view);
            kept_view_free(&view);
        }
        kept_drop(&subject.form, &subject.host, &kept);
        free(copy);
    }
    buffer_free(&b);
    end();
    free(t);
}

static void rows_beyond_the_limit_are_counted(void **unused)
{
    (void)unused;
    uint32_t group[ROWS];
    struct table *t = table_new(false);
    struct kept kept[GROUPS] = {0};
    uint64_t over = 0, dealt[GROUPS] = {0}, expected = 0;
    setup(100, KEPT_BYTES_MAX);
    deal(group);
    for (uint32_t i = 0; i < ROWS; i++)
        expected += dealt[group[i]]++ >= 100;
    for (uint32_t at = 0; at < ROWS; at += 50)
        over += add(t, kept, group, at, at + 50);
    assert_int_equal(over, expected);
    for (uint32_t g = 0; g < GROUPS; g++)
        check(t, &kept[g], group, g, 100);
    drop_all(kept);
    end();

    setup(ROWS, 10000); /* bytes: of 50 or more rows */
    memset(group, 0, sizeof(group));
    over = add(t, kept, group, 0, ROWS);
    assert_in_range(over, ROWS - 400, ROWS - 200);
    drop_all(kept);
    end();
    free(t);
}

static void without_memory_it_fails_and_says_so(void **unused)
{
    (void)unused;
    uint32_t group[ROWS], row[ROWS];
    struct table *t = table_new(false);
    deal(group);
    for (uint32_t i = 0; i < ROWS; i++)
        row[i] = i;
    for (size_t refuse = 1; refuse < 60; refuse++) {
        struct kept kept[GROUPS] = {0};
        struct kept_view view = {0};
        uint64_t over = 0;
        setup(ROWS, KEPT_BYTES_MAX);
        subject.refuse = refuse;
        const struct weir_rows rows = {.n = ROWS,
                                       .row = row,
                                       .group = group,
                                       .states = (char *)kept,
                                       .stride = sizeof(*kept),
                                       .time = t->time,
                                       .in = t->in};
        int r = kept_add(&subject.form, &subject.host, &rows, &over);
        if (r == 0)
            r = kept_view_begin(&subject.form, &subject.host, &kept[0], &view);
        assert_int_equal(r, -EINVAL);
        assert_string_equal(subject.host.error.text, "no memory");
        kept_view_end(&subject.form, &subject.host, &view);
        kept_view_free(&view);
        drop_all(kept);
        end();
    }
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back_by_time_whatever_the_calls),
        cmocka_unit_test(a_group_without_rows_has_columns),
        cmocka_unit_test(an_input_that_is_left_out_is_not_kept),
        cmocka_unit_test(merged_groups_have_the_rows_of_both),
        cmocka_unit_test(rows_taken_out_are_gone_and_the_rest_is_in_one_order),
        cmocka_unit_test(stored_and_loaded_rows_are_the_same_and_go_on),
        cmocka_unit_test(damaged_bytes_do_no_harm),
        cmocka_unit_test(rows_beyond_the_limit_are_counted),
        cmocka_unit_test(without_memory_it_fails_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
