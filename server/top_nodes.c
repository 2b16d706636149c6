/* SPDX-License-Identifier: Apache-2.0
 *
 * One look at a node, weir node, by /api/v1/nodes: nodes and shards as lines, which SQLite makes of its JSON.
 */
#include "client.h"
#include "store/db.h"
#include "top.h"

#include <errno.h>
#include <string.h>

/* First what is not as it should be: '1'. Then the line. */
static const char lines_sql[] =
    "WITH n AS (SELECT value AS v FROM json_each(?1, '$.nodes')),"
    " s AS (SELECT value AS v, 86400 * (julianday(?1->>'at') -"
    " julianday(value->>'since')) AS since, 86400 * (julianday(?1->>'at') -"
    " julianday(value->>'copied')) AS copied FROM json_each(?1, '$.shards'))"
    " SELECT '0' || printf('%-20s  %-8s  %6s  %6s  %s', 'NODE', 'STATE', 'SHARDS',"
    " 'LEFT', 'ADDRESS')"
    " UNION ALL SELECT (v->>'state' <> 'lives') || printf('%-20s  %-8s  %6d  %6.1f  "
    "%s',"
    " v->>'node', v->>'state', v->>'shards', max(0, 86400 * (julianday(v->>'until') -"
    " julianday(?1->>'at'))), v->>'address') FROM n"
    " UNION ALL SELECT '0'"
    " UNION ALL SELECT '0' || printf('%-5s  %-20s  %-9s  %8s  %8s  %7s  %-24s  %s',"
    " 'SHARD', 'NODE', 'STATE', 'LAG', 'SINCE', 'COPY', 'ADDRESS', 'PARTITIONS')"
    " UNION ALL SELECT (v->>'state' <> 'ready') || printf('%-5s  %-20s  %-9s  %8s  "
    "%8s  %7s  %-24s  %s', v->>'shard', ifnull(v->>'node', '-'), v->>'state',"
    " ifnull(v->>'lag', '-'), iif(since IS NULL, '-', printf('%.0f', since)),"
    " iif(copied IS NULL, '-', printf('%.1f', copied)), ifnull(v->>'address', '-'),"
    " trim(v->>'partitions', '[]')) FROM s"
    " UNION ALL SELECT '0' WHERE EXISTS (SELECT 1 FROM s WHERE v->>'problem' <> '')"
    " UNION ALL SELECT '1' || printf('shard %s: %s', v->>'shard', v->>'problem')"
    " FROM s WHERE v->>'problem' <> ''";

static int read_lines(sqlite3 *db, const struct buffer *json, struct buffer *to)
{
    DB_STATEMENT s = NULL;
    if (sqlite3_prepare_v2(db, lines_sql, -1, &s, NULL) ||
        sqlite3_bind_text64(s, 1, json->data, json->size, SQLITE_STATIC, SQLITE_UTF8))
        return -ENOMEM;
    int got;
    while ((got = sqlite3_step(s)) == SQLITE_ROW) {
        const char *line = (const char *)sqlite3_column_text(s, 0);
        buffer_puts(to, line ? line : "0");
        buffer_putc(to, '\n');
    }
    return to->error ? to->error : got == SQLITE_DONE ? 0 : -EPROTO;
}

int top_nodes(struct client *c, sqlite3 *db, struct buffer *ret, struct error *error)
{
    static const char path[] = "/api/v1/nodes";
    struct buffer json = {0}, lines = {0};
    unsigned status = 0;
    int err = client_get(c, path, &json, &status, error);
    if (!err && status != 200)
        err = error_set(error, -EPROTO, "%s%s: %u", client_where(c), path, status);
    else if (!err && (err = read_lines(db, &json, &lines)))
        error_set(error, err, "%s%s: not what weir answers", client_where(c), path);
    buffer_free(&json);
    if (err)
        buffer_free(&lines);
    else
        *ret = lines;
    return err;
}
