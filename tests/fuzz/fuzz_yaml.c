/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration: every input is taken, or refused with one line that begins with its place; so is all that is wrong
 * with it, where that is collected.
 */
#include "config/config.h"
#include "config/faults.h"

#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_error(int err, const struct error *error)
{
    unsigned line, column;
    if (err == -ENOMEM || err == -E2BIG)
        return;
    if (sscanf(error->text, "fuzz.yaml:%u:%u: ", &line, &column) == 2 && line > 0 &&
        column > 0 && !strchr(error->text, '\n'))
        return;
    fprintf(stderr, "an error without its place: %d '%s'\n", err, error->text);
    abort();
}

static int parse(const uint8_t *data, size_t size)
{
    struct config *c = NULL;
    struct error error = {""};
    int err = config_parse("fuzz.yaml", (const char *)data, size, &c, &error);
    if (err < 0)
        check_error(err, &error);
    else
        config_free(c);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct faults all;
    if (parse(data, size) == 0)
        return 0;
    faults_begin(&all);
    if (parse(data, size) == 0)
        abort();
    faults_end();
    for (size_t i = 0; i < all.n; i++)
        check_error(-EINVAL, &all.fault[i]);
    return 0;
}
