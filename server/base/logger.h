/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages for the operator: one line each on standard error, as key=value or as JSON.
 * Any thread. Base and middle layers return errors instead; the layer that gives up logs.
 */
#ifndef WEIR_BASE_LOGGER_H
#define WEIR_BASE_LOGGER_H

#include <stdbool.h>
#include <stdint.h>

enum logger_level { LOGGER_DEBUG, LOGGER_INFO, LOGGER_WARN, LOGGER_ERROR };

/* Before threads start. Messages below `least` are dropped. */
void logger_setup(enum logger_level least, bool json);
/* Of which shard all lines are to say that they are: up to 63 letters, digits, '.', '_', '-'; NULL, or another text: none. Before threads
 * start. */
void logger_shard(const char *name);
/* What it was told. */
void logger_look(enum logger_level *ret_least, bool *ret_json);

/* From now on what this thread says goes to `to`, too, as "level message\n"; NULL: no longer. */
struct buffer;
void logger_copy(struct buffer *to);

/* The newest warnings and errors are kept, for those who do not see standard error. Shows them, the newest first; messages
 * are cut at LOGGER_KEPT_SIZE bytes, be it within a character. `show` logs nothing. */
#define LOGGER_KEPT      100
#define LOGGER_KEPT_SIZE 500
struct logger_kept {
    int64_t time_us;
    const char *level;
    char part[16], message[LOGGER_KEPT_SIZE + 1];
};
void logger_each_kept(void (*show)(const struct logger_kept *kept, void *ctx),
                      void *ctx);

/* ts=2026-01-02T03:04:05.678901Z level=info part=store msg="...", with shard=3 before msg where there are shards */
void logger_write(enum logger_level level, const char *part, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define logger_debug(part, ...) logger_write(LOGGER_DEBUG, part, __VA_ARGS__)
#define logger_info(part, ...)  logger_write(LOGGER_INFO, part, __VA_ARGS__)
#define logger_warn(part, ...)  logger_write(LOGGER_WARN, part, __VA_ARGS__)
#define logger_error(part, ...) logger_write(LOGGER_ERROR, part, __VA_ARGS__)

#endif
