/* SPDX-License-Identifier: Apache-2.0
 *
 * SQLite's date and time functions, but for what depends on the clock or the zone of the machine: 'now',
 * 'localtime' and 'utc' are refused when they are evaluated, whether they are written down or come from
 * a column.
 */
#ifndef WEIR_EXPR_PURE_TIME_H
#define WEIR_EXPR_PURE_TIME_H

#include <sqlite3.h>

/* What the text of such a failure begins with; SQLite's own, where it finds 'now' itself. */
#define PURE_TIME_REFUSED "non-deterministic use of "

/* Puts them in place of the connection's own, for as long as it lives. An SQLite code. */
int pure_time_install(sqlite3 *db);

#endif
