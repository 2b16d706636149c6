/* SPDX-License-Identifier: Apache-2.0
 *
 * A pipeline with all it needs.
 */
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

void stage_prepare(struct stage *s, const char *config_text,
                   const struct pipeline_sink *sink, int64_t watermark_us)
{
    struct error error = {0};
    *s = (struct stage){0};
    if (config_parse("test.yaml", config_text, strlen(config_text), &s->config,
                     &error) < 0)
        fail_msg("%s", error.text);
    if (metrics_new(&s->metrics) < 0 || plugins_new(NULL, &s->plugins) < 0 ||
        pipeline_new(s->config, s->config->pipeline, s->plugins, s->metrics,
                     &s->pipeline, &error) < 0)
        fail_msg("%s", error.text);
    assert_int_equal(pipeline_prepare(s->pipeline, sink, watermark_us, &error), 0);
}

void stage_start(struct stage *s, struct log_options options)
{
    struct error error = {0};
    options.name = s->config->stream[0].name;
    options.schema = s->config->stream[0].schema;
    options.queue_events = options.queue_events ? options.queue_events : 100000;
    assert_int_equal(tasks_new("t", 2, false, &s->tasks), 0);
    options.front = options.back = s->tasks;
    assert_int_equal(log_new(&options, s->metrics, &s->log, &error), 0);
    assert_int_equal(
        pipeline_start(s->pipeline, s->tasks, s->log, options.position, false, &error),
        0);
    assert_int_equal(log_start(s->log, &error), 0);
}

int stage_append(struct stage *s, struct batch *b)
{
    const struct request r = {.n = 1, .batch = &b};
    return log_append_wait(s->log, &r);
}

void stage_end(struct stage *s, enum log_end end, struct pipeline_status *ret)
{
    log_close(s->log, end, INT64_MAX);
    pipeline_stop(s->pipeline);
    pipeline_status(s->pipeline, ret);
}

void stage_free(struct stage *s)
{
    log_free(s->log);
    pipeline_unref(s->pipeline);
    tasks_free(s->tasks);
    plugins_free(s->plugins);
    metrics_free(s->metrics);
    config_free(s->config);
}
