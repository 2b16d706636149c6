/* SPDX-License-Identifier: Apache-2.0
 *
 * The text format of the metrics: Prometheus, "Exposition formats", version 0.0.4.
 */
#include "base/metrics.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static double read_ctx(void *ctx)
{
    return *(double *)ctx;
}

static void metrics_of_one_name_stand_together(void **state)
{
    struct metrics *m;
    struct buffer out = {0};
    _Atomic uint64_t a = 1, b = UINT64_MAX, c = 1500000000;
    double lag = 0.25;
    (void)state;
    assert_int_equal(metrics_new(&m), 0);
    const char *help = "Events accepted";
    assert_int_equal(metrics_add(m, METRIC_COUNTER, "weir_events_total", help,
                                 "stream=\"a\"", &a, 1),
                     0);
    assert_int_equal(metrics_add(m, METRIC_COUNTER, "weir_cpu_seconds_total",
                                 "CPU time", "", &c, 1e-9),
                     0);
    assert_int_equal(metrics_add(m, METRIC_COUNTER, "weir_events_total", help,
                                 "stream=\"b\"", &b, 1),
                     0);
    assert_int_equal(metrics_add_call(m, METRIC_GAUGE, "weir_lag_seconds", "Lag",
                                      "p=\"x\"", read_ctx, &lag),
                     0);
    metrics_print(m, &out);
    assert_string_equal(buffer_text(&out),
                        "# HELP weir_events_total Events accepted\n"
                        "# TYPE weir_events_total counter\n"
                        "weir_events_total{stream=\"a\"} 1\n"
                        "weir_events_total{stream=\"b\"} 18446744073709551615\n"
                        "# HELP weir_cpu_seconds_total CPU time\n"
                        "# TYPE weir_cpu_seconds_total counter\n"
                        "weir_cpu_seconds_total 1.5\n"
                        "# HELP weir_lag_seconds Lag\n"
                        "# TYPE weir_lag_seconds gauge\n"
                        "weir_lag_seconds{p=\"x\"} 0.25\n");
    buffer_free(&out);
    metrics_free(m);
}

static void values_are_read_at_each_scrape(void **state)
{
    struct metrics *m;
    struct buffer out = {0};
    _Atomic uint64_t v = 0;
    (void)state;
    assert_int_equal(metrics_new(&m), 0);
    assert_int_equal(metrics_add(m, METRIC_COUNTER, "n_total", "n", "", &v, 1), 0);
    metric_add(&v, 7);
    metrics_print(m, &out);
    assert_non_null(strstr(buffer_text(&out), "\nn_total 7\n"));
    metric_add(&v, 1);
    buffer_clear(&out);
    metrics_print(m, &out);
    assert_non_null(strstr(buffer_text(&out), "\nn_total 8\n"));
    buffer_free(&out);
    metrics_free(m);
}

static void infinities_and_nan_have_their_own_words(void **state)
{
    static const char *const word[] = {"g NaN\n", "g +Inf\n", "g -Inf\n"};
    double v[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    for (size_t i = 0; i < COUNT(v); i++) {
        struct metrics *m;
        struct buffer out = {0};
        assert_int_equal(metrics_new(&m), 0);
        assert_int_equal(
            metrics_add_call(m, METRIC_GAUGE, "g", "help", "", read_ctx, &v[i]), 0);
        metrics_print(m, &out);
        assert_string_equal(strstr(buffer_text(&out), "g ") +
                                strlen("g help\n# TYPE g gauge\n"),
                            word[i]);
        buffer_free(&out);
        metrics_free(m);
    }
}

static void labels_and_help_are_escaped(void **state)
{
    struct metrics *m;
    struct buffer labels = {0}, out = {0};
    _Atomic uint64_t v = 1;
    (void)state;
    metrics_put_label(&labels, "a", "x\"y\\z\nw");
    metrics_put_label(&labels, "b", "");
    assert_string_equal(buffer_text(&labels), "a=\"x\\\"y\\\\z\\nw\",b=\"\"");
    assert_int_equal(metrics_new(&m), 0);
    assert_int_equal(metrics_add(m, METRIC_GAUGE, "g", "say \"hi\" \\ \n",
                                 buffer_text(&labels), &v, 1),
                     0);
    metrics_print(m, &out);
    assert_string_equal(buffer_text(&out), "# HELP g say \"hi\" \\\\ \\n\n"
                                           "# TYPE g gauge\n"
                                           "g{a=\"x\\\"y\\\\z\\nw\",b=\"\"} 1\n");
    buffer_free(&labels);
    buffer_free(&out);
    metrics_free(m);
}

static void an_empty_registry_prints_nothing(void **state)
{
    struct metrics *m;
    struct buffer out = {0};
    (void)state;
    assert_int_equal(metrics_new(&m), 0);
    metrics_print(m, &out);
    assert_int_equal(out.size, 0);
    metrics_free(m);
    metrics_free(NULL);
    buffer_free(&out);
}

static void histograms_count_up_from_bucket_to_bucket(void **state)
{
    static struct histogram h, other;
    struct metrics *m;
    struct buffer out = {0};
    (void)state;
    histogram_add(&h, 0);
    histogram_add(&h, 500);
    histogram_add(&h, 501);
    histogram_add(&h, 10000000);
    histogram_add(&h, 20000000);
    assert_int_equal(metrics_new(&m), 0);
    assert_int_equal(metrics_add_histogram(m, "t_seconds", "T.", "", &h), 0);
    assert_int_equal(metrics_add_histogram(m, "t_seconds", "T.", "a=\"b\"", &other), 0);
    metrics_remove(m, &other, sizeof(other));
    metrics_print(m, &out);
    assert_string_equal(
        buffer_text(&out),
        "# HELP t_seconds T.\n# TYPE t_seconds histogram\n"
        "t_seconds_bucket{le=\"0.0005\"} 2\nt_seconds_bucket{le=\"0.001\"} 3\n"
        "t_seconds_bucket{le=\"0.0025\"} 3\nt_seconds_bucket{le=\"0.005\"} 3\n"
        "t_seconds_bucket{le=\"0.01\"} 3\nt_seconds_bucket{le=\"0.025\"} 3\n"
        "t_seconds_bucket{le=\"0.05\"} 3\nt_seconds_bucket{le=\"0.1\"} 3\n"
        "t_seconds_bucket{le=\"0.25\"} 3\nt_seconds_bucket{le=\"0.5\"} 3\n"
        "t_seconds_bucket{le=\"1\"} 3\nt_seconds_bucket{le=\"2.5\"} 3\n"
        "t_seconds_bucket{le=\"5\"} 3\nt_seconds_bucket{le=\"10\"} 4\n"
        "t_seconds_bucket{le=\"+Inf\"} 5\n"
        "t_seconds_sum 30.001001\nt_seconds_count 5\n");
    buffer_free(&out);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histograms_count_up_from_bucket_to_bucket),
        cmocka_unit_test(metrics_of_one_name_stand_together),
        cmocka_unit_test(values_are_read_at_each_scrape),
        cmocka_unit_test(infinities_and_nan_have_their_own_words),
        cmocka_unit_test(labels_and_help_are_escaped),
        cmocka_unit_test(an_empty_registry_prints_nothing),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
