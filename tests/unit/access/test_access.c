/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens: the file, what they may, how often, and what a new reading of the file does to those in use. Digests are those of
 * FIPS 180-4's examples and of sha256sum(1).
 */
#include "access/access.h"
#include "access/rate.h"
#include "base/cidr.h"
#include "base/clock.h"
#include "config/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND_NS INT64_C(1000000000)

/* ---- Digests ---- */

static void assert_digest(const void *bytes, size_t size, const char *expected)
{
    uint8_t digest[SHA256_SIZE];
    char text[2 * SHA256_SIZE + 1];
    sha256(bytes, size, digest);
    secret_put_hex(digest, SHA256_SIZE, text);
    assert_string_equal(text, expected);
}

static void digests_are_those_of_the_standard(void **state)
{
    (void)state;
    static char million[1000000], zeros[200];
    memset(million, 'a', sizeof(million));
    assert_digest("", 0,
                  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_digest("abc", 3,
                  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    assert_digest(million, sizeof(million),
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    /* around the end of a block: `head -c N /dev/zero | sha256sum` */
    assert_digest(zeros, 55,
                  "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7");
    assert_digest(zeros, 64,
                  "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b");
}

static void digests_that_differ_in_a_bit_are_not_the_same(void **state)
{
    (void)state;
    uint8_t a[SHA256_SIZE] = {1, 2, 3}, b[SHA256_SIZE];
    memcpy(b, a, sizeof(b));
    assert_true(sha256_same(a, b));
    for (unsigned bit = 0; bit < 8 * SHA256_SIZE; bit++) {
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(sha256_same(a, b));
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* ---- The field of a request ---- */

static void a_token_is_found_in_each_scheme(void **state)
{
    (void)state;
    char text[SECRET_TEXT_MAX];
    static const char *const good[] = {"Bearer secret",
                                       "bearer   secret",
                                       "Token secret",
                                       "TOKEN secret",
                                       "Basic eDpzZWNyZXQ=" /* x:secret */,
                                       "basic OnNlY3JldA==" /* :secret */};
    static const char *const bad[] = {"",
                                      "Bearer",
                                      "Bearer ",
                                      "secret",
                                      "Digest secret",
                                      "Basic eDpzZWNyZXQ",
                                      "Basic =",
                                      "Basic c2VjcmV0" /* secret */,
                                      "Basic eDo=" /* x: */,
                                      "Basic e!pzZWNyZXQ=",
                                      "Basic eDpzZQBjcmV0" /* a zero */,
                                      "Basic eD=zZWNy"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(secret_of_field(good[i], text));
        assert_string_equal(text, "secret");
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(secret_of_field(bad[i], text));
}

static void a_token_that_is_too_long_is_none(void **state)
{
    (void)state;
    char field[SECRET_TEXT_MAX + 8] = "Token ", text[SECRET_TEXT_MAX];
    memset(field + 6, 'x', SECRET_TEXT_MAX - 1);
    assert_true(secret_of_field(field, text));
    field[6 + SECRET_TEXT_MAX - 1] = 'x';
    assert_false(secret_of_field(field, text));
}

static void new_tokens_have_an_id_and_differ(void **state)
{
    (void)state;
    char id[2][SECRET_ID_MAX + 1], text[2][SECRET_TEXT_MAX], found[SECRET_ID_MAX + 1];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(secret_make(id[i], text[i], NULL), 0);
        assert_true(secret_id(text[i], found));
        assert_string_equal(found, id[i]);
        assert_int_equal(strlen(text[i]), strlen("weir__") + strlen(id[i]) + 64);
    }
    assert_string_not_equal(text[0], text[1]);
    assert_false(secret_id("weir_", found));
    assert_false(secret_id("weir_abc", found));
    assert_false(secret_id("weir__abc", found));
    assert_false(secret_id("other_a_b", found));
}

/* ---- Rates ---- */

static void a_rate_lets_a_second_s_worth_pass_at_once_and_then_one_by_one(void **state)
{
    (void)state;
    struct rate r = {.per_second = 5};
    int64_t now = 1000 * SECOND_NS;
    for (int i = 0; i < 5; i++)
        assert_int_equal(rate_take(&r, now), 0);
    assert_int_equal(rate_take(&r, now), SECOND_NS / 5);
    assert_int_equal(rate_take(&r, now + SECOND_NS / 5), 0);
    assert_true(rate_take(&r, now + SECOND_NS / 5) > 0);
    for (int i = 0; i < 5; i++) /* what was not used for long is not saved up */
        assert_int_equal(rate_take(&r, now + 100 * SECOND_NS), 0);
    assert_true(rate_take(&r, now + 100 * SECOND_NS) > 0);
}

static void what_was_taken_is_owed(void **state)
{
    (void)state;
    struct rate r = {.per_second = 100};
    int64_t now = 50 * SECOND_NS;
    rate_owe(&r, 99, now);
    assert_int_equal(rate_wait(&r, now), 0);
    rate_owe(&r, 401, now); /* 500 in all: five seconds of it, one of them free */
    assert_int_equal(rate_wait(&r, now), 4 * SECOND_NS + 1);
    assert_int_equal(rate_wait(&r, now + 4 * SECOND_NS + 1), 0);
    rate_owe(&r, UINT64_MAX, now);
    assert_true(rate_wait(&r, now) <= 3600 * SECOND_NS);
}

static void no_rate_is_no_limit(void **state)
{
    (void)state;
    struct rate r = {0};
    rate_owe(&r, UINT64_MAX, 1);
    assert_int_equal(rate_wait(&r, 1), 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(rate_take(&r, 1), 0);
}

/* ---- Networks ---- */

static bool in_net(const char *net, const char *address)
{
    struct cidr c;
    uint8_t a[16];
    assert_true(cidr_parse(net, &c));
    assert_true(cidr_address(address, strlen(address), a));
    return cidr_has(&c, a);
}

static void networks_have_their_addresses(void **state)
{
    (void)state;
    struct cidr c;
    assert_true(in_net("10.0.0.0/8", "10.255.1.2"));
    assert_false(in_net("10.0.0.0/8", "11.0.0.0"));
    assert_true(in_net("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert_true(in_net("192.168.3.128/25", "192.168.3.129"));
    assert_false(in_net("192.168.3.128/25", "192.168.3.127"));
    assert_true(in_net("127.0.0.1", "127.0.0.1"));
    assert_false(in_net("127.0.0.1", "127.0.0.2"));
    assert_true(in_net("fd00::/9", "fd7f::1"));
    assert_false(in_net("fd00::/9", "fd80::1"));
    assert_true(in_net("::/0", "[::1]"));
    assert_true(in_net("0.0.0.0/0", "1.2.3.4"));
    assert_false(in_net("0.0.0.0/0", "2001:db8::1"));
    static const char *const bad[] = {
        "",  "10.0.0.0/33", "10.0.0/8",    "::/129",
        "x", "10.0.0.0/",   "10.0.0.0/8x", "10.0.0.0/0008"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(cidr_parse(bad[i], &c));
}

/* ---- The file ---- */

static char folder[] = "/tmp/weir-access-XXXXXX";
static char path[64];

static void write_text(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

#define DIGEST_ONE "5ad6b4ac2a7862ac5c0a2c1a8d4f9bd9bdb1f6a6f4fe1f3d5c4d9ee0f1a2b3c4"

static void faults_of_the_file_have_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"- id: a\n  may: [read]\n", "sha256"},
        {"- id: A\n  sha256: \"" DIGEST_ONE "\"\n  may: [read]\n",
         ":1:7: expected an id"},
        {"- id: a\n  sha256: \"abc\"\n  may: [read]\n", ":2:11: expected the SHA-256"},
        {"- id: a\n  sha256: \"" DIGEST_ONE "\"\n  may: [write]\n", "'write'"},
        {"- id: a\n  sha256: \"" DIGEST_ONE "\"\n  may: []\n", ":3:8: expected a list"},
        {"- id: a\n  sha256: \"" DIGEST_ONE "\"\n  may: [read]\n  expires: soon\n",
         ":4:12: expected a time"},
        {"- id: a\n  sha256: \"" DIGEST_ONE "\"\n  may: [read]\n  rate: 3\n", "'rate'"},
        {"- id: a\n  sha256: \"" DIGEST_ONE "\"\n  may: [read]\n"
         "- id: a\n  sha256: \"" DIGEST_ONE "\"\n  may: [sql]\n",
         ":4:3: there are two tokens 'a'"},
        {"id: a\n", ":1:1: expected a list"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error error = {""};
        struct tokens t = {0};
        write_text(cases[i].text);
        assert_int_equal(tokens_load(path, &t, &error), -EINVAL);
        if (!strstr(error.text, cases[i].said))
            fail_msg("'%s' says nothing of '%s'", error.text, cases[i].said);
    }
}

static void a_file_that_all_may_write_is_refused(void **state)
{
    (void)state;
    struct error error = {""};
    struct tokens t = {0};
    write_text("[]\n");
    assert_int_equal(chmod(path, 0602), 0);
    assert_int_equal(tokens_load(path, &t, &error), -EPERM);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(tokens_load(path, &t, &error), 0);
    assert_int_equal(t.n, 0);
    tokens_free(&t);
}

struct adding {
    const char *id, *text, *note, *stream;
    unsigned may;
    int64_t expires_us;
    uint64_t requests, concurrent;
};

static int add(struct tokens *t, void *ctx, struct error *error)
{
    const struct adding *a = ctx;
    (void)error;
    t->token = realloc(t->token, (t->n + 1) * sizeof(*t->token));
    assert_non_null(t->token);
    struct token *k = &t->token[t->n++];
    *k = (struct token){.may = a->may,
                        .created_us = INT64_C(1800000000) * SECOND_US,
                        .expires_us = a->expires_us ? a->expires_us : INT64_MAX,
                        .requests = a->requests,
                        .concurrent = a->concurrent,
                        .streams.all = !a->stream,
                        .pipelines.all = !a->stream};
    strcpy(k->id, a->id);
    sha256(a->text, strlen(a->text), k->digest);
    k->note = a->note ? strdup(a->note) : NULL;
    if (a->stream) {
        k->streams.name = calloc(1, sizeof(char *));
        k->streams.name[0] = strdup(a->stream);
        k->streams.n = 1;
    }
    return 0;
}

static int remove_first(struct tokens *t, void *ctx, struct error *error)
{
    (void)ctx;
    (void)error;
    token_free(&t->token[0]);
    memmove(&t->token[0], &t->token[1], --t->n * sizeof(*t->token));
    return 0;
}

static int refuse(struct tokens *t, void *ctx, struct error *error)
{
    (void)t;
    (void)ctx;
    return error_set(error, -EEXIST, "no");
}

static void make(const struct adding *a)
{
    struct error error = {""};
    if (tokens_change(path, true, add, (void *)(uintptr_t)a, &error) < 0)
        fail_msg("%s", error.text);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct error error = {""};
    struct tokens t = {0};
    struct stat st;
    unlink(path);
    assert_int_equal(tokens_change(path, false, remove_first, NULL, &error), -ENOENT);
    make(&(struct adding){.id = "one",
                          .text = "x",
                          .may = ACCESS_ALL,
                          .note = "a \"note\" of ${HOME} # \\ \xc3\xa4"});
    make(&(struct adding){.id = "two",
                          .text = "y",
                          .may = 1u << ACCESS_POST,
                          .stream = "trades",
                          .requests = 7,
                          .concurrent = 3,
                          .expires_us = INT64_C(1900000000) * SECOND_US});
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(tokens_load(path, &t, &error), 0);
    assert_int_equal(t.n, 2);
    assert_string_equal(t.token[0].note, "a \"note\" of ${HOME} # \\ \xc3\xa4");
    assert_true(t.token[0].streams.all && t.token[0].pipelines.all);
    assert_int_equal(t.token[0].may, ACCESS_ALL);
    assert_int_equal(t.token[0].expires_us, INT64_MAX);
    assert_false(t.token[1].streams.all || t.token[1].pipelines.all);
    assert_true(token_names_have(&t.token[1].streams, "trades"));
    assert_false(token_names_have(&t.token[1].pipelines, "trades"));
    assert_int_equal(t.token[1].requests, 7);
    assert_int_equal(t.token[1].concurrent, 3);
    assert_int_equal(t.token[1].expires_us, INT64_C(1900000000) * SECOND_US);
    tokens_free(&t);
    assert_int_equal(tokens_change(path, false, refuse, NULL, &error), -EEXIST);
    assert_int_equal(tokens_load(path, &t, &error), 0);
    assert_int_equal(t.n, 2);
    tokens_free(&t);
}

static void the_mode_of_the_file_stays(void **state)
{
    (void)state;
    struct stat st;
    struct error error = {""};
    write_text("[]\n");
    assert_int_equal(chmod(path, 0640), 0);
    make(&(struct adding){.id = "one", .text = "x", .may = 1u << ACCESS_READ});
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(tokens_change(path, false, remove_first, NULL, &error), 0);
}

static void verbs_are_called_as_in_the_configuration(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CONFIG_VERBS; i++)
        assert_string_equal(config_verb_word[i], access_verb_word[ACCESS_POST + i]);
}

/* ---- In force ---- */

#define ONE "weir_one_0123456789"
#define TWO "weir_two_0123456789"

static struct access *begin(struct metrics *m)
{
    struct access *a = NULL;
    struct error error = {""};
    if (access_new(path, m, &a, &error) < 0)
        fail_msg("%s", error.text);
    return a;
}

static enum access_answer enter(struct access *a, const char *field,
                                struct access_user **ret)
{
    int64_t wait_ns;
    return access_enter(a, field, ret, &wait_ns);
}

static void who_is_unknown_is_nobody(void **state)
{
    (void)state;
    struct access_user *u;
    unlink(path);
    make(&(struct adding){.id = "one", .text = ONE, .may = 1u << ACCESS_READ});
    struct access *a = begin(NULL);
    assert_int_equal(enter(a, NULL, &u), ACCESS_NO_TOKEN);
    assert_int_equal(enter(a, "Bearer", &u), ACCESS_NO_TOKEN);
    assert_int_equal(enter(a, "Bearer x", &u), ACCESS_BAD_TOKEN);
    assert_int_equal(enter(a, "Bearer " TWO, &u), ACCESS_BAD_TOKEN);
    assert_int_equal(enter(a, "Bearer " ONE "0", &u), ACCESS_BAD_TOKEN);
    assert_null(u);
    assert_int_equal(enter(a, "Bearer " ONE, &u), ACCESS_GRANTED);
    access_leave(u);
    access_free(a);
}

static void a_token_may_what_it_says(void **state)
{
    (void)state;
    struct access_user *u;
    unlink(path);
    make(&(struct adding){.id = "one",
                          .text = ONE,
                          .stream = "trades",
                          .may = 1u << ACCESS_POST | 1u << ACCESS_SQL});
    struct access *a = begin(NULL);
    assert_int_equal(enter(a, "Token " ONE, &u), ACCESS_GRANTED);
    assert_true(access_may(u, ACCESS_POST, ACCESS_STREAM, "trades"));
    assert_false(access_may(u, ACCESS_POST, ACCESS_STREAM, "trades2"));
    assert_false(access_may(u, ACCESS_POST, ACCESS_STREAM, NULL));
    assert_false(access_may(u, ACCESS_POST, ACCESS_PIPELINE, "trades"));
    assert_false(access_may(u, ACCESS_READ, ACCESS_STREAM, "trades"));
    assert_true(access_may(u, ACCESS_SQL, ACCESS_NOTHING, NULL));
    assert_false(access_may(u, ACCESS_ADMIN, ACCESS_NOTHING, NULL));
    assert_true(access_may(u, ACCESS_KNOWN, ACCESS_NOTHING, NULL));
    assert_false(access_may(u, ACCESS_UNSAID, ACCESS_NOTHING, NULL));
    assert_false(access_may_all(u, ACCESS_STREAM));
    access_leave(u);
    access_free(a);
}

static void limits_of_a_token_are_its_own(void **state)
{
    (void)state;
    struct access_user *u[3];
    int64_t wait_ns;
    unlink(path);
    make(&(struct adding){
        .id = "one", .text = ONE, .may = 1u << ACCESS_READ, .concurrent = 2});
    make(&(struct adding){
        .id = "two", .text = TWO, .may = 1u << ACCESS_READ, .requests = 1});
    struct access *a = begin(NULL);
    assert_int_equal(enter(a, "Bearer " ONE, &u[0]), ACCESS_GRANTED);
    assert_int_equal(enter(a, "Bearer " ONE, &u[1]), ACCESS_GRANTED);
    assert_int_equal(enter(a, "Bearer " ONE, &u[2]), ACCESS_TOO_MANY);
    access_leave(u[2]);
    access_leave(u[0]);
    assert_int_equal(enter(a, "Bearer " ONE, &u[0]), ACCESS_GRANTED);
    access_leave(u[0]);
    access_leave(u[1]);
    assert_int_equal(enter(a, "Bearer " TWO, &u[0]), ACCESS_GRANTED);
    assert_int_equal(access_enter(a, "Bearer " TWO, &u[1], &wait_ns), ACCESS_TOO_OFTEN);
    assert_in_range(wait_ns, 1, SECOND_NS);
    access_leave(u[0]);
    access_leave(u[1]);
    access_free(a);
}

static void a_token_whose_time_is_over_is_none(void **state)
{
    (void)state;
    struct access_user *u;
    unlink(path);
    make(&(struct adding){.id = "one",
                          .text = ONE,
                          .may = 1u << ACCESS_READ,
                          .expires_us = clock_now_us() - SECOND_US});
    struct access *a = begin(NULL);
    assert_int_equal(enter(a, "Bearer " ONE, &u), ACCESS_EXPIRED);
    access_leave(u);
    access_free(a);
}

static void reading_again_ends_who_is_gone_and_keeps_who_is_the_same(void **state)
{
    (void)state;
    struct access_user *one, *two, *u;
    struct error error = {""};
    struct metrics *m;
    struct buffer b = {0};
    assert_int_equal(metrics_new(&m), 0);
    unlink(path);
    make(&(struct adding){.id = "one", .text = ONE, .may = 1u << ACCESS_READ});
    make(&(struct adding){.id = "two", .text = TWO, .may = 1u << ACCESS_READ});
    struct access *a = begin(m);
    assert_int_equal(enter(a, "Bearer " ONE, &one), ACCESS_GRANTED);
    assert_int_equal(enter(a, "Bearer " TWO, &two), ACCESS_GRANTED);
    access_spend(two, 5);
    assert_int_equal(tokens_change(path, false, remove_first, NULL, &error), 0);
    assert_int_equal(access_reload(a, &error), 0);
    assert_true(access_is_over(one, clock_now_us()));
    assert_false(access_is_over(two, clock_now_us()));
    assert_int_equal(enter(a, "Bearer " ONE, &u), ACCESS_BAD_TOKEN);
    metrics_print(m, &b);
    assert_null(strstr(buffer_text(&b), "token=\"one\""));
    assert_non_null(
        strstr(buffer_text(&b), "weir_token_events_total{token=\"two\"} 5\n"));
    write_text("nonsense\n"); /* and what is no file of tokens changes nothing */
    assert_int_equal(access_reload(a, &error), -EINVAL);
    assert_int_equal(enter(a, "Bearer " TWO, &u), ACCESS_GRANTED);
    access_leave(u);
    access_leave(one);
    access_leave(two);
    access_free(a);
    metrics_free(m);
    buffer_free(&b);
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/tokens", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_those_of_the_standard),
        cmocka_unit_test(digests_that_differ_in_a_bit_are_not_the_same),
        cmocka_unit_test(a_token_is_found_in_each_scheme),
        cmocka_unit_test(a_token_that_is_too_long_is_none),
        cmocka_unit_test(new_tokens_have_an_id_and_differ),
        cmocka_unit_test(a_rate_lets_a_second_s_worth_pass_at_once_and_then_one_by_one),
        cmocka_unit_test(what_was_taken_is_owed),
        cmocka_unit_test(no_rate_is_no_limit),
        cmocka_unit_test(networks_have_their_addresses),
        cmocka_unit_test(faults_of_the_file_have_their_place),
        cmocka_unit_test(a_file_that_all_may_write_is_refused),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(the_mode_of_the_file_stays),
        cmocka_unit_test(verbs_are_called_as_in_the_configuration),
        cmocka_unit_test(who_is_unknown_is_nobody),
        cmocka_unit_test(a_token_may_what_it_says),
        cmocka_unit_test(limits_of_a_token_are_its_own),
        cmocka_unit_test(a_token_whose_time_is_over_is_none),
        cmocka_unit_test(reading_again_ends_who_is_gone_and_keeps_who_is_the_same),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
