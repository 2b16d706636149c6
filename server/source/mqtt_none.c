/* SPDX-License-Identifier: Apache-2.0
 *
 * Built without libmosquitto: a configuration with `mqtt` is refused before any of this is called.
 */
#include "source/pull.h"

#include <errno.h>

int mqtt_open(struct pull *p, struct error *error)
{
    (void)p;
    return error_set(error, -ENOSYS, "built without libmosquitto");
}

void mqtt_close(struct pull *p)
{
    (void)p;
}

void mqtt_run(struct pull *p)
{
    (void)p;
}

int mqtt_try(const struct config_source *config, struct error *error)
{
    (void)config;
    return error_set(error, -ENOSYS, "built without libmosquitto");
}
