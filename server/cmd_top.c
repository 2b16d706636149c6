/* SPDX-License-Identifier: Apache-2.0
 *
 * weir top: a running server as tables, on a terminal again and again, or once. No curses: it writes whole screens of
 * lines and reads single keys, which five escape sequences do that all terminals have had for decades.
 */
#include "base/clock.h"
#include "client.h"
#include "cmd.h"
#include "config/config.h"
#include "top.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define INTERVAL_US    (2 * SECOND_US)
#define INTERVAL_LEAST 0.1 /* seconds */
#define INTERVAL_MOST  3600.
#define POLL_US        (SECOND_US / 2) /* a signal just before a wait is seen so late */
#define TOKEN_MAX      512
#define FIXED_LINES    3 /* two of the server, one of keys */

#define SCREEN_BEGIN "\033[?1049h\033[?25l" /* the other screen, no cursor */
#define SCREEN_END   "\033[?25h\033[?1049l"

static const char help[] =
    "Usage: weir top [-c FILE | -u URL] [--once] [OPTIONS]\n\n"
    "Shows what a running server does: its streams, pipelines and analyzers, with "
    "rates, lag, CPU and\n"
    "errors. It is found by its configuration, or by URL: http://HOST:PORT, "
    "https://HOST:PORT or unix:PATH.\n\n"
    "  -c, --config FILE      the configuration, weir.yaml(5)\n"
    "  -u, --url URL          where the server is, instead\n"
    "  -t, --token-file FILE  a file with a token on its first line; otherwise "
    "$WEIR_TOKEN, if it is set\n"
    "      --ca FILE          certificates that the server's is checked against\n"
    "      --cert FILE, --key FILE\n"
    "                         of the client\n"
    "  -i, --interval SECONDS between two looks; default 2, with --once 1\n"
    "  -s, --sort COLUMN      name (default), events, rows, lag, cpu, memory, queued\n"
    "      --once             look twice and print the tables, with plain numbers\n"
    "  -h, --help             this text\n\n"
    "Keys: n e r l c m w sort by name, events, rows, lag, cpu, memory, what waits; i "
    "turns the order;\n"
    "a analyzers; arrows, j and k scroll; space looks at once; q ends.\n\n"
    "Exit status: 0 ok, 1 the server refuses, 64 usage, 69 it does not answer, 78 bad "
    "configuration.\n";

static const struct {
    char key;
    const char *name;
    int sort;
} sorts[] = {{'n', "name", -1},          {'e', "events", TOP_EVENTS},
             {'r', "rows", TOP_ROWS},    {'l', "lag", TOP_LAG},
             {'c', "cpu", TOP_CPU},      {'m', "memory", TOP_BYTES},
             {'w', "queued", TOP_QUEUED}};
#define N_SORTS (sizeof(sorts) / sizeof(sorts[0]))

struct arguments {
    struct client_options client;
    const char *config, *token_file;
    char token[TOKEN_MAX];
    int64_t interval_us;
    bool once;
    int sort;
};

struct screen {
    struct client *client;
    struct top_form form;
    struct top_look now, before;
    struct error error; /* of the last look; "" */
    int64_t interval_us;
    bool colors;
    unsigned height;
    unsigned top;  /* the first line that is shown below the fixed ones */
    unsigned line; /* at which the drawing is */
    struct buffer out;
    struct termios saved;
};

static volatile sig_atomic_t winch, tstp;

static void on_winch(int number)
{
    (void)number;
    winch = 1;
}

static void on_tstp(int number)
{
    (void)number;
    tstp = 1;
}

static int exit_of(int err)
{
    return err == -ECONNREFUSED ? EXIT_UNAVAILABLE
           : err == -EINVAL     ? EXIT_USAGE
                                : EXIT_FAILURE;
}

/* ---- Drawing ---- */

static void draw_line(void *screen, enum top_style style, const char *text)
{
    static const char *const sgr[] = {"", "\033[7m", "\033[31m", "\033[33m"};
    struct screen *s = screen;
    unsigned n = s->line++;
    if (n >= 2 && (n < 2 + s->top || n - s->top >= s->height - 1))
        return; /* scrolled away, or below the end */
    const char *style_begin = s->colors || style == TOP_TITLE ? sgr[style] : "";
    buffer_printf(&s->out, "%s%s%s\033[K\n", style_begin, text,
                  *style_begin ? "\033[0m" : "");
}

static void draw_keys(struct screen *s)
{
    char text[512];
    const char *by = "";
    for (size_t i = 0; i < N_SORTS; i++)
        if (sorts[i].sort == s->form.sort)
            by = sorts[i].name;
    if (s->error.text[0])
        snprintf(text, sizeof(text), "%s", s->error.text);
    else
        snprintf(text, sizeof(text),
                 "q quit  sort n e r l c m w: %s%s  i turn  a analyzers  j k scroll",
                 by, s->form.last_first ? ", turned" : "");
    for (char *c = text; *c; c++) /* the error may quote a server */
        *c = *c < 0x20 || *c == 0x7f ? '?' : *c;
    buffer_printf(&s->out, "%.*s\033[K\033[J", (int)s->form.width, text);
}

static int write_all(struct buffer *b)
{
    for (size_t at = 0; !b->error && at < b->size;) {
        ssize_t n = write(STDOUT_FILENO, b->data + at, b->size - at);
        if (n < 0 && errno != EINTR)
            return -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return b->error;
}

static void measure(struct screen *s)
{
    struct winsize size = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    s->form.width = size.ws_col ? size.ws_col : 80;
    s->height = size.ws_row > FIXED_LINES + 1 ? size.ws_row : FIXED_LINES + 1;
}

static int draw(struct screen *s)
{
    measure(s);
    for (int again = 0; again < 2; again++) {
        buffer_clear(&s->out);
        buffer_puts(&s->out, "\033[H");
        s->line = 0;
        top_lines(&s->now, &s->form, client_where(s->client), draw_line, s);
        unsigned shown = s->height - 1;
        unsigned most = s->line > shown ? s->line - shown : 0;
        if (s->top <= most)
            break;
        s->top = most; /* scrolled beyond the end */
    }
    draw_keys(s);
    return write_all(&s->out);
}

/* ---- The terminal ---- */

static void enter(struct screen *s)
{
    struct termios raw = s->saved;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* signals stay keys' */
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    buffer_clear(&s->out);
    buffer_puts(&s->out, SCREEN_BEGIN);
    write_all(&s->out);
}

static void leave(struct screen *s)
{
    buffer_clear(&s->out);
    buffer_puts(&s->out, SCREEN_END);
    write_all(&s->out);
    tcsetattr(STDIN_FILENO, TCSANOW, &s->saved);
}

static void stop_and_go_on(struct screen *s)
{
    tstp = 0;
    leave(s);
    raise(SIGSTOP);
    enter(s);
}

/* False: it is to end. */
static bool take_key(struct screen *s, char key, bool *ret_look)
{
    for (size_t i = 0; i < N_SORTS; i++)
        if (sorts[i].key == key)
            s->form.sort = sorts[i].sort;
    if (key == 'i')
        s->form.last_first = !s->form.last_first;
    else if (key == 'a')
        s->form.analyzers = !s->form.analyzers;
    else if (key == 'j')
        s->top++;
    else if (key == 'k' && s->top)
        s->top--;
    else if (key == ' ')
        *ret_look = true;
    return key != 'q' && key != 4; /* ^D */
}

/* Those that are there; an arrow is ESC [ A, or ESC O A. */
static bool take_keys(struct screen *s, bool *ret_look)
{
    char keys[64];
    ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        return false;
    for (ssize_t i = 0; i < n; i++) {
        char key = keys[i];
        if (key == 27 && i + 2 < n && (keys[i + 1] == '[' || keys[i + 1] == 'O')) {
            key = keys[i + 2] == 'A' ? 'k' : keys[i + 2] == 'B' ? 'j' : 0;
            i += 2;
        }
        if (!take_key(s, key, ret_look))
            return false;
    }
    return true;
}

static void look(struct screen *s)
{
    struct top_look next;
    s->error.text[0] = 0;
    if (top_look(s->client, &next, &s->error))
        return; /* what was seen last stays, with the error */
    top_free(&s->before);
    s->before = s->now;
    s->now = next;
    top_rates(&s->now, &s->before);
}

static int watch_loop(struct screen *s)
{
    int64_t next_us = s->now.at_us + s->interval_us;
    int err = draw(s);
    while (!err && !cmd_stop) {
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        int64_t left_us = next_us - clock_monotonic_us();
        bool look_now = left_us <= 0;
        int n = look_now
                    ? 0
                    : poll(&in, 1,
                           (int)((left_us < POLL_US ? left_us : POLL_US) / 1000) + 1);
        if (n > 0 && !take_keys(s, &look_now))
            return 0;
        if (tstp)
            stop_and_go_on(s);
        if (look_now && !cmd_stop) {
            look(s);
            next_us = clock_monotonic_us() + s->interval_us;
        }
        if (n != 0 || look_now || winch)
            err = draw(s);
        winch = 0;
    }
    return err;
}

static int watch(struct screen *s)
{
    const struct sigaction resized = {.sa_handler = on_winch};
    const struct sigaction stopped = {.sa_handler = on_tstp};
    if (tcgetattr(STDIN_FILENO, &s->saved) < 0) {
        fputs("weir top: standard input is no terminal: --once prints the tables\n",
              stderr);
        return EXIT_USAGE;
    }
    sigaction(SIGWINCH, &resized, NULL);
    sigaction(SIGTSTP, &stopped, NULL);
    const char *no_color = getenv("NO_COLOR");
    s->colors = !no_color || !*no_color;
    enter(s);
    int err = watch_loop(s);
    leave(s);
    return err ? EXIT_IO : EXIT_SUCCESS;
}

/* ---- Once ---- */

static void print_line(void *ctx, enum top_style style, const char *text)
{
    (void)ctx, (void)style;
    puts(text);
}

static int print_once(struct screen *s)
{
    poll(NULL, 0, (int)(s->interval_us / 1000)); /* a signal ends it */
    if (cmd_stop)
        return EXIT_FAILURE;
    look(s);
    if (s->error.text[0]) {
        fprintf(stderr, "weir top: %s\n", s->error.text);
        return EXIT_UNAVAILABLE;
    }
    s->form.analyzers = true;
    top_lines(&s->now, &s->form, client_where(s->client), print_line, NULL);
    return EXIT_SUCCESS;
}

/* ---- */

static int run(const struct arguments *a)
{
    struct screen s = {.form.sort = a->sort, .interval_us = a->interval_us};
    struct error error = {""};
    cmd_stop_on_signals(0);
    int err = client_new(&a->client, &s.client, &error);
    if (!err)
        err = top_look(s.client, &s.now, &error);
    int status = exit_of(err);
    if (err)
        fprintf(stderr, "weir top: %s\n", error.text);
    else
        status = a->once ? print_once(&s) : watch(&s);
    top_free(&s.now);
    top_free(&s.before);
    buffer_free(&s.out);
    client_free(s.client);
    return status;
}

/* In a->token; an empty one is none. */
static int read_token(struct arguments *a)
{
    const char *given = getenv("WEIR_TOKEN");
    snprintf(a->token, sizeof(a->token), "%s", given ? given : "");
    if (a->token_file) {
        FILE *file = fopen(a->token_file, "re");
        if (!file || !fgets(a->token, sizeof(a->token), file)) {
            fprintf(stderr, "weir top: no token can be read from '%s': %s\n",
                    a->token_file,
                    file && !ferror(file) ? "it is empty" : strerror(errno));
            if (file)
                fclose(file);
            return EXIT_FAILURE;
        }
        fclose(file);
    }
    a->token[strcspn(a->token, "\r\n")] = 0;
    a->client.token = a->token[0] ? a->token : NULL;
    return 0;
}

static int run_on_config(struct arguments *a)
{
    struct config *config = NULL;
    struct error error = {""};
    if (!a->client.url && config_load(a->config, &config, &error)) {
        fprintf(stderr, "weir: %s\n", error.text);
        return EXIT_CONFIG;
    }
    a->client.server = config ? &config->server : NULL;
    int status = run(a);
    config_free(config);
    return status;
}

static bool parse_interval(const char *text, int64_t *ret_us)
{
    char *end;
    double s = strtod(text, &end);
    if (end == text || *end || !(s >= INTERVAL_LEAST && s <= INTERVAL_MOST))
        return false;
    *ret_us = (int64_t)(s * 1e6);
    return true;
}

static bool parse_sort(const char *text, int *ret)
{
    for (size_t i = 0; i < N_SORTS; i++) {
        if (strcmp(sorts[i].name, text) != 0)
            continue;
        *ret = sorts[i].sort;
        return true;
    }
    return false;
}

int cmd_top(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"url", required_argument, NULL, 'u'},
        {"token-file", required_argument, NULL, 't'},
        {"ca", required_argument, NULL, 'A'},
        {"cert", required_argument, NULL, 'C'},
        {"key", required_argument, NULL, 'K'},
        {"interval", required_argument, NULL, 'i'},
        {"sort", required_argument, NULL, 's'},
        {"once", no_argument, NULL, 'o'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    struct arguments a = {.sort = -1, .client.stop = &cmd_stop};
    for (int o; (o = getopt_long(argc, argv, "c:u:t:i:s:h", options, NULL)) != -1;) {
        if (o == 'c')
            a.config = optarg;
        else if (o == 'u')
            a.client.url = optarg;
        else if (o == 't')
            a.token_file = optarg;
        else if (o == 'A')
            a.client.ca = optarg;
        else if (o == 'C')
            a.client.certificate = optarg;
        else if (o == 'K')
            a.client.key = optarg;
        else if (o == 'o')
            a.once = true;
        else if (o == 'h')
            return fputs(help, stdout) < 0;
        else if (o == 'i' && !parse_interval(optarg, &a.interval_us))
            return cmd_usage("top", "'%s' is no interval: 0.1 to 3600 seconds", optarg);
        else if (o == 's' && !parse_sort(optarg, &a.sort))
            return cmd_usage("top", "'%s' is nothing to sort by", optarg);
        else if (o == '?')
            return EXIT_USAGE;
    }
    if (optind < argc)
        return cmd_usage("top", "one argument too many");
    if (a.config && a.client.url)
        return cmd_usage("top", "--config and --url exclude each other");
    if (!a.client.url && !a.config && !(a.config = cmd_default_config()))
        return cmd_usage("top", CMD_NO_CONFIG ", nor --url");
    if (!a.interval_us)
        a.interval_us = a.once ? SECOND_US : INTERVAL_US;
    int status = read_token(&a);
    return status ? status : run_on_config(&a);
}
