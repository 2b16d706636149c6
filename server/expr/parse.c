/* SPDX-License-Identifier: Apache-2.0
 *
 * Recursive descent, a function for each level of precedence, as lang_expr.html and parse.y of SQLite have them.
 * Where it meets what it does not know it gives up, and the whole is EXPR_OTHER.
 */
#include "expr/parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum token {
    END,
    WORD,   /* a name or a keyword */
    QUOTED, /* "a name", `so`, or [so] */
    STRING,
    WHOLE, /* digits */
    DECIMAL,
    SIGN, /* one or two characters */
};

struct parser {
    sqlite3 *db;
    const struct schema *schema;
    struct expr_tree *tree;
    const char *at; /* behind the token */
    enum token token;
    const char *begin; /* of the token */
    size_t size;
    unsigned depth;
    bool gave_up, no_memory;
};

typedef const struct expr_node *node;

static node parse_or(struct parser *p);

/* ---- Tokens ----------------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static const char *skip_space(const char *at)
{
    for (;;) {
        at += strspn(at, " \t\n\f\r");
        if (at[0] == '-' && at[1] == '-') {
            at += strcspn(at, "\n");
        } else if (at[0] == '/' && at[1] == '*') {
            const char *end = strstr(at + 2, "*/");
            at = end ? end + 2 : at + strlen(at);
        } else {
            return at;
        }
    }
}

/* Behind the closing quote; a doubled one stands for itself. */
static const char *skip_quoted(const char *at, char quote)
{
    for (at++; *at; at++) {
        if (*at != quote)
            continue;
        if (quote == ']' || at[1] != quote)
            return at + 1;
        at++;
    }
    return at;
}

static const char *skip_number(struct parser *p, const char *at)
{
    p->token = WHOLE;
    at += strspn(at, "0123456789");
    if (*at == '.') {
        p->token = DECIMAL;
        at++;
        at += strspn(at, "0123456789");
    }
    if ((*at | 0x20) == 'e' &&
        (is_digit(at[1]) || ((at[1] == '+' || at[1] == '-') && is_digit(at[2])))) {
        p->token = DECIMAL;
        at += 2;
        at += strspn(at, "0123456789");
    }
    if (is_letter(*at)) /* hexadecimal, or worse */
        p->gave_up = true;
    return at;
}

static void next(struct parser *p)
{
    static const char *const two[] = {"||", "==", "!=", "<>", "<=", ">=", "<<", ">>"};
    const char *at = p->begin = skip_space(p->at);
    if (!*at) {
        p->token = END;
    } else if (is_digit(*at) || (*at == '.' && is_digit(at[1]))) {
        at = skip_number(p, at);
    } else if (is_letter(*at)) {
        p->token = WORD;
        while (is_letter(*at) || is_digit(*at) || *at == '$')
            at++;
        if (*at == '\'') /* x'00' */
            p->gave_up = true;
    } else if (*at == '\'' || *at == '"' || *at == '`' || *at == '[') {
        p->token = *at == '\'' ? STRING : QUOTED;
        at = skip_quoted(at, *at == '[' ? ']' : *at);
    } else {
        p->token = SIGN;
        size_t size = 1;
        for (size_t i = 0; i < sizeof(two) / sizeof(two[0]); i++)
            if (strncmp(at, two[i], 2) == 0)
                size = 2;
        at += size;
    }
    p->at = at;
    p->size = (size_t)(at - p->begin);
    if (p->gave_up)
        p->token = END;
}

static bool is_word(const struct parser *p, const char *word)
{
    return p->token == WORD && strlen(word) == p->size &&
           strncasecmp(p->begin, word, p->size) == 0;
}

static bool is_sign(const struct parser *p, const char *sign)
{
    return p->token == SIGN && strlen(sign) == p->size &&
           memcmp(p->begin, sign, p->size) == 0;
}

static bool take_word(struct parser *p, const char *word)
{
    if (!is_word(p, word))
        return false;
    next(p);
    return true;
}

static bool take_sign(struct parser *p, const char *sign)
{
    if (!is_sign(p, sign))
        return false;
    next(p);
    return true;
}

/* ---- Nodes, and their types ------------------------------------------------------------------- */

static const struct expr_node nothing = {.op = EXPR_OTHER};

static node give_up(struct parser *p)
{
    p->gave_up = true;
    p->token = END;
    return &nothing;
}

static struct expr_node *add(struct parser *p, enum expr_op op, uint32_t type, node a,
                             node b)
{
    if (p->tree->n ==
        EXPR_NODES_MAX) /* the last one may be overwritten: nobody reads it */
        give_up(p);
    else
        p->tree->n++;
    struct expr_node *n = &p->tree->node[p->tree->n - 1];
    free(n->text);
    *n = (struct expr_node){.op = op, .type = type, .a = a, .b = b};
    return n;
}

static bool is_whole(uint32_t type)
{
    return type == WEIR_INT || type == WEIR_BOOL || type == WEIR_TIME;
}

static bool is_number(uint32_t type)
{
    return is_whole(type) || type == WEIR_FLOAT;
}

/* Of a value that is one of two; EXPR_NULL goes with all. */
static uint32_t common_type(node a, node b)
{
    if (a->op == EXPR_NULL || a->type == b->type)
        return b->type;
    if (b->op == EXPR_NULL)
        return a->type;
    if (is_whole(a->type) && is_whole(b->type))
        return WEIR_INT;
    return is_number(a->type) && is_number(b->type) ? WEIR_FLOAT : 0;
}

static uint32_t arithmetic_type(node a, node b)
{
    if (a->op == EXPR_NULL || b->op == EXPR_NULL || !is_number(a->type) ||
        !is_number(b->type))
        return 0;
    return is_whole(a->type) && is_whole(b->type) ? WEIR_INT : WEIR_FLOAT;
}

/* A text that SQLite alone computes. */
static node other(struct parser *p, uint32_t type)
{
    return add(p, EXPR_OTHER, type, NULL, NULL);
}

/* ---- Literals and columns --------------------------------------------------------------------- */

static char *copy_unquoted(struct parser *p, size_t *ret_size)
{
    char quote = p->begin[p->size - 1], *text = malloc(p->size + 1);
    size_t n = 0;
    if (!text) {
        p->no_memory = true;
        return NULL;
    }
    for (size_t i = 1; i + 1 < p->size; i++) {
        if (p->begin[i] == quote && quote != ']')
            i++;
        text[n++] = p->begin[i];
    }
    text[n] = 0;
    *ret_size = n;
    return text;
}

/* SQLite's own idea of a decimal number, to the last bit. */
static double read_real(struct parser *p, const char *begin, size_t size)
{
    sqlite3_stmt *s = NULL;
    double v = 0;
    char *sql = sqlite3_mprintf("SELECT %.*s", (int)size, begin);
    if (sql && sqlite3_prepare_v2(p->db, sql, -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        v = sqlite3_column_double(s, 0);
    else
        give_up(p);
    sqlite3_finalize(s);
    sqlite3_free(sql);
    return v;
}

/* `negative`: a minus stands before it. */
static node parse_number(struct parser *p, bool negative)
{
    uint64_t v = 0, limit = (uint64_t)INT64_MAX + negative;
    bool whole = p->token == WHOLE;
    for (size_t i = 0; whole && i < p->size; i++)
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(p->begin[i] - '0'), &v) || v > limit)
            whole = false;
    struct expr_node *n =
        add(p, whole ? EXPR_INT : EXPR_REAL, whole ? WEIR_INT : WEIR_FLOAT, NULL, NULL);
    if (whole)
        n->i = (int64_t)(negative ? 0 - v : v);
    else
        n->f = read_real(p, p->begin, p->size) * (negative ? -1 : 1);
    next(p);
    return n;
}

static node parse_string(struct parser *p)
{
    struct expr_node *n = add(p, EXPR_TEXT, WEIR_STRING, NULL, NULL);
    n->text = copy_unquoted(p, &n->size);
    next(p);
    return n;
}

static node parse_column(struct parser *p, const char *name, size_t size, bool quoted)
{
    const struct schema *s = p->schema;
    for (size_t c = 0; c < s->n; c++) {
        const char *other_name = s->column[c].name;
        if (strlen(other_name) != size || strncasecmp(other_name, name, size) != 0)
            continue;
        struct expr_node *n = add(p, EXPR_COLUMN, s->column[c].type, NULL, NULL);
        n->column = c;
        return n;
    }
    bool yes = size == 4 && strncasecmp(name, "true", 4) == 0;
    bool no = size == 5 && strncasecmp(name, "false", 5) == 0;
    if (quoted || (!yes && !no))
        return give_up(p);
    struct expr_node *n = add(p, EXPR_INT, WEIR_BOOL, NULL, NULL);
    n->i = yes;
    return n;
}

static node parse_quoted(struct parser *p)
{
    size_t size;
    char *name = copy_unquoted(p, &size);
    if (!name)
        return give_up(p);
    node n = parse_column(p, name, size, true);
    free(name);
    next(p);
    return n;
}

/* ---- Functions, for their types --------------------------------------------------------------- */

enum function_type {                 /* besides enum weir_type */
                     OF_FIRST = 100, /* that of the first argument */
                     OF_ALL,         /* what they have in common */
                     OF_ALL_BUT_FIRST,
};

static const struct function {
    const char *name;
    uint32_t type;
} functions[] = {
    {"abs", OF_FIRST},       {"ceil", OF_FIRST},         {"ceiling", OF_FIRST},
    {"floor", OF_FIRST},     {"trunc", OF_FIRST},        {"nullif", OF_FIRST},
    {"coalesce", OF_ALL},    {"ifnull", OF_ALL},         {"min", OF_ALL},
    {"max", OF_ALL},         {"iif", OF_ALL_BUT_FIRST},  {"likely", OF_FIRST},
    {"unlikely", OF_FIRST},  {"round", WEIR_FLOAT},      {"julianday", WEIR_FLOAT},
    {"sqrt", WEIR_FLOAT},    {"pow", WEIR_FLOAT},        {"power", WEIR_FLOAT},
    {"exp", WEIR_FLOAT},     {"ln", WEIR_FLOAT},         {"log", WEIR_FLOAT},
    {"log10", WEIR_FLOAT},   {"log2", WEIR_FLOAT},       {"sin", WEIR_FLOAT},
    {"cos", WEIR_FLOAT},     {"tan", WEIR_FLOAT},        {"asin", WEIR_FLOAT},
    {"acos", WEIR_FLOAT},    {"atan", WEIR_FLOAT},       {"atan2", WEIR_FLOAT},
    {"radians", WEIR_FLOAT}, {"degrees", WEIR_FLOAT},    {"length", WEIR_INT},
    {"instr", WEIR_INT},     {"unicode", WEIR_INT},      {"unixepoch", WEIR_INT},
    {"sign", WEIR_INT},      {"like", WEIR_BOOL},        {"glob", WEIR_BOOL},
    {"lower", WEIR_STRING},  {"upper", WEIR_STRING},     {"substr", WEIR_STRING},
    {"trim", WEIR_STRING},   {"substring", WEIR_STRING}, {"ltrim", WEIR_STRING},
    {"rtrim", WEIR_STRING},  {"replace", WEIR_STRING},   {"hex", WEIR_STRING},
    {"quote", WEIR_STRING},  {"printf", WEIR_STRING},    {"format", WEIR_STRING},
    {"typeof", WEIR_STRING}, {"char", WEIR_STRING},      {"date", WEIR_STRING},
    {"time", WEIR_STRING},   {"datetime", WEIR_STRING},  {"strftime", WEIR_STRING},
};

static bool is_name(const char *name, size_t size, const char *of)
{
    return strlen(of) == size && strncasecmp(of, name, size) == 0;
}

static uint32_t function_type(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
        if (is_name(name, size, functions[i].name))
            return functions[i].type;
    return 0;
}

/* The n-th part as a number: otherwise it may be none, which is a fault that SQLite reports. */
static node split_part_of(struct parser *p, const node *arg)
{
    if (arg[2]->op != EXPR_INT || arg[2]->i < 1)
        return other(p, WEIR_STRING);
    struct expr_node *n = add(p, EXPR_SPLIT_PART, WEIR_STRING, arg[0], arg[1]);
    n->i = arg[2]->i;
    return n;
}

/* The arguments, up to the closing parenthesis. */
static node parse_function(struct parser *p, const char *name, size_t size)
{
    uint32_t type = function_type(name, size), rule = type;
    size_t n = 0;
    node arg[3];
    struct expr_node common = {.op = EXPR_NULL};
    while (!p->gave_up && !take_sign(p, ")")) {
        if (n > 0 && !take_sign(p, ","))
            return give_up(p);
        node a = parse_or(p);
        if (n < 3)
            arg[n] = a;
        if (rule == OF_ALL || (rule == OF_FIRST && n == 0) ||
            (rule == OF_ALL_BUT_FIRST && n > 0)) {
            common.type = common_type(&common, a);
            if (a->op != EXPR_NULL)
                common.op = EXPR_OTHER;
        }
        n++;
    }
    return n == 3 && is_name(name, size, "split_part")
               ? split_part_of(p, arg)
               : other(p, rule >= OF_FIRST ? common.type : type);
}

static bool contains(const char *text, size_t size, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= size; i++)
        if (strncasecmp(text + i, word, n) == 0)
            return true;
    return false;
}

/* CAST(x AS y): behind the first parenthesis. datatype3.html, 3.1 */
static node parse_cast(struct parser *p)
{
    parse_or(p);
    if (!take_word(p, "as"))
        return give_up(p);
    const char *t = p->begin, *end = strchr(t, ')');
    while (!p->gave_up && p->token == WORD)
        next(p);
    if (!end || !take_sign(p, ")"))
        return give_up(p);
    size_t n = (size_t)(end - t);
    uint32_t type =
        contains(t, n, "int") ? WEIR_INT
        : contains(t, n, "char") || contains(t, n, "clob") || contains(t, n, "text")
            ? WEIR_STRING
        : contains(t, n, "blob") ? 0
        : contains(t, n, "real") || contains(t, n, "floa") || contains(t, n, "doub")
            ? WEIR_FLOAT
            : 0;
    return other(p, type);
}

/* ---- CASE ------------------------------------------------------------------------------------- */

/* From behind a WHEN. `base` NULL: CASE WHEN */
static node parse_when(struct parser *p, node base)
{
    node when = parse_or(p);
    if (base)
        when = add(p, EXPR_EQUAL, WEIR_BOOL, base, when);
    if (!take_word(p, "then"))
        return give_up(p);
    node then = parse_or(p), rest;
    if (++p->depth > EXPR_DEPTH_MAX)
        return give_up(p);
    if (take_word(p, "when"))
        rest = parse_when(p, base);
    else if (take_word(p, "else"))
        rest = parse_or(p);
    else
        rest = add(p, EXPR_NULL, 0, NULL, NULL);
    p->depth--;
    struct expr_node *n = add(p, EXPR_CASE, common_type(then, rest), when, then);
    n->c = rest;
    return n;
}

static node parse_case(struct parser *p)
{
    node base = is_word(p, "when") ? NULL : parse_or(p);
    if (!take_word(p, "when"))
        return give_up(p);
    node n = parse_when(p, base);
    return take_word(p, "end") ? n : give_up(p);
}

/* ---- The levels ------------------------------------------------------------------------------- */

/* Words that begin what this parser does not know, or that are no operand at all. */
static bool is_reserved(const struct parser *p)
{
    static const char *const word[] = {
        "not",          "exists",       "select",           "raise",
        "current_date", "current_time", "current_timestamp"};
    for (size_t i = 0; i < sizeof(word) / sizeof(word[0]); i++)
        if (is_word(p, word[i]))
            return true;
    return false;
}

static node parse_word(struct parser *p)
{
    const char *name = p->begin;
    size_t size = p->size;
    if (is_reserved(p))
        return give_up(p);
    bool null = is_word(p, "null"), cast = is_word(p, "cast");
    bool begins_case = is_word(p, "case");
    next(p);
    if (null)
        return add(p, EXPR_NULL, 0, NULL, NULL);
    if (begins_case)
        return parse_case(p);
    if (take_sign(p, "("))
        return cast ? parse_cast(p) : parse_function(p, name, size);
    return is_sign(p, ".") ? give_up(p) : parse_column(p, name, size, false);
}

static node parse_operand(struct parser *p)
{
    switch (p->token) {
    case WHOLE:
    case DECIMAL:
        return parse_number(p, false);
    case STRING:
        return parse_string(p);
    case QUOTED:
        return parse_quoted(p);
    case WORD:
        return parse_word(p);
    default:
        break;
    }
    if (!take_sign(p, "("))
        return give_up(p);
    node n = parse_or(p);
    return take_sign(p, ")") ? n : give_up(p); /* (1, 2) is a row */
}

static node parse_unary(struct parser *p)
{
    node n;
    if (++p->depth > EXPR_DEPTH_MAX)
        return give_up(p);
    if (take_sign(p, "+")) {
        n = parse_unary(p);
    } else if (take_sign(p, "-")) {
        if (p->token == WHOLE || p->token == DECIMAL) {
            n = parse_number(p, true);
        } else {
            node a = parse_unary(p);
            n = add(p, EXPR_NEGATE, arithmetic_type(a, a), a, NULL);
        }
    } else {
        n = parse_operand(p);
    }
    p->depth--;
    if (is_word(p, "collate"))
        return give_up(p);
    return n;
}

static node parse_concat(struct parser *p)
{
    node n = parse_unary(p);
    while (take_sign(p, "||")) {
        parse_unary(p);
        n = other(p, WEIR_STRING);
    }
    return n;
}

static node parse_product(struct parser *p)
{
    node a = parse_concat(p);
    for (;;) {
        enum expr_op op = is_sign(p, "*")   ? EXPR_MULTIPLY
                          : is_sign(p, "/") ? EXPR_DIVIDE
                          : is_sign(p, "%") ? EXPR_MODULO
                                            : EXPR_OTHER;
        if (op == EXPR_OTHER)
            return a;
        next(p);
        node b = parse_concat(p);
        a = add(p, op, arithmetic_type(a, b), a, b);
    }
}

static node parse_sum(struct parser *p)
{
    node a = parse_product(p);
    for (;;) {
        enum expr_op op = is_sign(p, "+")   ? EXPR_ADD
                          : is_sign(p, "-") ? EXPR_SUBTRACT
                                            : EXPR_OTHER;
        if (op == EXPR_OTHER)
            return a;
        next(p);
        node b = parse_product(p);
        a = add(p, op, arithmetic_type(a, b), a, b);
    }
}

static node parse_comparison(struct parser *p)
{
    node a = parse_sum(p);
    for (;;) {
        enum expr_op op = is_sign(p, "<")    ? EXPR_LESS
                          : is_sign(p, "<=") ? EXPR_LESS_EQUAL
                          : is_sign(p, ">")  ? EXPR_GREATER
                          : is_sign(p, ">=") ? EXPR_GREATER_EQUAL
                                             : EXPR_OTHER;
        if (op == EXPR_OTHER)
            return a;
        next(p);
        a = add(p, op, WEIR_BOOL, a, parse_sum(p));
    }
}

static node negated(struct parser *p, node n, bool negate)
{
    return negate ? add(p, EXPR_NOT, WEIR_BOOL, n, NULL) : n;
}

/* From behind BETWEEN. */
static node parse_between(struct parser *p, node a)
{
    node low = parse_comparison(p);
    if (!take_word(p, "and"))
        return give_up(p);
    node high = parse_comparison(p);
    return add(p, EXPR_AND, WEIR_BOOL, add(p, EXPR_GREATER_EQUAL, WEIR_BOOL, a, low),
               add(p, EXPR_LESS_EQUAL, WEIR_BOOL, a, high));
}

/* From behind IN: the same as = and OR. */
static node parse_in(struct parser *p, node a)
{
    node n = NULL;
    if (!take_sign(p, "(") || is_sign(p, ")") || is_word(p, "select"))
        return give_up(p);
    do {
        node equal = add(p, EXPR_EQUAL, WEIR_BOOL, a, parse_or(p));
        n = n ? add(p, EXPR_OR, WEIR_BOOL, n, equal) : equal;
    } while (take_sign(p, ","));
    return take_sign(p, ")") ? n : give_up(p);
}

/* From behind IS. IS TRUE asks for truth, and is left to SQLite. */
static node parse_is(struct parser *p, node a)
{
    bool negate = take_word(p, "not");
    if (is_word(p, "distinct"))
        return give_up(p);
    node b = parse_comparison(p);
    if (b->op == EXPR_INT && b->type == WEIR_BOOL)
        return other(p, WEIR_BOOL);
    if (b->op == EXPR_NULL)
        return add(p, negate ? EXPR_NOT_NULL : EXPR_IS_NULL, WEIR_BOOL, a, NULL);
    return add(p, negate ? EXPR_IS_NOT : EXPR_IS, WEIR_BOOL, a, b);
}

static bool take_like(struct parser *p)
{
    return take_word(p, "like") || take_word(p, "glob");
}

static node parse_like(struct parser *p)
{
    parse_comparison(p);
    if (take_word(p, "escape"))
        parse_comparison(p);
    return other(p, WEIR_BOOL);
}

static node parse_equality(struct parser *p)
{
    node a = parse_comparison(p);
    while (!p->gave_up) {
        if (take_sign(p, "=") || take_sign(p, "==")) {
            a = add(p, EXPR_EQUAL, WEIR_BOOL, a, parse_comparison(p));
        } else if (take_sign(p, "!=") || take_sign(p, "<>")) {
            a = add(p, EXPR_UNEQUAL, WEIR_BOOL, a, parse_comparison(p));
        } else if (take_word(p, "is")) {
            a = parse_is(p, a);
        } else if (take_word(p, "isnull")) {
            a = add(p, EXPR_IS_NULL, WEIR_BOOL, a, NULL);
        } else if (take_word(p, "notnull")) {
            a = add(p, EXPR_NOT_NULL, WEIR_BOOL, a, NULL);
        } else {
            bool negate = take_word(p, "not");
            if (negate && take_word(p, "null"))
                a = add(p, EXPR_NOT_NULL, WEIR_BOOL, a, NULL);
            else if (take_word(p, "between"))
                a = negated(p, parse_between(p, a), negate);
            else if (take_word(p, "in"))
                a = negated(p, parse_in(p, a), negate);
            else if (take_like(p))
                a = parse_like(p);
            else
                return negate ? give_up(p) : a;
        }
    }
    return a;
}

static node parse_not(struct parser *p)
{
    if (!take_word(p, "not"))
        return parse_equality(p);
    if (++p->depth > EXPR_DEPTH_MAX)
        return give_up(p);
    node a = parse_not(p);
    p->depth--;
    return add(p, EXPR_NOT, WEIR_BOOL, a, NULL);
}

static node parse_and(struct parser *p)
{
    node a = parse_not(p);
    while (take_word(p, "and"))
        a = add(p, EXPR_AND, WEIR_BOOL, a, parse_not(p));
    return a;
}

static node parse_or(struct parser *p)
{
    node a = parse_and(p);
    while (take_word(p, "or"))
        a = add(p, EXPR_OR, WEIR_BOOL, a, parse_and(p));
    return a;
}

/* ---- */

int expr_parse(sqlite3 *db, const struct schema *schema, const char *text,
               struct expr_tree *ret)
{
    struct parser p = {.db = db, .schema = schema, .tree = ret, .at = text};
    *ret = (struct expr_tree){.node = calloc(EXPR_NODES_MAX, sizeof(*ret->node))};
    if (!ret->node)
        return -ENOMEM;
    next(&p);
    ret->root = parse_or(&p);
    if (p.no_memory) {
        expr_tree_free(ret);
        return -ENOMEM;
    }
    if (p.gave_up || p.token != END)
        ret->root = &nothing;
    return 0;
}

void expr_tree_free(struct expr_tree *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->node[i].text);
    free(t->node);
    *t = (struct expr_tree){0};
}
