/* SPDX-License-Identifier: Apache-2.0
 *
 * By what files are known that were taken before; and the run that has no server, but a database in which one was.
 */
#include "base/hash.h"
#include "runs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- Keys -------------------------------------------------------------------------------------- */

/* Kept on disk: the same in every process, unlike hash_bytes. */
static uint64_t mix_in(uint64_t h, uint64_t odd, const char *data, size_t size)
{
    size_t i = 0;
    for (; i + 8 <= size; i += 8)
        h = hash_mix(h ^ hash_load(data + i, 8), odd) + odd;
    return hash_mix(h ^ hash_load(data + i, size - i), odd ^ (size + 1));
}

void runs_key_begin(struct runs_key *k, const char *path, int format)
{
    struct error error;
    enum decode_format by_name;
    if (format == SOURCE_BY_NAME && source_file_format(path, &by_name, &error) == 0)
        format = (int)by_name;
    k->bytes[0] = 0x243f6a8885a308d3u ^ (uint64_t)(format + 1);
    k->bytes[1] = 0x13198a2e03707344u;
}

void runs_key_piece(struct runs_key *k, const char *data, size_t size)
{
    k->bytes[0] = mix_in(k->bytes[0], 0x9e3779b97f4a7c15u, data, size);
    k->bytes[1] = mix_in(k->bytes[1], 0xd6e8feb86659fd93u, data, size);
    snprintf(k->text, sizeof(k->text), "%s:%016llx%016llx", size ? "run" : "end",
             (unsigned long long)k->bytes[0], (unsigned long long)k->bytes[1]);
}

/* ---- A run of its own --------------------------------------------------------------------------- */

/* Stands between files and their stream. */
struct known {
    const struct source_files *files;
    struct source_stream stream;
    struct runs_key key; /* of the piece at hand */
    size_t file;         /* that it is of; SIZE_MAX: there was none */
    bool taken;          /* it was taken before */
    uint64_t before;     /* events of such pieces */
};

/* For source_file. */
static int begin_piece(void *ctx, size_t file, const char *data, size_t size,
                       struct error *error)
{
    struct known *k = ctx;
    const struct source_sink *to = &k->files->stream->sink;
    const char *path = k->files->path[file];
    struct request_known was;
    if (file != k->file)
        runs_key_begin(&k->key, path, k->files->format);
    k->file = file;
    runs_key_piece(&k->key, data, size);
    int err = to->key_begin(to->ctx, k->key.text, strlen(k->key.text), &was);
    if (err < 0)
        return error_set(error, err, "\"%s\": %s", path, strerror(-err));
    k->taken = err == 1;
    if (k->taken)
        request_answer_free(&was.answer);
    else /* that it is taken now nobody is to know before the run is at its end */
        to->key_abandon(to->ctx, k->key.text, strlen(k->key.text));
    return 0;
}

/* For source_file. */
static int take(void *ctx, const struct request *q)
{
    struct known *k = ctx;
    const struct source_sink *to = &k->files->stream->sink;
    if (!k->taken)
        return to->append_wait(to->ctx, q);
    for (size_t i = 0; i < q->n; i++) {
        k->before += q->batch[i]->n_rows;
        batch_unref(q->batch[i]);
    }
    return 0;
}

static void keep_dead(void *ctx, const struct dead_letter *list, size_t n)
{
    struct known *k = ctx;
    /* As for runs.c: those of a piece that was taken may not be in the table. */
    if (!k->taken || (n && list[0].once))
        k->files->stream->sink.dead(k->files->stream->sink.ctx, list, n);
}

static int64_t arrival(void *ctx)
{
    struct known *k = ctx;
    return k->files->stream->sink.now(k->files->stream->sink.ctx);
}

static void tell_progress(void *ctx, uint64_t bytes, uint64_t total, uint64_t rows)
{
    struct known *k = ctx;
    k->files->progress(k->files->ctx, bytes, total, rows);
}

int runs_push(const struct source_files *files, struct source_result *ret,
              uint64_t *ret_before, struct error *error)
{
    struct known k = {.files = files, .file = SIZE_MAX};
    struct source_files through = *files;
    k.stream = (struct source_stream){
        .name = files->stream->name,
        .decode = *source_decode(files->stream),
        .sink = {.ctx = &k,
                 .now = files->stream->sink.now ? arrival : NULL,
                 .append_wait = take,
                 .dead = files->stream->sink.dead ? keep_dead : NULL},
    };
    through.stream = &k.stream;
    through.piece = begin_piece;
    through.progress = files->progress ? tell_progress : NULL;
    through.ctx = &k;
    int err = source_file(&through, ret, error);
    *ret_before = k.before;
    return err;
}
