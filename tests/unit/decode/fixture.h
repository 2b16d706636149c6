/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of all formats share: a schema with a column of each type, and the dump of a body.
 */
#ifndef WEIR_TESTS_DECODE_FIXTURE_H
#define WEIR_TESTS_DECODE_FIXTURE_H

#include "dump.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIXTURE_NOW_US INT64_C(1800000000000000)

extern struct schema
    *fixture_schema; /* ts,symbol:string,price:float,qty:int,ok:bool,at:time */

int fixture_setup(void **state);
int fixture_teardown(void **state);

struct decode_options
fixture_options(void); /* milliseconds, records of 4096 bytes, depth 8 */

/* The dump of a body that is fed whole; the text lives until the next call. */
const char *fixture_decode(const struct decode_options *o, enum decode_format format,
                           const char *body, size_t size);

/* The dump is the same when the body is cut once, at each place, and when it is cut at every place. */
void fixture_check_splits(const struct decode_options *o, enum decode_format format,
                          const char *body, size_t size);

#endif
