#include "io/json_stream.h"

enum {
    AT_START,               /* nothing but blanks yet */
    AT_FIRST,               /* after [ */
    AT_COMMA,               /* after an object of the array */
    AT_NEXT,                /* after a comma */
    IN_OBJECT,
    AT_END                  /* nothing but blanks may follow */
};

void json_stream_init(json_stream_t *s, size_t max)
{
    memset(s, 0, sizeof *s);
    buf_init(&s->object, max);
}

void json_stream_free(json_stream_t *s)
{
    buf_free(&s->object);
}

bool json_stream_done(const json_stream_t *s)
{
    return s->state == AT_END;
}

/* A byte between objects. 0 or SI_EPROTO. */
static int between(json_stream_t *s, char c)
{
    static const int after[][3] = {         /* state of [ { and of what ends or goes on; -1: not here */
        [AT_START] = { AT_FIRST, IN_OBJECT, -1 },
        [AT_FIRST] = { -1, IN_OBJECT, AT_END },
        [AT_COMMA] = { -1, -1, AT_END },
        [AT_NEXT] = { -1, IN_OBJECT, -1 },
        [AT_END] = { -1, -1, -1 },
    };
    int next = -1;

    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        return 0;
    }
    if (c == ',' && s->state == AT_COMMA) {
        next = AT_NEXT;
    } else if (c == '[' || c == '{' || c == ']') {
        next = after[s->state][c == '[' ? 0 : c == '{' ? 1 : 2];
    }
    if (next < 0) {
        return SI_EPROTO;
    }
    s->array = s->array || c == '[';
    s->state = next;
    return 0;
}

/* How many of the n bytes belong to the object; s->depth is 0 when it ends with them. */
static size_t inside(json_stream_t *s, const char *p, size_t n)
{
    size_t i = 0;

    while (i < n) {
        char c = p[i++];

        if (s->string) {
            if (s->escape) {
                s->escape = false;
            } else if (c == '\\') {
                s->escape = true;
            } else if (c == '"') {
                s->string = false;
            }
        } else if (c == '"') {
            s->string = true;
        } else if (c == '{' || c == '[') {
            s->depth++;
        } else if ((c == '}' || c == ']') && --s->depth == 0) {
            break;
        }
    }
    return i;
}

static int end_object(json_stream_t *s, int (*fn)(str_t object, void *arg), void *arg)
{
    int rc = fn((str_t) { s->object.p, s->object.n }, arg);

    buf_consume(&s->object, s->object.n);
    s->state = s->array ? AT_COMMA : AT_END;
    return rc;
}

int json_stream_feed(json_stream_t *s, const char *p, size_t n, int (*fn)(str_t object, void *arg), void *arg)
{
    size_t i = 0, took;
    int    rc = 0;

    while (i < n && rc == 0) {
        if (s->state != IN_OBJECT) {
            rc = between(s, p[i]);
            i += s->state != IN_OBJECT;
            continue;
        }
        took = inside(s, p + i, n - i);
        rc = buf_append(&s->object, p + i, took);
        i += took;
        if (rc == 0 && s->depth == 0) {
            rc = end_object(s, fn, arg);
        }
    }
    return rc;
}
