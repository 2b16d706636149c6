/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures against published values, the states of alerts, bodies by template.
 */
#include "base/hash.h"
#include "hook/alert.h"
#include "hook/sign.h"
#include "hook/template.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The example of the documentation of Svix, from which Standard Webhooks came. */
static void the_published_example_is_signed_so(void **state)
{
    static const char secret[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    static const char body[] = "{\"test\": 2432232314}";
    struct buffer key = {0}, text = {0};
    (void)state;
    assert_int_equal(sign_secret(secret, sizeof(secret) - 1, &key), 0);
    assert_int_equal(key.size, 24);
    sign_put(&text, &key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body,
             sizeof(body) - 1);
    assert_string_equal(buffer_text(&text),
                        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    buffer_free(&key);
    buffer_free(&text);
}

static void secrets_that_are_none_are_refused(void **state)
{
    static const char *const wrong[] = {"", "whsec_", "whsec_a",
                                        "whsec_a b=", "whsec_abcde"};
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct buffer key = {0};
        assert_int_equal(sign_secret(wrong[i], strlen(wrong[i]), &key), -EINVAL);
        buffer_free(&key);
    }
}

static struct alert_step step(struct alerts *a, const char *key, int64_t time_us,
                              bool holds)
{
    struct alert_step s;
    assert_int_equal(alerts_step(a, key, time_us, holds, &s), 0);
    return s;
}

static void an_alert_begins_is_repeated_and_ends(void **state)
{
    const struct alert_rule rule = {
        .for_us = 10, .repeat_us = 20, .resolved = true, .max_keys = 100};
    struct alerts *a;
    (void)state;
    assert_int_equal(alerts_new(&rule, &a), 0);
    assert_int_equal(step(a, "k", 100, true).notice, ALERT_NONE);
    assert_int_equal(step(a, "k", 109, true).notice, ALERT_NONE);
    assert_int_equal(step(a, "k", 110, true).notice, ALERT_FIRING);
    assert_int_equal(step(a, "k", 129, true).notice, ALERT_NONE);
    assert_int_equal(step(a, "k", 131, true).notice, ALERT_REPEATED);
    assert_int_equal(step(a, "k", 150, true).notice, ALERT_NONE);  /* 131 + 20 */
    assert_int_equal(step(a, "k", 149, false).notice, ALERT_NONE); /* older */
    struct alert_step last = step(a, "k", 151, false);
    assert_int_equal(last.notice, ALERT_RESOLVED);
    assert_true(last.gone);
    assert_int_equal(last.state.since_us, 100);
    assert_int_equal(alerts_keys(a), 0);
    /* One that never lasted long enough says nothing. */
    step(a, "k", 200, true);
    assert_int_equal(step(a, "k", 205, false).notice, ALERT_NONE);
    alerts_free(a);
}

static void many_keys_are_told_apart_up_to_the_limit(void **state)
{
    const struct alert_rule rule = {
        .repeat_us = INT64_MAX, .resolved = true, .max_keys = 5000};
    struct alerts *a;
    char key[32];
    (void)state;
    assert_int_equal(alerts_new(&rule, &a), 0);
    for (int i = 0; i < 6000; i++) {
        snprintf(key, sizeof(key), "[\"k%d\"]", i);
        struct alert_step s = step(a, key, i, true);
        assert_int_equal(s.over, i >= 5000);
        assert_int_equal(s.notice, i >= 5000 ? ALERT_NONE : ALERT_FIRING);
    }
    assert_int_equal(alerts_firing(a), 5000);
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "[\"k%d\"]", i);
        struct alert_step s = step(a, key, 10000, false);
        assert_int_equal(s.notice, ALERT_RESOLVED);
        assert_int_equal(s.state.since_us, i);
    }
    assert_int_equal(alerts_keys(a) + alerts_firing(a), 0);
    alerts_free(a);
}

static void a_template_replaces_names_of_columns_only(void **state)
{
    static const char *const word[TEMPLATE_WORDS] = {"1-2", "row", "", "p", "t", "h"};
    static const char text[] = "{{a}} {b} {\"a\":{a}} {id}{kind} {a b} { a} {";
    struct schema *schema;
    struct template *t;
    struct buffer body = {0};
    sqlite3 *db;
    sqlite3_stmt *row;
    char unknown[64];
    (void)state;
    assert_int_equal(schema_new(2, "a", &schema), 0);
    assert_int_equal(schema_set(schema, 1, "b", WEIR_STRING), 0);
    assert_int_equal(template_new(text, schema, &t, unknown), 0);
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT 1500000, 'x\"y'", -1, &row, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(row), SQLITE_ROW);
    template_put(t, word, row, &body);
    assert_string_equal(buffer_text(&body),
                        "{1970-01-01T00:00:01.500000Z} x\\\"y "
                        "{\"a\":1970-01-01T00:00:01.500000Z} 1-2row {a b} { a} {");
    sqlite3_finalize(row);
    sqlite3_close(db);
    template_free(t);
    assert_int_equal(template_new("{a}{missing}", schema, &t, unknown), -EINVAL);
    assert_string_equal(unknown, "missing");
    buffer_free(&body);
    schema_free(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_example_is_signed_so),
        cmocka_unit_test(secrets_that_are_none_are_refused),
        cmocka_unit_test(an_alert_begins_is_repeated_and_ends),
        cmocka_unit_test(many_keys_are_told_apart_up_to_the_limit),
        cmocka_unit_test(a_template_replaces_names_of_columns_only),
    };
    hash_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
