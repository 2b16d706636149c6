/* SPDX-License-Identifier: Apache-2.0
 *
 * drive FILE.so [PARAMETER=VALUE...]: folds rows from standard input into one state and prints the
 * result, cells separated by tabs. A row is a line: time, then the inputs, separated by tabs; "null" is
 * null. Merges the states of pieces where a line is "merge". For test_values.py.
 */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX 200000

static char *line[LINES_MAX];

static void put(struct host_table *t, uint32_t type, size_t input, size_t row,
                const char *text)
{
    int is_null = strcmp(text, "null") == 0;
    if (is_null)
        host_null(t, input, row);
    if (type == WEIR_BOOL)
        host_put_bool(t, input, row, *text == '1');
    else if (type == WEIR_INT || type == WEIR_TIME)
        ((int64_t *)t->values[input])[row] = is_null ? 0 : strtoll(text, NULL, 10);
    else if (type == WEIR_FLOAT)
        ((double *)t->values[input])[row] = is_null ? 0 : strtod(text, NULL);
    else
        host_put_text(t, input, row, text, is_null ? 0 : strlen(text));
}

static void parse(const struct host *h, struct host_table *t, size_t row, char *text)
{
    char *next = text;
    t->time[row] = strtoll(strsep(&next, "\t"), NULL, 10);
    for (size_t k = 0; k < h->n_inputs && h->types[k]; k++)
        put(t, h->types[k], k, row, next ? strsep(&next, "\t") : "null");
}

static void *fold_piece(struct host *h, size_t first, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(line[first + i]);
    struct host_table *t = host_table_new(h, n, bytes);
    t->sequence += first;
    for (size_t i = 0; i < n; i++)
        parse(h, t, i, line[first + i]);
    void *state = host_state(h);
    if (host_fold(h, t, 0, n, state)) {
        fprintf(stderr, "%s\n", h->error);
        exit(1);
    }
    host_table_free(t);
    return state;
}

static size_t read_lines(void)
{
    size_t n = 0, room = 0;
    while (n < LINES_MAX &&
           (line[n] = NULL, room = 0, getline(&line[n], &room, stdin)) >= 0) {
        line[n][strcspn(line[n], "\n")] = 0;
        n++;
    }
    free(line[n < LINES_MAX ? n : 0]);
    return n;
}

int main(int argc, char **argv)
{
    static struct host h;
    if (argc < 2)
        return 64;
    host_load(&h, argv[1]);
    for (int i = 2; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        *value++ = 0;
        host_set(&h, argv[i], value);
    }
    if (host_open(&h)) {
        fprintf(stderr, "%s\n", h.error);
        return 1;
    }
    size_t n = read_lines(), first = 0;
    void *state = NULL;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && strcmp(line[i], "merge") != 0)
            continue;
        void *piece = fold_piece(&h, first, i - first);
        if (state) {
            if (host_merge(&h, state, piece))
                return 1;
        } else {
            state = piece;
        }
        first = i + 1;
    }
    char *text = host_emit(&h, state);
    if (text)
        fputs(text, stdout);
    free(text);
    host_drop(&h, state);
    host_close(&h);
    for (size_t i = 0; i < n; i++)
        free(line[i]);
    return text ? 0 : 1;
}
