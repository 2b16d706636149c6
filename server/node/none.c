/* SPDX-License-Identifier: Apache-2.0
 *
 * Without libpq: a configuration with `postgresql` is refused before (config/postgresql_section.c), and one without it has no `nodes`.
 */
#include "node/node.h"

#include <errno.h>

enum node_end node_run(const struct node_options *options, struct error *error)
{
    (void)options;
    error_set(error, -ENOTSUP, "this weir was built without libpq");
    return NODE_REFUSED;
}

int node_list(const struct config *config, FILE *to, struct error *error)
{
    (void)config, (void)to;
    return error_set(error, -ENOTSUP, "this weir was built without libpq");
}
