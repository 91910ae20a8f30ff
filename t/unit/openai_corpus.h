/* The recorded streams for t/unit/openai.c: framed as their README says, and what they hold by a plain walk. */
#ifndef SI_TEST_OPENAI_CORPUS_H
#define SI_TEST_OPENAI_CORPUS_H

#include "openai_server.h"

#define WHOLES  100

static struct { char *name, *body; got_t want; } wholes[WHOLES];
static size_t   nwholes;
static char     walked_ids[16][64];     /* of the recording that is being walked */

static void frame(buf_t *wire, str_t line)
{
    (void) buf_puts(wire, "data: ");
    (void) buf_append(wire, line.p, line.n);
    (void) buf_puts(wire, "\n\n");
}

static void walk_parts(got_t *g, const json_t *v, chat_kind_t kind)
{
    const json_t *item;
    size_t        i;

    json_array_foreach(v, i, item) {
        const char *type = json_string_value(json_object_get(item, "type"));

        if (type != NULL && strcmp(type, "thinking") == 0) {
            walk_parts(g, json_object_get(item, "thinking"), CHAT_REASONING);
        } else {
            got_add(g, kind, 0, str_of(json_string_value(json_object_get(item, "text"))), NULL, NULL);
        }
    }
}

/* A call begins where an id is new at its place. */
static void walk_calls(got_t *g, const json_t *calls)
{
    const json_t *v;
    size_t        i;

    json_array_foreach(calls, i, v) {
        const json_t *index = json_object_get(v, "index"), *f = json_object_get(v, "function");
        size_t        at = json_is_integer(index) ? (size_t) json_integer_value(index) : i;
        const char   *id = json_string_value(json_object_get(v, "id"));

        if (id != NULL && strcmp(id, walked_ids[at]) != 0) {
            snprintf(walked_ids[at], sizeof walked_ids[at], "%s", id);
            got_add(g, CHAT_CALL, (uint32_t) at, STR_NULL, id, json_string_value(json_object_get(f, "name")));
        }
        got_add(g, CHAT_ARGS, (uint32_t) at, json_str(f, "arguments", STR_NULL), NULL, NULL);
    }
}

static int64_t number(const json_t *o, const char *name)
{
    return (int64_t) json_integer_value(json_object_get(o, name));
}

/* xAI alone counts reasoning beside the completion. */
static void walk_usage(llm_result_t *r, const json_t *u)
{
    if (json_is_object(u)) {
        r->reasoning_tokens = number(json_object_get(u, "completion_tokens_details"), "reasoning_tokens");
        r->input_tokens = number(u, "prompt_tokens");
        r->output_tokens = number(u, "total_tokens") - r->input_tokens;
        r->cached_tokens = number(json_object_get(u, "prompt_tokens_details"), "cached_tokens");
        if (json_object_get(u, "prompt_cache_hit_tokens") != NULL) {
            r->cached_tokens = number(u, "prompt_cache_hit_tokens");
        }
    }
}

static void walk_end(llm_result_t *r, const json_t *v, const json_t *choice)
{
    const char *finish = json_string_value(json_object_get(choice, "finish_reason"));

    if (finish != NULL) {
        snprintf(r->finish, sizeof r->finish, "%s", finish);
    }
    if (r->model[0] == '\0' && json_string_length(json_object_get(v, "model")) > 0) {
        snprintf(r->model, sizeof r->model, "%s", json_string_value(json_object_get(v, "model")));
    }
    if (r->id[0] == '\0') {
        snprintf(r->id, sizeof r->id, "%s", json_string_value(json_object_get(v, "id")));
    }
    walk_usage(r, json_object_get(json_object_get(v, "x_groq"), "usage"));
    walk_usage(r, json_object_get(v, "usage"));
}

static void walk_choice(got_t *g, const json_t *v, const char *member)
{
    const json_t *choice = json_array_get(json_object_get(v, "choices"), 0), *delta = json_object_get(choice, member), *x;

    got_add(g, CHAT_REASONING, 0, json_str(delta, "reasoning_content", STR_NULL), NULL, NULL);
    got_add(g, CHAT_REASONING, 0, json_str(delta, "reasoning", STR_NULL), NULL, NULL);
    x = json_object_get(delta, "content");
    got_add(g, CHAT_TEXT, 0, str_of(json_string_value(x)), NULL, NULL);
    walk_parts(g, x, CHAT_TEXT);
    walk_calls(g, json_object_get(delta, "tool_calls"));
    walk_end(&g->result, v, choice);
}

static void walk(got_t *g, const json_t *v)
{
    if (g->all.n == 0 && g->result.id[0] == '\0') {
        memset(walked_ids, 0, sizeof walked_ids);
    }
    walk_choice(g, v, "delta");
}

static void read_whole(FILE *f, const char *name, const void *arg)
{
    static char text[1 << 20];
    size_t      n = fread(text, 1, sizeof text - 1, f);
    json_t     *v = json_loadb(text, n, 0, NULL);

    (void) arg;
    if (nwholes < WHOLES && json_is_object(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "message"))) {
        text[n] = '\0';
        wholes[nwholes].name = si_strdup(name);
        wholes[nwholes].body = si_strdup(text);
        got_init(&wholes[nwholes].want);
        memset(walked_ids, 0, sizeof walked_ids);
        walk_choice(&wholes[nwholes].want, v, "message");
        nwholes++;
    }
    json_decref(v);
}

static void free_wholes(void)
{
    for (size_t i = 0; i < nwholes; i++) {
        free(wholes[i].name);
        free(wholes[i].body);
        got_free(&wholes[i].want);
    }
}

/* Those of the Responses API and of completions are another format. */
static bool is_chat(FILE *f, const char *name)
{
    char   start[20] = "";
    size_t n = fread(start, 1, sizeof start - 1, f);

    rewind(f);
    start[n] = '\0';
    return strstr(name, "responses__") == NULL && strstr(name, "completion__") == NULL
           && strstr(name, "speech-translation__") == NULL && strncmp(start, "{\"type\":\"response.", 18) != 0;
}

static void read_corpus(void)
{
    static const char *const folders[] = { "openai", "azure", "openai-compatible", "groq", "deepseek", "mistral", "xai" };
    static const corpus_t    corpus = { frame, walk, is_chat, DONE };

    for (size_t i = 0; i < SI_COUNT(folders); i++) {
        corpus_files(folders[i], "*.chunks.txt", corpus_stream, &corpus);
        corpus_files(folders[i], "*.json", read_whole, NULL);
    }
}

#endif
