/* SPDX-License-Identifier: Apache-2.0
 *
 * Without librdkafka: a configuration that asks for it is refused before (config/kafka_section.c).
 */
#include "publish/publish.h"
#include "store/carried.h"

#include <errno.h>

const char *const publish_state_word[] = {"", "", "", ""};

static bool is_left_out(void *ctx, const char *pipeline)
{
    (void)ctx, (void)pipeline;
    return false;
}

int publish_check(const struct config *config, struct pipeline *const *pipeline,
                  size_t n, struct error *error)
{
    (void)config, (void)pipeline, (void)n, (void)error;
    return 0;
}

/* What another build has kept is kept for nobody. */
int publish_prepare(struct store *store, const struct publisher *running,
                    struct config *config, struct config *server,
                    struct pipeline *const *pipeline, size_t n,
                    struct publish_set **ret, struct error *error)
{
    (void)running, (void)config, (void)server, (void)pipeline, (void)n;
    char database[CARRIED_ID];
    *ret = NULL;
    return carried_open(store, CARRIED_KAFKA, NULL, 0, NULL, is_left_out, NULL, NULL,
                        database, error);
}

void publish_set_free(struct publish_set *s)
{
    (void)s;
}

int publish_new(struct store *store, struct metrics *metrics, struct publish_set *set,
                struct publisher **ret, struct error *error)
{
    (void)store, (void)metrics, (void)set, (void)ret;
    return error_set(error, -ENOTSUP, "this weir was built without librdkafka");
}

void publish_end(struct publisher *p)
{
    (void)p;
}

void publish_free(struct publisher *p)
{
    (void)p;
}

int publish_hold(struct publisher *p, struct error *error)
{
    (void)p, (void)error;
    return 0;
}

void publish_release(struct publisher *p)
{
    (void)p;
}

void publish_exchange(struct publisher *p, struct publish_set *set)
{
    (void)p, (void)set;
}

void publish_each(struct publisher *p, const char *pipeline,
                  void (*call)(void *ctx, const struct publish_status *s), void *ctx)
{
    (void)p, (void)pipeline, (void)call, (void)ctx;
}

int publish_try(const struct config_kafka *config, char ret_text[256],
                struct error *error)
{
    (void)config, (void)ret_text;
    return error_set(error, -ENOTSUP, "this weir was built without librdkafka");
}
