/* SPDX-License-Identifier: Apache-2.0
 *
 * A program of steps, each of which fills one register, a block of values, from others.
 */
#include "expr/vector.h"

#include "expr/split.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TO_REAL = EXPR_SPLIT_PART + 1 }; /* a step of our own */

struct vector_step {
    int op;                /* enum expr_op, or TO_REAL */
    enum vector_kind kind; /* of what it makes: registers are used again for another */
    uint16_t to, a, b, c;
    size_t column;
    int64_t part;
};

#define STEPS_MAX     200
#define REGISTERS_MAX 40 /* of 21 kB; the values that wait for others, and constants */

struct vector {
    const struct schema *schema;
    size_t n_steps;
    struct vector_step step[STEPS_MAX];
    struct vector_values *reg[REGISTERS_MAX];
    bool used[REGISTERS_MAX], is_constant[REGISTERS_MAX];
    bool odd; /* of the block at hand: a row would be of another type */
    bool no_memory;
};

/* ---- From a tree to steps --------------------------------------------------------------------- */

/* A free register; -1: there is none. A constant gets one that no step has filled before: it is filled now, for
 * good. */
static int take_register(struct vector *v, enum vector_kind kind, bool constant)
{
    int r = 0;
    while (r < REGISTERS_MAX && (v->used[r] || (constant && v->reg[r])))
        r++;
    if (r == REGISTERS_MAX)
        return -1;
    if (!v->reg[r] && !(v->reg[r] = calloc(1, sizeof(*v->reg[r])))) {
        v->no_memory = true;
        return -1;
    }
    v->used[r] = true;
    v->is_constant[r] = constant;
    v->reg[r]->kind = kind;
    return r;
}

struct operand {
    int reg; /* -1: not for us */
    enum vector_kind kind;
};

static const struct operand not_ours = {.reg = -1};

static void release(struct vector *v, struct operand o)
{
    if (o.reg >= 0 && !v->is_constant[o.reg])
        v->used[o.reg] = false;
}

static struct operand emit(struct vector *v, int op, enum vector_kind kind,
                           struct operand a, struct operand b, struct operand c)
{
    struct operand to = {.reg = take_register(v, kind, false), .kind = kind};
    if (to.reg < 0 || v->n_steps == STEPS_MAX)
        return not_ours;
    v->step[v->n_steps++] =
        (struct vector_step){.op = op,
                             .kind = kind,
                             .to = (uint16_t)to.reg,
                             .a = (uint16_t)(a.reg < 0 ? 0 : a.reg),
                             .b = (uint16_t)(b.reg < 0 ? 0 : b.reg),
                             .c = (uint16_t)(c.reg < 0 ? 0 : c.reg)};
    release(v, a);
    release(v, b);
    release(v, c);
    return to;
}

static struct operand load_constant(struct vector *v, const struct expr_node *n)
{
    enum vector_kind kind = n->op == EXPR_TEXT   ? VECTOR_TEXT
                            : n->op == EXPR_REAL ? VECTOR_REAL
                                                 : VECTOR_INT;
    struct operand to = {.reg = take_register(v, kind, true), .kind = kind};
    if (to.reg < 0)
        return not_ours;
    struct vector_values *r = v->reg[to.reg];
    for (size_t k = 0; k < BATCH_BLOCK; k++) {
        if (kind == VECTOR_TEXT)
            r->text[k] = n->text, r->size[k] = (uint32_t)n->size;
        else if (kind == VECTOR_REAL)
            r->f[k] = n->f;
        else
            r->i[k] = n->i;
    }
    return to;
}

static struct operand load_column(struct vector *v, const struct expr_node *n)
{
    enum weir_type type = v->schema->column[n->column].type;
    struct operand to = emit(v, EXPR_COLUMN,
                             type == WEIR_STRING  ? VECTOR_TEXT
                             : type == WEIR_FLOAT ? VECTOR_REAL
                                                  : VECTOR_INT,
                             not_ours, not_ours, not_ours);
    if (to.reg >= 0)
        v->step[v->n_steps - 1].column = n->column;
    return to;
}

static struct operand to_real(struct vector *v, struct operand a)
{
    return a.reg < 0 || a.kind == VECTOR_REAL
               ? a
               : emit(v, TO_REAL, VECTOR_REAL, a, not_ours, not_ours);
}

static struct operand compile(struct vector *v, const struct expr_node *n, bool root);

static struct operand compile_arithmetic(struct vector *v, const struct expr_node *n)
{
    struct operand a = compile(v, n->a, false), b = compile(v, n->b, false);
    if (a.reg < 0 || b.reg < 0 || a.kind == VECTOR_TEXT || b.kind == VECTOR_TEXT)
        return not_ours;
    bool real = a.kind == VECTOR_REAL || b.kind == VECTOR_REAL;
    if (real && n->op != EXPR_MODULO) {
        a = to_real(v, a);
        b = to_real(v, b);
    }
    if (a.reg < 0 || b.reg < 0)
        return not_ours;
    return emit(v, (int)n->op, real ? VECTOR_REAL : VECTOR_INT, a, b, not_ours);
}

/* Texts with texts, numbers with numbers: between the two, affinity would have to be looked at. */
static struct operand compile_comparison(struct vector *v, const struct expr_node *n)
{
    struct operand a = compile(v, n->a, false), b = compile(v, n->b, false);
    if (a.reg < 0 || b.reg < 0 || (a.kind == VECTOR_TEXT) != (b.kind == VECTOR_TEXT))
        return not_ours;
    return emit(v, (int)n->op, VECTOR_INT, a, b, not_ours);
}

static struct operand compile_logic(struct vector *v, const struct expr_node *n)
{
    struct operand a = compile(v, n->a, false),
                   b = n->b ? compile(v, n->b, false) : not_ours;
    bool is_null = n->op == EXPR_IS_NULL || n->op == EXPR_NOT_NULL;
    if (a.reg < 0 || (n->b && b.reg < 0))
        return not_ours;
    if (!is_null && (a.kind == VECTOR_TEXT || (n->b && b.kind == VECTOR_TEXT)))
        return not_ours;
    return emit(v, (int)n->op, VECTOR_INT, a, b, not_ours);
}

/* A branch that is always null takes the kind of the other. */
static struct operand compile_branch(struct vector *v, const struct expr_node *n,
                                     const struct expr_node *other, bool root)
{
    if (n->op != EXPR_NULL || other->op == EXPR_NULL)
        return compile(v, n, root);
    struct operand o = {.reg = take_register(v, VECTOR_INT, true)};
    if (o.reg < 0)
        return not_ours;
    v->reg[o.reg]->nulls = true;
    memset(v->reg[o.reg]->null, 1, sizeof(v->reg[o.reg]->null));
    uint32_t type = other->type;
    o.kind = type == WEIR_STRING  ? VECTOR_TEXT
             : type == WEIR_FLOAT ? VECTOR_REAL
                                  : VECTOR_INT;
    for (size_t k = 0; k < BATCH_BLOCK; k++)
        if (o.kind == VECTOR_TEXT)
            v->reg[o.reg]->text[k] = "";
        else
            v->reg[o.reg]->i[k] = 0;
    return type ? o : not_ours;
}

/* Whole and real branches are made real only where nothing looks at the type any more: at the root. */
static struct operand compile_case(struct vector *v, const struct expr_node *n,
                                   bool root)
{
    struct operand when = compile(v, n->a, false);
    struct operand then = compile_branch(v, n->b, n->c, root);
    struct operand rest = compile_branch(v, n->c, n->b, root);
    if (when.reg < 0 || then.reg < 0 || rest.reg < 0 || when.kind == VECTOR_TEXT)
        return not_ours;
    if (root && then.kind != rest.kind && then.kind != VECTOR_TEXT &&
        rest.kind != VECTOR_TEXT) {
        then = to_real(v, then);
        rest = to_real(v, rest);
    }
    if (then.reg < 0 || rest.reg < 0 || then.kind != rest.kind)
        return not_ours;
    return emit(v, EXPR_CASE, then.kind, when, then, rest);
}

static struct operand compile_split(struct vector *v, const struct expr_node *n)
{
    struct operand a = compile(v, n->a, false), b = compile(v, n->b, false);
    if (a.reg < 0 || b.reg < 0 || a.kind != VECTOR_TEXT || b.kind != VECTOR_TEXT)
        return not_ours;
    struct operand to = emit(v, EXPR_SPLIT_PART, VECTOR_TEXT, a, b, not_ours);
    if (to.reg >= 0)
        v->step[v->n_steps - 1].part = n->i;
    return to;
}

static struct operand compile(struct vector *v, const struct expr_node *n, bool root)
{
    switch (n->op) {
    case EXPR_INT:
    case EXPR_REAL:
    case EXPR_TEXT:
        return load_constant(v, n);
    case EXPR_COLUMN:
        return load_column(v, n);
    case EXPR_NEGATE: {
        struct operand a = compile(v, n->a, false);
        if (a.reg < 0 || a.kind == VECTOR_TEXT)
            return not_ours;
        return emit(v, EXPR_NEGATE, a.kind, a, not_ours, not_ours);
    }
    case EXPR_ADD:
    case EXPR_SUBTRACT:
    case EXPR_MULTIPLY:
    case EXPR_DIVIDE:
    case EXPR_MODULO:
        return compile_arithmetic(v, n);
    case EXPR_EQUAL:
    case EXPR_UNEQUAL:
    case EXPR_LESS:
    case EXPR_LESS_EQUAL:
    case EXPR_GREATER:
    case EXPR_GREATER_EQUAL:
    case EXPR_IS:
    case EXPR_IS_NOT:
        return compile_comparison(v, n);
    case EXPR_IS_NULL:
    case EXPR_NOT_NULL:
    case EXPR_NOT:
    case EXPR_AND:
    case EXPR_OR:
        return compile_logic(v, n);
    case EXPR_CASE:
        return compile_case(v, n, root);
    case EXPR_SPLIT_PART:
        return compile_split(v, n);
    case EXPR_OTHER:
    case EXPR_NULL:
        break;
    }
    return not_ours;
}

int vector_new(const struct expr_tree *tree, const struct schema *schema,
               struct vector **ret)
{
    struct vector *v = calloc(1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    v->schema = schema;
    struct operand o = compile(v, tree->root, true);
    bool no_memory = v->no_memory;
    if (o.reg >= 0 && v->n_steps > 0) { /* a constant alone is not worth it */
        *ret = v;
        return 0;
    }
    vector_free(v);
    if (!no_memory)
        *ret = NULL;
    return no_memory ? -ENOMEM : 0;
}

void vector_free(struct vector *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < REGISTERS_MAX; i++)
        free(v->reg[i]);
    free(v);
}

/* ---- Steps ------------------------------------------------------------------------------------ */

/* Null where one of them is. */
static void join_nulls(struct vector_values *to, const struct vector_values *a,
                       const struct vector_values *b, uint32_t n)
{
    bool an = a->nulls, bn = b && b->nulls;
    to->nulls = an || bn;
    if (!to->nulls)
        return;
    for (uint32_t i = 0; i < n; i++)
        to->null[i] = (uint8_t)((an && a->null[i]) | (bn && b->null[i]));
}

static void set_null(struct vector_values *to, uint32_t i, uint32_t n)
{
    if (!to->nulls)
        memset(to->null, 0, n);
    to->nulls = true;
    to->null[i] = 1;
}

static bool is_null(const struct vector_values *r, uint32_t i)
{
    return r->nulls && r->null[i];
}

static void load(struct vector_values *to, const struct weir_column *c,
                 const uint32_t *row, uint32_t n)
{
    bool run = row[n - 1] - row[0] == n - 1;
    to->nulls = c->validity != NULL;
    for (uint32_t i = 0; to->nulls && i < n; i++)
        to->null[i] = (uint8_t)weir_is_null(c, row[i]);
    if (c->type == WEIR_STRING) {
        for (uint32_t i = 0; i < n; i++) {
            size_t size;
            to->text[i] = weir_string(c, row[i], &size);
            to->size[i] = (uint32_t)size;
        }
    } else if (c->type == WEIR_BOOL) {
        for (uint32_t i = 0; i < n; i++)
            to->i[i] = weir_bool(c, row[i]);
    } else if (run) {
        memcpy(to->i, (const int64_t *)c->values + row[0], n * sizeof(to->i[0]));
    } else {
        for (uint32_t i = 0; i < n; i++)
            to->i[i] = ((const int64_t *)c->values)[row[i]];
    }
}

/* SQLite, sqlite3VdbeIntValue. */
static int64_t whole_of(double v)
{
    if (v <= -0x1p63)
        return INT64_MIN;
    return v >= 0x1p63 ? INT64_MAX : (int64_t)v;
}

/* Division by zero is null. False: overflow. */
static bool divide_one(int op, int64_t a, int64_t b, int64_t *ret, bool *ret_null)
{
    *ret = 0;
    *ret_null = b == 0;
    if (b == -1)
        return op == EXPR_MODULO || !__builtin_sub_overflow(0, a, ret);
    if (b)
        *ret = op == EXPR_MODULO ? a % b : a / b;
    return true;
}

/* What overflows where a value is null does no harm either. */
static void whole_arithmetic(struct vector *v, int op, struct vector_values *to,
                             const struct vector_values *a,
                             const struct vector_values *b, uint32_t n)
{
    bool over = false;
    join_nulls(to, a, b, n);
    switch (op) {
    case EXPR_ADD:
        for (uint32_t i = 0; i < n; i++)
            over |= __builtin_add_overflow(a->i[i], b->i[i], &to->i[i]);
        break;
    case EXPR_SUBTRACT:
        for (uint32_t i = 0; i < n; i++)
            over |= __builtin_sub_overflow(a->i[i], b->i[i], &to->i[i]);
        break;
    case EXPR_MULTIPLY:
        for (uint32_t i = 0; i < n; i++)
            over |= __builtin_mul_overflow(a->i[i], b->i[i], &to->i[i]);
        break;
    default:
        for (uint32_t i = 0; i < n; i++) {
            bool null;
            over |= !divide_one(op, a->i[i], b->i[i], &to->i[i], &null);
            if (null)
                set_null(to, i, n);
        }
    }
    v->odd |= over;
}

static int64_t whole_at(const struct vector_values *r, uint32_t i)
{
    return r->kind == VECTOR_REAL ? whole_of(r->f[i]) : r->i[i];
}

/* Of whole numbers, though one is real: and so is what comes out. */
static void modulo_real(struct vector_values *to, const struct vector_values *a,
                        const struct vector_values *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        int64_t rest;
        bool null;
        divide_one(EXPR_MODULO, whole_at(a, i), whole_at(b, i), &rest, &null);
        to->f[i] = (double)rest;
        if (null)
            set_null(to, i, n);
    }
}

static void real_arithmetic(int op, struct vector_values *to,
                            const struct vector_values *a,
                            const struct vector_values *b, uint32_t n)
{
    bool nan = false;
    join_nulls(to, a, b, n);
    switch (op) {
    case EXPR_ADD:
        for (uint32_t i = 0; i < n; i++)
            to->f[i] = a->f[i] + b->f[i];
        break;
    case EXPR_SUBTRACT:
        for (uint32_t i = 0; i < n; i++)
            to->f[i] = a->f[i] - b->f[i];
        break;
    case EXPR_MULTIPLY:
        for (uint32_t i = 0; i < n; i++)
            to->f[i] = a->f[i] * b->f[i];
        break;
    case EXPR_DIVIDE: /* also by zero: null, as NaN is */
        for (uint32_t i = 0; i < n; i++)
            to->f[i] = b->f[i] == 0 ? (double)NAN : a->f[i] / b->f[i];
        break;
    default:
        modulo_real(to, a, b, n);
    }
    for (uint32_t i = 0; i < n; i++)
        nan |= to->f[i] != to->f[i];
    for (uint32_t i = 0; nan && i < n; i++) {
        if (to->f[i] != to->f[i]) {
            set_null(to, i, n);
            to->f[i] = 0;
        }
    }
}

static void negate(struct vector *v, struct vector_values *to,
                   const struct vector_values *a, uint32_t n)
{
    bool over = false;
    join_nulls(to, a, NULL, n);
    if (to->kind == VECTOR_REAL)
        for (uint32_t i = 0; i < n; i++)
            to->f[i] = 0 - a->f[i];
    else
        for (uint32_t i = 0; i < n; i++)
            over |= __builtin_sub_overflow(0, a->i[i], &to->i[i]);
    v->odd |= over;
}

/* ---- Comparisons ------------------------------------------------------------------------------ */

/* SQLite, sqlite3IntFloatCompare: exact, also where a double cannot hold the whole number. */
static int compare_mixed(int64_t i, double r)
{
    if (r < -0x1p63)
        return 1;
    if (r >= 0x1p63)
        return -1;
    int64_t y = (int64_t)r;
    if (i != y)
        return i < y ? -1 : 1;
    double s = (double)i;
    return s < r ? -1 : s > r;
}

static int compare_text(const char *a, uint32_t a_size, const char *b, uint32_t b_size)
{
    int r = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return r ? r : (a_size > b_size) - (a_size < b_size);
}

static bool holds(int op, int order)
{
    switch (op) {
    case EXPR_LESS:
        return order < 0;
    case EXPR_LESS_EQUAL:
        return order <= 0;
    case EXPR_GREATER:
        return order > 0;
    case EXPR_GREATER_EQUAL:
        return order >= 0;
    case EXPR_UNEQUAL:
    case EXPR_IS_NOT:
        return order != 0;
    default:
        return order == 0;
    }
}

/* A loop for each operator: the compiler makes vectors of them. */
#define COMPARE_ALL(op, to, x, y, n)                                                   \
    do {                                                                               \
        switch (op) {                                                                  \
        case EXPR_LESS:                                                                \
            for (uint32_t i = 0; i < (n); i++)                                         \
                (to)[i] = (x)[i] < (y)[i];                                             \
            break;                                                                     \
        case EXPR_LESS_EQUAL:                                                          \
            for (uint32_t i = 0; i < (n); i++)                                         \
                (to)[i] = (x)[i] <= (y)[i];                                            \
            break;                                                                     \
        case EXPR_GREATER:                                                             \
            for (uint32_t i = 0; i < (n); i++)                                         \
                (to)[i] = (x)[i] > (y)[i];                                             \
            break;                                                                     \
        case EXPR_GREATER_EQUAL:                                                       \
            for (uint32_t i = 0; i < (n); i++)                                         \
                (to)[i] = (x)[i] >= (y)[i];                                            \
            break;                                                                     \
        case EXPR_UNEQUAL:                                                             \
        case EXPR_IS_NOT:                                                              \
            for (uint32_t i = 0; i < (n); i++)                                         \
                (to)[i] = (x)[i] != (y)[i];                                            \
            break;                                                                     \
        default:                                                                       \
            for (uint32_t i = 0; i < (n); i++)                                         \
                (to)[i] = (x)[i] == (y)[i];                                            \
        }                                                                              \
    } while (0)

static void compare_texts(int op, struct vector_values *to,
                          const struct vector_values *a, const struct vector_values *b,
                          uint32_t n)
{
    bool order = op == EXPR_LESS || op == EXPR_LESS_EQUAL || op == EXPR_GREATER ||
                 op == EXPR_GREATER_EQUAL;
    for (uint32_t i = 0; i < n; i++) {
        int r = !order && a->size[i] != b->size[i]
                    ? 1
                    : compare_text(a->text[i], a->size[i], b->text[i], b->size[i]);
        to->i[i] = holds(op, r);
    }
}

static void compare(int op, struct vector_values *to, const struct vector_values *a,
                    const struct vector_values *b, uint32_t n)
{
    if (a->kind == VECTOR_TEXT)
        compare_texts(op, to, a, b, n);
    else if (a->kind == VECTOR_INT && b->kind == VECTOR_INT)
        COMPARE_ALL(op, to->i, a->i, b->i, n);
    else if (a->kind == VECTOR_REAL && b->kind == VECTOR_REAL)
        COMPARE_ALL(op, to->i, a->f, b->f, n);
    else if (a->kind == VECTOR_INT)
        for (uint32_t i = 0; i < n; i++)
            to->i[i] = holds(op, compare_mixed(a->i[i], b->f[i]));
    else
        for (uint32_t i = 0; i < n; i++)
            to->i[i] = holds(op, -compare_mixed(b->i[i], a->f[i]));
    if (op != EXPR_IS && op != EXPR_IS_NOT) {
        join_nulls(to, a, b, n);
        return;
    }
    to->nulls = false;
    for (uint32_t i = 0; (a->nulls || b->nulls) && i < n; i++)
        if (is_null(a, i) || is_null(b, i))
            to->i[i] = (is_null(a, i) == is_null(b, i)) == (op == EXPR_IS);
}

/* ---- Logic ------------------------------------------------------------------------------------ */

static bool is_true(const struct vector_values *r, uint32_t i)
{
    return r->kind == VECTOR_REAL ? r->f[i] != 0 : r->i[i] != 0;
}

static void test_null(int op, struct vector_values *to, const struct vector_values *a,
                      uint32_t n)
{
    to->nulls = false;
    for (uint32_t i = 0; i < n; i++)
        to->i[i] = is_null(a, i) == (op == EXPR_IS_NULL);
}

static void negate_truth(struct vector_values *to, const struct vector_values *a,
                         uint32_t n)
{
    join_nulls(to, a, NULL, n);
    for (uint32_t i = 0; i < n; i++)
        to->i[i] = !is_true(a, i);
}

/* AND, and OR as AND of what is false: it is decided by one that is `deciding`, else null if one is null. */
static void combine(int op, struct vector_values *to, const struct vector_values *a,
                    const struct vector_values *b, uint32_t n)
{
    bool deciding = op == EXPR_OR;
    bool nulls = a->nulls || b->nulls;
    if (!nulls && a->kind == VECTOR_INT && b->kind == VECTOR_INT) {
        to->nulls = false;
        if (deciding)
            for (uint32_t i = 0; i < n; i++)
                to->i[i] = (a->i[i] != 0) | (b->i[i] != 0);
        else
            for (uint32_t i = 0; i < n; i++)
                to->i[i] = (a->i[i] != 0) & (b->i[i] != 0);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        bool an = is_null(a, i), bn = is_null(b, i);
        bool decided =
            (!an && is_true(a, i) == deciding) || (!bn && is_true(b, i) == deciding);
        to->i[i] = decided ? deciding : !deciding;
        to->null[i] = !decided && (an || bn);
    }
    to->nulls = nulls;
}

static void choose(struct vector_values *to, const struct vector_values *when,
                   const struct vector_values *then, const struct vector_values *rest,
                   uint32_t n)
{
    to->nulls = then->nulls || rest->nulls;
    for (uint32_t i = 0; i < n; i++) {
        const struct vector_values *from =
            !is_null(when, i) && is_true(when, i) ? then : rest;
        to->null[i] = is_null(from, i);
        to->i[i] = from->i[i];
        to->size[i] = from->size[i];
    }
}

/* Nothing is copied: parts lie in the texts. */
static void split(struct vector_values *to, const struct vector_values *a,
                  const struct vector_values *by, int64_t part, uint32_t n)
{
    join_nulls(to, a, by, n);
    for (uint32_t i = 0; i < n; i++) {
        size_t size;
        to->text[i] =
            split_part(a->text[i], a->size[i], by->text[i], by->size[i], part, &size);
        to->size[i] = (uint32_t)size;
    }
}

/* ---- */

static void run_step(struct vector *v, const struct vector_step *s,
                     const struct batch *b, const uint32_t *row, uint32_t n)
{
    struct vector_values *to = v->reg[s->to];
    const struct vector_values *x = v->reg[s->a], *y = v->reg[s->b];
    to->kind = s->kind;
    switch (s->op) {
    case EXPR_COLUMN:
        load(to, &b->view[s->column], row, n);
        break;
    case EXPR_NEGATE:
        negate(v, to, x, n);
        break;
    case TO_REAL:
        join_nulls(to, x, NULL, n);
        for (uint32_t i = 0; i < n; i++)
            to->f[i] = (double)x->i[i];
        break;
    case EXPR_ADD:
    case EXPR_SUBTRACT:
    case EXPR_MULTIPLY:
    case EXPR_DIVIDE:
    case EXPR_MODULO:
        if (to->kind == VECTOR_REAL)
            real_arithmetic(s->op, to, x, y, n);
        else
            whole_arithmetic(v, s->op, to, x, y, n);
        break;
    case EXPR_IS_NULL:
    case EXPR_NOT_NULL:
        test_null(s->op, to, x, n);
        break;
    case EXPR_NOT:
        negate_truth(to, x, n);
        break;
    case EXPR_AND:
    case EXPR_OR:
        combine(s->op, to, x, y, n);
        break;
    case EXPR_CASE:
        choose(to, x, y, v->reg[s->c], n);
        break;
    case EXPR_SPLIT_PART:
        split(to, x, y, s->part, n);
        break;
    default:
        compare(s->op, to, x, y, n);
    }
}

const struct vector_values *vector_run(struct vector *v, const struct batch *b,
                                       const uint32_t *row, uint32_t n)
{
    v->odd = false;
    for (size_t i = 0; n && i < v->n_steps && !v->odd; i++)
        run_step(v, &v->step[i], b, row, n);
    return v->odd ? NULL : v->reg[v->step[v->n_steps - 1].to];
}
