/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML to the tree, by the events of libyaml:
 *
 *      STREAM-START DOCUMENT-START node DOCUMENT-END STREAM-END
 *      node: SCALAR | ALIAS | SEQUENCE-START node* SEQUENCE-END
 *                           | MAPPING-START (key node)* MAPPING-END
 */
#include "base/buffer.h"
#include "config/expand.h"
#include "config/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#define ANCHORS_MAX 1000 /* they are searched one by one */

struct anchor {
    char *name;
    struct node copy; /* of what it names, ready when its end was read */
};

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; type YAML_NO_EVENT: none is held */
    const char *file;   /* behind the root */
    const char *text;
    size_t size;
    size_t n_nodes, n_bytes; /* of the tree so far, anchors' copies included */
    struct anchor *anchor;
    size_t n_anchors;
    struct error *error;
};

/* ---- Limits and memory
 * ------------------------------------------------------------------------- */

static int out_of_memory(struct reader *r)
{
    return error_set(r->error, -ENOMEM, "%s: out of memory", r->file);
}

static int too_large(struct reader *r, const struct node *at, const char *what)
{
    node_error(at, r->error, "%s", what);
    return -E2BIG;
}

/* Counts a node with `size` bytes of text. */
static int count(struct reader *r, const struct node *at, size_t size)
{
    if (++r->n_nodes > NODE_COUNT_MAX)
        return too_large(r, at, "the document has more than 100,000 nodes");
    if (size > NODE_TEXT_MAX - r->n_bytes)
        return too_large(r, at, "the document has more than 4 MiB of text");
    r->n_bytes += size;
    return 0;
}

/* An array that is full when its length is a power of two; NULL without memory. */
static void *grow(void *array, size_t n, size_t item_size)
{
    if ((n & (n - 1)) != 0)
        return array;
    return reallocarray(array, n ? 2 * n : 1, item_size);
}

/* A deep copy; on failure `to` holds what was made so far. */
static int node_copy(struct reader *r, const struct node *from, struct node *to)
{
    *to = *from;
    to->n = 0;
    to->item = to->key = NULL;
    to->text = NULL;
    int e = count(r, from, from->text ? strlen(from->text) : 0);
    if (e < 0)
        return e;
    if (from->text && !(to->text = strdup(from->text)))
        return out_of_memory(r);
    if (from->n == 0)
        return 0;
    to->item = calloc(from->n, sizeof *to->item);
    if (from->key)
        to->key = calloc(from->n, sizeof *to->key);
    if (!to->item || (from->key && !to->key))
        return out_of_memory(r);
    for (size_t i = 0; i < from->n && e == 0; i++) {
        to->n++;
        if (from->key)
            e = node_copy(r, &from->key[i], &to->key[i]);
        if (e == 0)
            e = node_copy(r, &from->item[i], &to->item[i]);
    }
    return e;
}

/* ---- Positions and messages
 * -------------------------------------------------------------------- */

static void node_place(struct reader *r, struct node *n, yaml_mark_t mark)
{
    n->file = r->file;
    n->line = (unsigned)mark.line + 1;
    n->column = (unsigned)mark.column + 1;
}

/* Line and column of a byte, for faults of the encoding, which come without a mark. */
static void place_of_byte(struct reader *r, size_t offset, struct node *ret)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < r->size; i++) {
        if (r->text[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else if (((unsigned char)r->text[i] & 0xc0) != 0x80) {
            mark.column++;
        }
    }
    node_place(r, ret, mark);
}

static bool is_tab(const struct reader *r, yaml_mark_t mark)
{
    const char *p = r->text, *end = r->text + r->size;
    for (size_t line = 0; line < mark.line && p; line++)
        p = (p = memchr(p, '\n', (size_t)(end - p))) ? p + 1 : NULL;
    return p && mark.column < (size_t)(end - p) && p[mark.column] == '\t';
}

/* What libyaml says, in one line. */
static int report(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "this is not YAML";
    struct node at = {0};
    if (p->error == YAML_MEMORY_ERROR)
        return out_of_memory(r);
    if (p->error == YAML_READER_ERROR) {
        place_of_byte(r, p->problem_offset, &at);
        return node_error(&at, r->error, "%s", problem);
    }
    node_place(r, &at, p->problem_mark);
    if (is_tab(r, p->problem_mark))
        return node_error(&at, r->error, "a tab cannot be used here, only spaces");
    if (p->context && p->context_mark.line != p->problem_mark.line)
        return node_error(&at, r->error, "%s %s that begins in line %zu", problem,
                          p->context, p->context_mark.line + 1);
    return node_error(&at, r->error, "%s%s%s", problem, p->context ? " " : "",
                      p->context ? p->context : "");
}

/* ---- Events
 * ------------------------------------------------------------------------------------
 */

static int next(struct reader *r)
{
    yaml_event_delete(&r->event);
    memset(&r->event, 0, sizeof r->event);
    return yaml_parser_parse(&r->parser, &r->event) ? 0 : report(r);
}

static int read_node(struct reader *r, struct node *n, unsigned depth);

/* The text of a scalar, with variables replaced unless it is a key. */
static int read_scalar(struct reader *r, struct node *n, bool is_key)
{
    const char *value = (const char *)r->event.data.scalar.value;
    size_t size = r->event.data.scalar.length;
    struct buffer text = {.limit = NODE_TEXT_MAX};
    struct error reason = {0};
    bool replaced = false;
    int e = 0;
    n->quoted = r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (memchr(value, 0, size))
        return node_error(n, r->error, "a zero byte cannot be used in a text");
    if (is_key)
        buffer_put(&text, value, size);
    else
        e = expand(value, size, &text, &replaced, &reason);
    if (replaced)
        n->quoted = false;
    buffer_text(&text);
    if (e == -EINVAL)
        node_error(n, r->error, "%s", reason.text);
    else if (text.error == -EFBIG)
        e = too_large(r, n, "the document has more than 4 MiB of text");
    else if (text.error)
        e = out_of_memory(r);
    else
        e = count(r, n, text.size);
    if (e < 0)
        buffer_free(&text);
    else
        n->text = text.data;
    return e;
}

static int read_list(struct reader *r, struct node *n, unsigned depth)
{
    int e = count(r, n, 0);
    while (e == 0 && (e = next(r)) == 0 && r->event.type != YAML_SEQUENCE_END_EVENT) {
        struct node *item = grow(n->item, n->n, sizeof *item);
        if (!item)
            return out_of_memory(r);
        n->item = item;
        memset(&item[n->n], 0, sizeof *item);
        e = read_node(r, &item[n->n++], depth + 1);
    }
    return e;
}

static int by_text_then_place(const void *a, const void *b)
{
    const struct node *x = *(const struct node *const *)a,
                      *y = *(const struct node *const *)b;
    int order = strcmp(x->text, y->text);
    return order ? order : (x > y) - (x < y);
}

/* Keys of a map lie in the order of the document. */
static int check_duplicates(struct reader *r, const struct node *map)
{
    const struct node *first = NULL, *again = NULL;
    if (map->n < 2)
        return 0;
    const struct node **key = calloc(map->n, sizeof(const struct node *));
    if (!key)
        return out_of_memory(r);
    for (size_t i = 0; i < map->n; i++)
        key[i] = &map->key[i];
    qsort(key, map->n, sizeof(const struct node *), by_text_then_place);
    for (size_t i = 1; i < map->n; i++) {
        if (strcmp(key[i - 1]->text, key[i]->text) == 0 && (!again || key[i] < again)) {
            first = key[i - 1];
            again = key[i];
        }
    }
    free(key);
    if (!again)
        return 0;
    return node_error(again, r->error, "the key '%s' is there twice, first in line %u",
                      again->text, first->line);
}

static int read_key(struct reader *r, struct node *key)
{
    node_place(r, key, r->event.start_mark);
    if (r->event.type != YAML_SCALAR_EVENT)
        return node_error(key, r->error, "a key must be a plain word");
    if (r->event.data.scalar.tag || r->event.data.scalar.anchor)
        return node_error(key, r->error, "a key can have no tag and no anchor");
    return read_scalar(r, key, true);
}

static int read_map(struct reader *r, struct node *n, unsigned depth)
{
    int e = count(r, n, 0);
    while (e == 0 && (e = next(r)) == 0 && r->event.type != YAML_MAPPING_END_EVENT) {
        struct node *item = grow(n->item, n->n, sizeof *item);
        if (item)
            n->item = item;
        struct node *key = grow(n->key, n->n, sizeof *key);
        if (key)
            n->key = key;
        if (!item || !key)
            return out_of_memory(r);
        memset(&item[n->n], 0, sizeof *item);
        memset(&key[n->n], 0, sizeof *key);
        n->n++;
        e = read_key(r, &key[n->n - 1]);
        if (e == 0)
            e = next(r);
        if (e == 0)
            e = read_node(r, &item[n->n - 1], depth + 1);
    }
    return e < 0 ? e : check_duplicates(r, n);
}

/* ---- Anchors
 * -----------------------------------------------------------------------------------
 */

static int read_alias(struct reader *r, struct node *n)
{
    const char *name = (const char *)r->event.data.alias.anchor;
    for (size_t i = r->n_anchors; i-- > 0;) {
        if (strcmp(r->anchor[i].name, name) == 0)
            return node_copy(r, &r->anchor[i].copy, n);
    }
    return node_error(n, r->error, "there is no anchor '&%s' before this", name);
}

/* Keeps a copy: the node itself moves when the array it lies in grows. Takes `name`. */
static int keep_anchor(struct reader *r, const struct node *n, char *name)
{
    if (r->n_anchors == ANCHORS_MAX) {
        free(name);
        return too_large(r, n, "the document has more than 1,000 anchors");
    }
    struct anchor *a = grow(r->anchor, r->n_anchors, sizeof *a);
    if (!a) {
        free(name);
        return out_of_memory(r);
    }
    r->anchor = a;
    a += r->n_anchors++;
    a->name = name;
    return node_copy(r, n, &a->copy);
}

/* ---- Nodes
 * -------------------------------------------------------------------------------------
 */

/* The anchor and the tag of the current event; the strings are the event's. */
static void event_marks(const yaml_event_t *e, const char **ret_anchor,
                        const char **ret_tag)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    *ret_anchor = (const char *)anchor;
    *ret_tag = (const char *)tag;
}

static int read_body(struct reader *r, struct node *n, unsigned depth)
{
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        n->kind = NODE_SCALAR;
        return read_scalar(r, n, false);
    case YAML_SEQUENCE_START_EVENT:
        n->kind = NODE_LIST;
        return read_list(r, n, depth);
    case YAML_MAPPING_START_EVENT:
        n->kind = NODE_MAP;
        return read_map(r, n, depth);
    default:
        return node_error(n, r->error, "a value is missing");
    }
}

/* The node that the current event begins. On failure `n` holds what was read so far. */
static int read_node(struct reader *r, struct node *n, unsigned depth)
{
    const char *anchor, *tag;
    char *name = NULL;
    node_place(r, n, r->event.start_mark);
    if (depth > NODE_DEPTH_MAX)
        return too_large(r, n,
                         "lists and mappings are nested more than 64 levels deep");
    if (r->event.type == YAML_ALIAS_EVENT)
        return read_alias(r, n);
    event_marks(&r->event, &anchor, &tag);
    if (tag)
        return node_error(
            n, r->error,
            "tags such as '%s' are not supported; what a value is follows "
            "from its key, and quotes make it a text",
            tag);
    if (anchor && !(name = strdup(anchor)))
        return out_of_memory(r);
    int e = read_body(r, n, depth);
    if (e < 0 || !name) {
        free(name);
        return e;
    }
    return keep_anchor(r, n, name);
}

static int read_document(struct reader *r, struct node *root)
{
    int e = next(r); /* stream start */
    if (e == 0)
        e = next(r);
    if (e < 0)
        return e;
    node_place(r, root, r->event.start_mark);
    if (r->event.type != YAML_DOCUMENT_START_EVENT)
        return node_error(root, r->error, "the file is empty");
    e = next(r);
    if (e == 0)
        e = read_node(r, root, 1);
    if (e == 0)
        e = next(r); /* document end */
    if (e == 0)
        e = next(r);
    if (e < 0 || r->event.type == YAML_STREAM_END_EVENT)
        return e;
    struct node second = {0};
    node_place(r, &second, r->event.start_mark);
    return node_error(&second, r->error, "only one document can be in the file");
}

static void reader_finish(struct reader *r)
{
    for (size_t i = 0; i < r->n_anchors; i++) {
        free(r->anchor[i].name);
        node_clear(&r->anchor[i].copy);
    }
    free(r->anchor);
    yaml_event_delete(&r->event);
    yaml_parser_delete(&r->parser);
}

/* The root, with the name of the file behind it. */
static struct node *root_new(const char *file)
{
    size_t size = strlen(file) + 1;
    struct node *root = calloc(1, sizeof *root + size);
    if (root)
        root->file = memcpy(root + 1, file, size);
    return root;
}

int node_parse(const char *file, const char *text, size_t size, struct node **ret,
               struct error *error)
{
    if (size > NODE_FILE_MAX)
        return error_set(error, -E2BIG, "%s: larger than 1 MiB", file);
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* byte order mark */
        text += 3;
        size -= 3;
    }
    struct node *root = root_new(file);
    if (!root)
        return error_set(error, -ENOMEM, "%s: out of memory", file);
    struct reader r = {.file = root->file, .text = text, .size = size, .error = error};
    int e;
    if (!yaml_parser_initialize(&r.parser)) {
        e = out_of_memory(&r);
    } else {
        yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
        e = read_document(&r, root);
        reader_finish(&r);
    }
    if (e < 0) {
        node_free(root);
        return e;
    }
    *ret = root;
    return 0;
}

/* ---- Files
 * -------------------------------------------------------------------------------------
 */

static int read_all(int fd, struct buffer *out)
{
    char piece[16384];
    ssize_t n;
    do {
        n = read(fd, piece, sizeof piece);
        if (n > 0)
            buffer_put(out, piece, (size_t)n);
    } while (!out->error && (n > 0 || (n < 0 && errno == EINTR)));
    return n < 0 ? -errno : out->error;
}

int node_load(const char *path, struct node **ret, struct error *error)
{
    struct buffer text = {.limit = NODE_FILE_MAX};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int e = fd < 0 ? -errno : read_all(fd, &text);
    if (fd >= 0)
        close(fd);
    if (e == 0)
        e = node_parse(path, buffer_text(&text), text.size, ret, error);
    else if (e == -EFBIG)
        e = error_set(error, -E2BIG, "%s: larger than 1 MiB", path);
    else
        error_set(error, e, "%s: %s", path, strerror(-e));
    buffer_free(&text);
    return e;
}
