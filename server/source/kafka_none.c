/* SPDX-License-Identifier: Apache-2.0
 *
 * Built without librdkafka: a configuration with `kafka` is refused before any of this is called.
 */
#include "source/pull.h"

#include <errno.h>

int kafka_open(struct pull *p, struct error *error)
{
    (void)p;
    return error_set(error, -ENOSYS, "built without librdkafka");
}

void kafka_close(struct pull *p)
{
    (void)p;
}

void kafka_run(struct pull *p)
{
    (void)p;
}

int kafka_try(const struct config_source *config, struct error *error)
{
    (void)config;
    return error_set(error, -ENOSYS, "built without librdkafka");
}
