/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages for the operator. A line is built on the stack, so that "out of memory" can
 * be said, too, and goes out in one write, so that lines of several threads do not mix.
 */
#include "base/logger.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/utf8.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_SIZE    4096 /* PIPE_BUF: a write to a pipe is whole up to this size */
#define MESSAGE_MAX_SIZE 2048
#define LINE_TAIL        4 /* kept for the quote, brace and line feed at the end */

static enum logger_level logger_least = LOGGER_INFO;
static bool logger_json;
static char logger_of[64]; /* a shard; "": none */
static _Thread_local struct buffer *logger_to;

static const char *const level_name[] = {"debug", "info", "warn", "error"};

/* The newest warnings and errors: message i is at i % LOGGER_KEPT. */
static struct {
    pthread_mutex_t lock; /* all of it */
    uint64_t n;
    struct logger_kept message[LOGGER_KEPT];
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct line {
    char text[LINE_MAX_SIZE];
    size_t size;
};

/* Whole or not at all: nothing is cut within an escape or a character. */
static void line_put(struct line *l, const char *bytes, size_t size)
{
    if (size > sizeof l->text - LINE_TAIL - l->size)
        return;
    memcpy(l->text + l->size, bytes, size);
    l->size += size;
}

static void line_puts(struct line *l, const char *text)
{
    line_put(l, text, strlen(text));
}

/* The escapes of JSON, in both forms: whoever reads one can read the other. */
static void line_put_escaped(struct line *l, const char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        unsigned char c = (unsigned char)text[i];
        size_t length = utf8_length(text + i, size - i);
        char escape[8];
        if (length == 0) {
            line_puts(l, "\xef\xbf\xbd");
            i++;
            continue;
        }
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            line_put(l, text + i, length);
        } else {
            int n = c == '\n' ? snprintf(escape, sizeof escape, "\\n")
                    : c == '"' || c == '\\'
                        ? snprintf(escape, sizeof escape, "\\%c", c)
                        : snprintf(escape, sizeof escape, "\\u%04x", c);
            line_put(l, escape, (size_t)n);
        }
        i += length;
    }
}

static void line_write(struct line *l)
{
    const char *p = l->text;
    while (l->size > 0) {
        ssize_t n = write(STDERR_FILENO, p, l->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody is left to tell */
        p += n;
        l->size -= (size_t)n;
    }
}

void logger_setup(enum logger_level least, bool json)
{
    logger_least = least;
    logger_json = json;
}

void logger_shard(const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789._-";
    const size_t size = name ? strspn(name, plain) : 0;
    const bool fits = size > 0 && !name[size] && size < sizeof logger_of;
    snprintf(logger_of, sizeof logger_of, "%s", fits ? name : "");
}

void logger_look(enum logger_level *ret_least, bool *ret_json)
{
    *ret_least = logger_least;
    *ret_json = logger_json;
}

void logger_copy(struct buffer *to)
{
    logger_to = to;
}

static void copy_message(enum logger_level level, const char *message)
{
    buffer_printf(logger_to, "%s ", level_name[level]);
    for (const char *c = message; *c; c++)
        buffer_putc(logger_to, *c == '\n' ? ' ' : *c);
    buffer_putc(logger_to, '\n');
}

static void keep(int64_t time_us, enum logger_level level, const char *part,
                 const char *message)
{
    pthread_mutex_lock(&kept.lock);
    struct logger_kept *k = &kept.message[kept.n++ % LOGGER_KEPT];
    k->time_us = time_us;
    k->level = level_name[level];
    snprintf(k->part, sizeof k->part, "%s", part);
    snprintf(k->message, sizeof k->message, "%s", message);
    pthread_mutex_unlock(&kept.lock);
}

void logger_each_kept(void (*show)(const struct logger_kept *kept, void *ctx),
                      void *ctx)
{
    pthread_mutex_lock(&kept.lock);
    for (uint64_t i = kept.n; i > 0 && kept.n - i < LOGGER_KEPT; i--)
        show(&kept.message[(i - 1) % LOGGER_KEPT], ctx);
    pthread_mutex_unlock(&kept.lock);
}

void logger_write(enum logger_level level, const char *part, const char *format, ...)
{
    if (level < logger_least)
        return;
    int saved_errno = errno;
    char time[CLOCK_TEXT_MAX], message[MESSAGE_MAX_SIZE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (n < 0)
        message[0] = 0;
    int64_t now_us = clock_now_us();
    clock_format(now_us, time);
    if (level >= LOGGER_WARN)
        keep(now_us, level, part, message);

    struct line l = {.size = 0};
    line_puts(&l, logger_json ? "{\"ts\":\"" : "ts=");
    line_puts(&l, time);
    line_puts(&l, logger_json ? "\",\"level\":\"" : " level=");
    line_puts(&l, level_name[level]);
    line_puts(&l, logger_json ? "\",\"part\":\"" : " part=");
    line_puts(&l, part);
    if (logger_of[0]) {
        line_puts(&l, logger_json ? "\",\"shard\":\"" : " shard=");
        line_puts(&l, logger_of);
    }
    line_puts(&l, logger_json ? "\",\"msg\":\"" : " msg=\"");
    line_put_escaped(&l, message, strlen(message));
    l.text[l.size++] = '"';
    if (logger_json)
        l.text[l.size++] = '}';
    l.text[l.size++] = '\n';
    line_write(&l);
    if (logger_to)
        copy_message(level, message);
    errno = saved_errno;
}
