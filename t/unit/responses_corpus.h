/*
 * The recordings of the Responses API for t/unit/responses.c, framed as their README says, and what they hold by a plain
 * walk: the text by its deltas (two recordings leave some out), reasoning and calls by the finished items.
 */
#ifndef SI_TEST_RESPONSES_CORPUS_H
#define SI_TEST_RESPONSES_CORPUS_H

#include "responses_server.h"

#define WHOLES  100

static struct { char *name, *body; got_t want; } wholes[WHOLES];
static size_t   nwholes;
static uint32_t walked_calls;           /* of the recording that is being walked */

static void frame(buf_t *wire, str_t line)
{
    const char *end = memchr(line.p + 9, '"', line.n - 9);

    (void) buf_printf(wire, "event: ");
    if (strncmp(line.p, "{\"type\":\"", 9) == 0 && end != NULL) {
        (void) buf_append(wire, line.p + 9, (size_t) (end - line.p) - 9);
    }
    (void) buf_puts(wire, "\ndata: ");
    (void) buf_append(wire, line.p, line.n);
    (void) buf_puts(wire, "\n\n");
}

static void walk_reasoning(got_t *g, const json_t *item)
{
    const json_t *summary = json_object_get(item, "summary"), *part;
    str_t         sealed = json_str(item, "encrypted_content", STR_NULL);
    size_t        i;

    json_array_foreach(summary, i, part) {
        got_add(g, CHAT_REASONING, 0, i > 0 ? STR("\n\n") : STR_NULL, NULL, NULL);
        got_add(g, CHAT_REASONING, 0, json_str(part, "text", STR_NULL), NULL, NULL);
    }
    if (sealed.n > 0) {
        got_add(g, json_array_size(summary) > 0 ? CHAT_SIGNATURE : CHAT_REDACTED, 0, sealed, NULL, NULL);
    }
}

static void walk_item(got_t *g, const json_t *item)
{
    const char   *type = json_string_value(json_object_get(item, "type"));
    const json_t *part;
    size_t        i;

    if (strcmp(type, "message") == 0) {
        json_array_foreach(json_object_get(item, "content"), i, part) {
            got_add(g, CHAT_TEXT, 0, json_str(part, "text", STR_NULL), NULL, NULL);
        }
    } else if (strcmp(type, "reasoning") == 0) {
        walk_reasoning(g, item);
    } else if (strcmp(type, "function_call") == 0) {
        got_add(g, CHAT_CALL, walked_calls, STR_NULL, json_string_value(json_object_get(item, "call_id")),
                json_string_value(json_object_get(item, "name")));
        got_add(g, CHAT_ARGS, walked_calls++, json_str(item, "arguments", STR_NULL), NULL, NULL);
    }
}

/* The first name of a stream counts, and its last usage. */
static void walk_end(got_t *g, const json_t *response)
{
    const json_t *usage = json_object_get(response, "usage");
    llm_result_t *r = &g->result;

    if (json_is_object(usage)) {
        snprintf(r->finish, sizeof r->finish, "%s", walked_calls > 0 ? "tool_calls" : "stop");
        r->input_tokens = json_integer_value(json_object_get(usage, "input_tokens"));
        r->output_tokens = json_integer_value(json_object_get(usage, "output_tokens"));
        r->cached_tokens = json_integer_value(json_object_get(json_object_get(usage, "input_tokens_details"), "cached_tokens"));
        r->reasoning_tokens = json_integer_value(json_object_get(json_object_get(usage, "output_tokens_details"), "reasoning_tokens"));
    }
    if (r->model[0] == '\0') {
        snprintf(r->model, sizeof r->model, "%s", json_string_value(json_object_get(response, "model")));
        snprintf(r->id, sizeof r->id, "%s", json_string_value(json_object_get(response, "id")));
    }
}

static void walk(got_t *g, const json_t *v)
{
    const json_t *response = json_object_get(v, "response"), *item = json_object_get(v, "item");
    const char   *type = json_string_value(json_object_get(v, "type"));

    walked_calls = g->all.n == 0 && g->result.model[0] == '\0' ? 0 : walked_calls;
    if (strcmp(type, "response.output_text.delta") == 0) {
        got_add(g, CHAT_TEXT, 0, json_str(v, "delta", STR_NULL), NULL, NULL);
    } else if (strcmp(type, "response.output_item.done") == 0 && !str_is(json_str(item, "type", STR_NULL), "message")) {
        walk_item(g, item);
    }
    if (response != NULL) {
        walk_end(g, response);
    }
}

/* Those whose lines are events of this API; the two odd ones have tests of their own. */
static bool is_responses(FILE *f, const char *name)
{
    char start[600] = "";

    start[fread(start, 1, sizeof start - 1, f)] = '\0';
    rewind(f);
    return strstr(start, "\"type\":\"response.") != NULL && strstr(name, "parallel-tool-call-wrapper") == NULL && strstr(name, "openai-error") == NULL;
}

static void read_whole(FILE *f, const char *name, const void *arg)
{
    static char text[1 << 20];
    size_t      n = fread(text, 1, sizeof text - 1, f);
    json_t     *v = json_loadb(text, n, 0, NULL);
    const json_t *item;
    size_t      i;

    (void) arg;
    if (nwholes < WHOLES && json_is_array(json_object_get(v, "output"))) {
        got_t *g = &wholes[nwholes].want;

        text[n] = '\0';
        wholes[nwholes].name = si_strdup(name);
        wholes[nwholes].body = si_strdup(text);
        got_init(g);
        walked_calls = 0;
        json_array_foreach(json_object_get(v, "output"), i, item) {
            walk_item(g, item);
        }
        walk_end(g, v);
        nwholes++;
    }
    json_decref(v);
}

static void read_corpus(void)
{
    static const char *const folders[] = { "openai", "azure", "xai" };
    static const corpus_t    corpus = { frame, walk, is_responses, DONE };

    for (size_t i = 0; i < SI_COUNT(folders); i++) {
        corpus_files(folders[i], "*.chunks.txt", corpus_stream, &corpus);
        corpus_files(folders[i], "*.json", read_whole, NULL);
    }
}

static void free_wholes(void)
{
    for (size_t i = 0; i < nwholes; i++) {
        free(wholes[i].name);
        free(wholes[i].body);
        got_free(&wholes[i].want);
    }
}

#endif
