/*
 * The recordings of Google's API for t/unit/gemini.c, framed as events and as one array, and what they hold by a plain walk.
 */
#ifndef SI_TEST_GEMINI_CORPUS_H
#define SI_TEST_GEMINI_CORPUS_H

#include "gemini_server.h"

static struct {
    uint32_t calls;
    bool     open;
    json_t  *args;                      /* of the call that goes on; NULL: they have come */
} walked;

static void frame(buf_t *wire, str_t line)
{
    (void) buf_puts(wire, "data: ");
    (void) buf_append(wire, line.p, line.n);
    (void) buf_puts(wire, "\n\n");
}

static void walk_end_call(got_t *g)
{
    char *text;

    if (walked.open && walked.args != NULL) {
        text = json_dumps(walked.args, JSON_COMPACT | JSON_REAL_PRECISION(15));
        got_add(g, CHAT_ARGS, walked.calls - 1, str_of(text), NULL, NULL);
        free(text);
    }
    json_decref(walked.args);
    walked.args = NULL;
    walked.open = false;
}

/* Puts a value where "$.a[0].b" says: strings are joined. */
static void walk_piece(const json_t *piece)
{
    char        path[200], *step, *rest = NULL, *next;
    json_t     *in = walked.args, *v = NULL;
    const char *s = json_string_value(json_object_get(piece, "stringValue"));

    snprintf(path, sizeof path, "%s", json_string_value(json_object_get(piece, "jsonPath")) + 1);
    step = strtok_r(path, ".[]", &rest);
    while ((next = strtok_r(NULL, ".[]", &rest)) != NULL) {
        json_t *child = json_is_array(in) ? json_array_get(in, (size_t) atoi(step)) : json_object_get(in, step);

        if (child == NULL) {
            child = next[0] >= '0' && next[0] <= '9' ? json_array() : json_object();
            if (json_is_array(in)) {
                json_array_append_new(in, child);
            } else {
                json_object_set_new(in, step, child);
            }
        }
        in = child;
        step = next;
    }
    if (s != NULL) {
        const char *before = json_string_value(json_is_array(in) ? json_array_get(in, (size_t) atoi(step)) : json_object_get(in, step));
        v = json_sprintf("%s%s", before != NULL ? before : "", s);
    } else {
        v = json_incref(json_object_get(piece, "numberValue"));
    }
    if (!json_is_array(in)) {
        json_object_set_new(in, step, v);
    } else if ((size_t) atoi(step) == json_array_size(in)) {
        json_array_append_new(in, v);
    } else {
        json_array_set_new(in, (size_t) atoi(step), v);
    }
}

static void walk_call(got_t *g, const json_t *call, str_t signature)
{
    const char   *name = json_string_value(json_object_get(call, "name"));
    const json_t *args = json_object_get(call, "args"), *piece;
    size_t        i;

    if (name != NULL) {
        walk_end_call(g);
        got_add(g, CHAT_CALL, walked.calls++, STR_NULL, "made", name);
        got_add(g, CHAT_SIGNATURE, 0, signature, NULL, NULL);
        walked.open = true;
        walked.args = args != NULL ? json_deep_copy(args) : json_object();
    }
    json_array_foreach(json_object_get(call, "partialArgs"), i, piece) {
        walk_piece(piece);
    }
    if (!json_is_true(json_object_get(call, "willContinue"))) {
        walk_end_call(g);
    }
}

static void walk(got_t *g, const json_t *v)
{
    const json_t *candidate = json_array_get(json_object_get(v, "candidates"), 0), *part, *usage = json_object_get(v, "usageMetadata");
    size_t        i;

    walked.calls = g->all.n == 0 ? 0 : walked.calls;
    json_array_foreach(json_object_get(json_object_get(candidate, "content"), "parts"), i, part) {
        str_t signature = json_str(part, "thoughtSignature", STR_NULL);
        bool  thought = json_is_true(json_object_get(part, "thought"));

        if (json_object_get(part, "functionCall") != NULL) {
            walk_call(g, json_object_get(part, "functionCall"), signature);
            continue;
        }
        got_add(g, thought ? CHAT_REASONING : CHAT_TEXT, 0, json_str(part, "text", STR_NULL), NULL, NULL);
        if (signature.n > 0) {
            got_add(g, thought ? CHAT_SIGNATURE : CHAT_REDACTED, 0, signature, NULL, NULL);
        }
    }
    if (str_is(json_str(candidate, "finishReason", STR_NULL), "STOP")) {
        walk_end_call(g);
        snprintf(g->result.finish, sizeof g->result.finish, "%s", walked.calls > 0 ? "tool_calls" : "stop");
        g->result.input_tokens = json_integer_value(json_object_get(usage, "promptTokenCount"));
        g->result.reasoning_tokens = json_integer_value(json_object_get(usage, "thoughtsTokenCount"));
        g->result.output_tokens = json_integer_value(json_object_get(usage, "totalTokenCount")) - g->result.input_tokens;
        snprintf(g->result.model, sizeof g->result.model, "%s", json_string_value(json_object_get(v, "modelVersion")));
        snprintf(g->result.id, sizeof g->result.id, "%s", json_string_value(json_object_get(v, "responseId")));
    }
}

/* That of other APIs stands in the same folder. */
static bool is_gemini(FILE *f, const char *name)
{
    (void) f;
    return strstr(name, "interactions__") == NULL && strstr(name, "speech-translation__") == NULL;
}

/* A whole answer, or an error, is one event. */
static void read_whole(FILE *f, const char *name, const void *arg)
{
    static char text[1 << 20];
    size_t      n = fread(text, 1, sizeof text - 1, f);
    json_t     *v = json_loadb(text, n, 0, NULL);

    (void) arg;
    if (is_gemini(f, name) && json_object_get(v, "candidates") != NULL) {
        text[n] = '\0';
        got_init(&wanted[nrecordings]);
        walk(&wanted[nrecordings], v);
        recordings[nrecordings++] = (recording_t) { si_strdup(name), si_strdup(text), n, true };
    }
    json_decref(v);
}

/* Every stream once more, as a server frames it that does not know alt=sse. */
static void add_arrays(void)
{
    size_t n = nrecordings;

    for (size_t i = 0; i < n; i++) {
        recording_t *r = &recordings[nrecordings];
        const char  *line = recordings[i].wire, *end;
        buf_t        wire;

        if (recordings[i].array) {
            continue;
        }
        buf_init(&wire, 16u << 20);
        for (; (end = strstr(line, "\n\n")) != NULL; line = end + 2) {
            (void) buf_puts(&wire, line == recordings[i].wire ? "[" : ",\r\n");
            (void) buf_append(&wire, line + 6, (size_t) (end - line) - 6);
        }
        (void) buf_puts(&wire, "\n]\n");
        got_init(&wanted[nrecordings]);
        (void) buf_append(&wanted[nrecordings].all, wanted[i].all.p, wanted[i].all.n);
        wanted[nrecordings].result = wanted[i].result;
        r->name = si_malloc(200);
        snprintf((char *) (uintptr_t) r->name, 200, "%s as an array", recordings[i].name);
        r->n = wire.n;
        r->wire = take(&wire);
        r->array = true;
        nrecordings++;
    }
}

static void read_corpus(void)
{
    static const corpus_t corpus = { frame, walk, is_gemini, "" };

    corpus_files("google", "*.chunks.txt", corpus_stream, &corpus);
    add_arrays();
    corpus_files("google", "*.json", read_whole, NULL);
}

#endif
