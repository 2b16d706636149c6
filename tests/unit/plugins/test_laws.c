/* SPDX-License-Identifier: Apache-2.0
 *
 * What every analyzer promises (server/laws), of those that ship and the sketches of docs/abi.md, with parameters that
 * its own table would not give.
 */
#include "laws/laws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* CPU seconds for a law; 0: as it is. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define LIMIT_S 200u
#else
#define LIMIT_S 0u
#endif

/* A plugin with parameters: "stats of=x:f". `exact`: merging gives every bit of what folding gives; of
 * rounded sums it need not. */
struct subject {
    const char *plugin;
    const char *set[5][2];
    bool exact;
};

static const struct subject subjects[] = {
    {"count", {{0}}, true},
    {"count", {{"of", "x:s"}}, true},
    {"count", {{"of", "x:f"}}, true},
    {"stats", {{"of", "x:i"}, {"emit", "count, sum, min, max, mean"}}, true},
    {"stats", {{"of", "x:i"}}, false},
    {"stats", {{"of", "x:f"}, {"emit", "count, min, max"}}, false},
    {"stats", {{"of", "x:f"}}, false},
    {"vwap", {{"price", "p:f"}, {"volume", "v:i"}}, false},
    {"vwap", {{"price", "p:i"}, {"volume", "v:f"}}, false},
    {"ohlc", {{"of", "x:f"}}, true},
    {"ohlc", {{"of", "x:i"}}, true},
    {"topk", {{"of", "x:s"}, {"k", "5"}}, true},
    {"topk", {{"of", "x:i"}, {"k", "5"}}, true},
    {"topk", {{"of", "x:s"}, {"k", "5"}, {"capacity", "6"}}, false},
    {"sketches/quantiles", {{"of", "x:f"}, {"q", "0 0.25 0.5 0.99 1"}}, true},
    {"sketches/funnel", {{"step", "x:s"}}, true},
    {"sketches/forecast", {{"of", "x:i"}}, false},
    {"sketches/sliding", {{"of", "x:i"}}, true},
    {"quantiles", {{"of", "x:f"}, {"q", "0 0.25 0.5 0.99 1"}}, true},
    {"quantiles", {{"of", "x:i"}, {"q", "0.1 0.9"}, {"buckets", "16"}}, true},
    {"distinct", {{"of", "x:s"}}, true},
    {"distinct", {{"of", "x:i y:s z:b"}}, true},
    {"distinct", {{"of", "x:f"}, {"precision", "8"}}, true},
    {"first", {{"of", "x:s"}}, true},
    {"first", {{"of", "x:f"}}, true},
    {"last", {{"of", "x:s"}}, true},
    {"last", {{"of", "x:t"}}, true},
    {"last", {{"of", "x:b"}}, true},
    {"sum", {{"of", "x:i"}}, true},
    {"sum", {{"of", "x:f"}}, false},
    {"histogram", {{"of", "x:f"}, {"bounds", "-20 -5.5 0 1 60"}}, true},
    {"histogram", {{"of", "x:i"}}, true},
    {"covariance", {{"x", "x:i"}, {"y", "y:f"}}, false},
    {"rate", {{"of", "x:f"}}, true},
    {"delta", {{"of", "x:i"}}, true},
    {"time_weighted", {{"of", "x:f"}}, true},
    {"twap", {{"price", "x:f"}, {"method", "linear"}, {"until", "event"}}, true},
    {"ewma", {{"of", "x:f"}}, false},
    {"change", {{"of", "x:s"}}, true},
    {"change", {{"of", "x:b"}}, true},
    {"change", {{"of", "x:f"}}, true},
    {"gap", {{"longer_than", "500ms"}}, true},
    {"gap", {{"of", "x:s"}, {"longer_than", "500ms"}}, true},
    {"threshold",
     {{"of", "x:f"}, {"limit", "20"}, {"hysteresis", "5"}, {"for", "700ms"}},
     true},
    {"volatility", {{"price", "x:f"}}, true},
    {"drawdown", {{"of", "x:f"}}, true},
    {"imbalance", {{"volume", "x:f"}}, false},
    {"imbalance", {{"volume", "x:i"}, {"side", "y:b"}}, true},
    {"sessions", {{"gap", "700ms"}}, true},
    {"moments", {{"of", "x:f"}}, false},
    {"moments", {{"of", "x:i"}}, false},
    {"mode", {{"of", "x:s"}}, true},
    {"mode", {{"of", "x:i"}}, true},
    {"entropy", {{"of", "x:s"}}, false},
    {"mad", {{"of", "x:f"}}, true},
    {"mad", {{"of", "x:i"}, {"sample", "16"}}, true},
    {"sample", {{"of", "x:s"}}, true},
    {"sample", {{"of", "x:f"}, {"k", "300"}}, true},
    {"collect", {{"of", "x:s"}, {"limit", "7"}}, true},
    {"collect", {{"of", "x:b"}, {"keep", "last"}}, true},
    {"rows", {{"columns", "x:s y:f"}}, true},
    {"rows", {{"by", "z:f"}, {"n", "7"}, {"columns", "x:s y:i"}}, true},
    {"rows",
     {{"by", "z:i"}, {"n", "3"}, {"order", "asc"}, {"columns", "b:b x:s"}},
     true},
    {"funnel",
     {{"step", "x:s"}, {"steps", "view > cart > paid"}, {"within", "7s"}},
     true},
    {"funnel",
     {{"step", "x:s"},
      {"by", "y:i"},
      {"steps", "view > view > paid"},
      {"events", "100"}},
     true},
    {"path", {{"of", "x:s"}, {"by", "y:i"}}, true},
    {"score", {{"of", "x:s"}, {"url", "http://h/"}}, false},
    {"score", {{"of", "x:i"}, {"url", "https://h"}}, false},
    {"anomaly", {{"of", "x:f"}}, true},
    {"anomaly", {{"of", "x:i"}, {"season", "7s"}}, true},
    {"holt_winters", {{"of", "x:f"}, {"every", "500ms"}}, true},
    {"holt_winters", {{"of", "x:i"}, {"every", "2s"}, {"season", "4"}}, true},
    {"holt_winters",
     {{"of", "x:f"},
      {"every", "500ms"},
      {"season", "3"},
      {"fit", "true"},
      {"history", "25"}},
     true},
    {"retention", {{"by", "x:i"}, {"period", "700ms"}}, true},
    {"retention", {{"by", "x:f"}, {"period", "2s"}, {"users", "100"}}, true},
    {"trending", {{"of", "x:s"}, {"recent", "1s"}, {"baseline", "5s"}}, false},
    {"trending", {{"of", "x:i"}, {"recent", "1s"}, {"baseline", "5s"}}, false},
    {"path", {{"of", "x:i"}, {"by", "y:b"}, {"events", "100"}}, true},
    {"path", {{"of", "x:i"}, {"events", "100"}}, true},
    {"sql",
     {{"select", "SELECT x, count(*) AS n, total(y) AS t FROM events GROUP BY x "
                 "ORDER BY n DESC, x"},
      {"columns", "x:s y:f"}},
     true},
    {"sql",
     {{"select", "SELECT rowid AS id, x, y, z FROM events ORDER BY y DESC, x"},
      {"columns", "x:s y:f z:i b:b"}},
     true},
    {"sql",
     {{"select", "SELECT p.z, count(*) AS n FROM events AS p JOIN events AS q ON "
                 "p.z = q.z AND p.b = q.b GROUP BY p.z"},
      {"columns", "z:i b:b"}},
     true},
};

/* "x:f y:i" is a list of columns with their types, "x:f" one; text with commas is quoted. */
static void put_value(FILE *to, const char *text)
{
    static const char *const types[] = {"int", "float", "bool", "string", "time"};
    bool columns = strchr(text, ':') && strchr(text, ' ');
    fputs(columns ? "[" : strchr(text, ',') ? "\"" : "", to);
    for (const char *at = text; *at; at++) {
        if (*at == ' ' && columns)
            fputs(", ", to);
        else
            fputc(*at, to);
        for (size_t i = 0; *at == ':' && i < 5; i++)
            if (types[i][0] == at[1]) {
                fputs(types[i], to);
                at++;
                break;
            }
    }
    fputs(columns ? "]" : strchr(text, ',') ? "\"" : "", to);
}

static void with_of(const struct subject *s, char *text, size_t room)
{
    FILE *to = fmemopen(text, room, "w");
    assert_non_null(to);
    for (size_t i = 0; i < 5 && s->set[i][0]; i++) {
        fprintf(to, "%s%s: ", i ? ", " : "", s->set[i][0]);
        put_value(to, s->set[i][1]);
    }
    fclose(to);
}

/* Beyond its capacity topk keeps bounds, not counts: test_values.py. The sketches do not look at what they load. */
static bool keeps_laws(const struct subject *s)
{
    static const char *const bounds[] = {"merge", NULL}, *const trusting[] = {"damage",
                                                                              NULL};
    bool sketch = strchr(s->plugin, '/'),
         bounded = s->set[2][0] && !strcmp(s->set[2][0], "capacity");
    char path[256], with[256] = "", line[512];
    FILE *to = tmpfile();
    assert_non_null(to);
    with_of(s, with, sizeof(with));
    snprintf(path, sizeof(path), "%splugins/%s.so", sketch ? "tests/unit/" : "",
             s->plugin);
    const struct laws_options o = {.path = path,
                                   .with = *with ? with : NULL,
                                   .except = bounded  ? bounds
                                             : sketch ? trusting
                                                      : NULL,
                                   .exact = s->exact,
                                   .seed = 1,
                                   .limit_s = LIMIT_S,
                                   .to = to};
    int r = laws_check(&o);
    if (r)
        print_error("%s %s\n", path, with);
    rewind(to);
    while (r && fgets(line, sizeof(line), to))
        print_error("%s", line);
    fclose(to);
    return r == 0;
}

static void analyzers_keep_the_laws(void **unused)
{
    size_t broken = 0;
    (void)unused;
    for (size_t i = 0; i < sizeof(subjects) / sizeof(*subjects); i++)
        broken += !keeps_laws(&subjects[i]);
    assert_int_equal(broken, 0);
}

static void laws_have_names(void **unused)
{
    (void)unused;
    assert_true(laws_has("merge"));
    assert_true(laws_has("process"));
    assert_false(laws_has("murge"));
}

int main(void)
{
    /* Laws are tried in processes of their own, which end as they are: valgrind takes what they hold for lost. */
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "vgpreload"))
        return 77; /* skipped */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(analyzers_keep_the_laws),
        cmocka_unit_test(laws_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
