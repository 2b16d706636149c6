/* SPDX-License-Identifier: Apache-2.0
 *
 * Where everything stands in a header of plugins, as a table: made once of the header as it was frozen (tests/abi/1), once as it is.
 * Whoever includes it has included one of the two. Members that came later are not listed: old plugins do not know them.
 */
#ifndef ABI_LAYOUT_H
#define ABI_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

struct abi_place {
    const char *name;
    size_t offset, size;
};

/* offset SIZE_MAX: a whole struct; SIZE_MAX - 1: a constant, with its value as size. */
extern const struct abi_place abi_then[], abi_now[];

#define M(s, m)  {#s "." #m, offsetof(struct s, m), sizeof(((struct s *)0)->m)},
#define S(s)     {#s, SIZE_MAX, sizeof(struct s)},
#define C(value) {#value, SIZE_MAX - 1, (size_t)(value)},

/* clang-format off */
#define ABI_PLACES                                                                     \
    S(weir_column) M(weir_column, type) M(weir_column, flags)                          \
    M(weir_column, validity) M(weir_column, values) M(weir_column, offsets)            \
    M(weir_column, bytes) M(weir_column, null_count) M(weir_column, dictionary_size)   \
    S(weir_rows) M(weir_rows, size) M(weir_rows, n) M(weir_rows, row)                  \
    M(weir_rows, group) M(weir_rows, states) M(weir_rows, stride) M(weir_rows, time)   \
    M(weir_rows, in) M(weir_rows, sequence)                                            \
    S(weir_cell) M(weir_cell, type) M(weir_cell, size) M(weir_cell, as)                \
    S(weir_window) M(weir_window, size) M(weir_window, start) M(weir_window, end)      \
    M(weir_window, flags) M(weir_window, n_keys) M(weir_window, key)                   \
    S(weir_ctx) M(weir_ctx, host) M(weir_ctx, config) M(weir_ctx, user)                \
    M(weir_ctx, types) M(weir_ctx, n_inputs) M(weir_ctx, size)                         \
    S(weir_host) M(weir_host, size) M(weir_host, fail) M(weir_host, log)               \
    M(weir_host, alloc) M(weir_host, free) M(weir_host, skip) M(weir_host, outputs)    \
    M(weir_host, group) M(weir_host, put_int) M(weir_host, put_float)                  \
    M(weir_host, put_string) M(weir_host, row) M(weir_host, write)                     \
    M(weir_host, leave_out) M(weir_host, form)                                         \
    S(weir_columns) M(weir_columns, first) M(weir_columns, n) M(weir_columns, name)    \
    S(weir_numbers) M(weir_numbers, n) M(weir_numbers, value)                          \
    S(weir_param) M(weir_param, name) M(weir_param, type) M(weir_param, flags)         \
    M(weir_param, offset) M(weir_param, init) M(weir_param, help)                      \
    M(weir_param, choices) M(weir_param, min) M(weir_param, max)                       \
    M(weir_param, column_types)                                                        \
    S(weir_output) M(weir_output, name) M(weir_output, type) M(weir_output, help)      \
    M(weir_output, set_word)                                                           \
    S(weir_analyzer) M(weir_analyzer, name) M(weir_analyzer, version)                  \
    M(weir_analyzer, help) M(weir_analyzer, flags) M(weir_analyzer, threads)           \
    M(weir_analyzer, params) M(weir_analyzer, outputs) M(weir_analyzer, reasons)       \
    M(weir_analyzer, config_size) M(weir_analyzer, state_size)                         \
    M(weir_analyzer, state_version) M(weir_analyzer, oldest_version)                   \
    M(weir_analyzer, open) M(weir_analyzer, close) M(weir_analyzer, init)              \
    M(weir_analyzer, drop) M(weir_analyzer, update) M(weir_analyzer, retract)          \
    M(weir_analyzer, merge) M(weir_analyzer, emit) M(weir_analyzer, whole)             \
    M(weir_analyzer, save) M(weir_analyzer, load)                                      \
    S(weir_entry) M(weir_entry, size) M(weir_entry, analyzer_size)                     \
    M(weir_entry, param_size) M(weir_entry, output_size) M(weir_entry, ctx_size)       \
    M(weir_entry, host_size) M(weir_entry, rows_size) M(weir_entry, window_size)       \
    M(weir_entry, analyzer)                                                            \
    C(WEIR_ABI) C(WEIR_INT) C(WEIR_FLOAT) C(WEIR_BOOL) C(WEIR_STRING) C(WEIR_TIME)     \
    C(WEIR_DECIMAL) C(WEIR_BYTES) C(WEIR_LIST) C(WEIR_STRUCT) C(WEIR_EARLY)            \
    C(WEIR_FINAL) C(WEIR_REVISED) C(WEIR_DEBUG) C(WEIR_INFO) C(WEIR_WARN)              \
    C(WEIR_ERROR) C(WEIR_PARAM_INT) C(WEIR_PARAM_FLOAT) C(WEIR_PARAM_BOOL)             \
    C(WEIR_PARAM_STRING) C(WEIR_PARAM_CHOICE) C(WEIR_PARAM_SET) C(WEIR_PARAM_COLUMN)   \
    C(WEIR_PARAM_COLUMNS) C(WEIR_PARAM_NUMBERS) C(WEIR_REQUIRED) C(WEIR_DICTIONARY)    \
    C(WEIR_ALL) C(WEIR_FILE) C(WEIR_TYPES(WEIR_TIME)) C(WEIR_NUMBERS)                  \
    C(WEIR_SAME_AS(0)) C(WEIR_SAME_AS(7)) C(WEIR_THREADS_ONE) C(WEIR_THREADS_CTX)      \
    C(WEIR_MANY_ROWS) C(WEIR_WHOLE)                                                    \
    {NULL, 0, 0}
/* clang-format on */

#endif
