/* SPDX-License-Identifier: Apache-2.0
 *
 * POST /api/v1/backup: a backup in the folder that the configuration names.
 */
#include "admin/backup_folder.h"
#include "api/internal.h"
#include "api/jsonout.h"
#include "base/logger.h"

#include <errno.h>
#include <stdlib.h>

static bool backup_cancelled(void *request)
{
    return http_gone(request); /* also when the server stops */
}

static void backup_answer(struct http_request *r, const char *path,
                          const struct backup_report *report)
{
    struct buffer b = {0};
    jsonout_open(&b, NULL, '{');
    jsonout_string(&b, "path", path);
    jsonout_count(&b, "bytes", report->bytes);
    jsonout_open(&b, "streams", '[');
    for (size_t i = 0; i < report->n_streams; i++) {
        jsonout_open(&b, NULL, '{');
        jsonout_string(&b, "name", report->stream[i].name);
        jsonout_count(&b, "position", report->stream[i].position);
        jsonout_count(&b, "damaged", report->stream[i].damaged);
        jsonout_close(&b, '}');
    }
    jsonout_close(&b, ']');
    buffer_puts(&b, ",\"seconds\":");
    buffer_put_json_double(&b, (double)report->took_us / 1e6);
    jsonout_close(&b, '}');
    buffer_putc(&b, '\n');
    http_reply_buffer(r, 201, "application/json", &b);
}

static void backup_failed(struct http_request *r, int err, const char *text)
{
    logger_error("backup", "%s", text);
    http_set_header(r, "Retry-After", "5");
    if (err == -ENOSPC || err == -EDQUOT)
        http_problem(r, 507, "disk_full", "%s", text);
    else if (err == -ECANCELED)
        http_problem(r, 503, "stopping", "the server is stopping");
    else
        http_problem(r, 500, "backup_failed", "%s", text);
}

static void backup_made(struct http_request *r, const char *path,
                        const struct backup_report *report)
{
    logger_info("backup", "'%s': %llu bytes in %.2f s", path,
                (unsigned long long)report->bytes, (double)report->took_us / 1e6);
    if (report->damage.text[0])
        logger_error("backup", "'%s' is as damaged as the original: %s", path,
                     report->damage.text);
    backup_answer(r, path, report);
}

static void backup_run(struct http_request *r, struct api *a)
{
    const struct backup_options options = {.database = store_path(a->is.store),
                                           .journal = a->is.journal,
                                           .cancelled = backup_cancelled,
                                           .ctx = r};
    struct backup_report report = {0};
    struct error error = {""};
    char *path = NULL;
    int err = backup_folder_add(a->is.backups, a->is.config->server.backups_kept,
                                &options, &path, &report, &error);
    if (err)
        backup_failed(r, err, error.text);
    else
        backup_made(r, path, &report);
    backup_report_free(&report);
    free(path);
}

void backup_post(struct http_request *r, void *api)
{
    struct api *a = api;
    size_t size;
    http_body(r, &size);
    if (!api_no_arguments(r))
        return;
    if (size) {
        http_problem(r, 400, "unknown_parameter", "no body is taken here");
        return;
    }
    if (atomic_exchange(&a->backup_runs, true)) {
        http_set_header(r, "Retry-After", "1");
        http_problem(r, 409, "backup_running", "another backup is being made");
        return;
    }
    backup_run(r, a);
    atomic_store(&a->backup_runs, false);
}
