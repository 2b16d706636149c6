/* SPDX-License-Identifier: Apache-2.0
 *
 * The collection hangs on the thread, not on a parameter of every reader: most of them read one value.
 */
#include "config/faults.h"

#include <errno.h>
#include <string.h>

static _Thread_local struct faults *collecting;

void faults_begin(struct faults *f)
{
    f->n = 0;
    collecting = f;
}

void faults_end(void)
{
    collecting = NULL;
}

bool faults_go_on(int r, const struct error *error)
{
    struct faults *f = collecting;
    if (!f || r >= 0 || r == -ENOMEM || !error)
        return false;
    bool known = f->n && !strcmp(f->fault[f->n - 1].text, error->text);
    if (!known && f->n < FAULTS_MAX)
        f->fault[f->n++] = *error;
    return f->n < FAULTS_MAX;
}
