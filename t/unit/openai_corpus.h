/* The recorded streams for t/unit/openai.c: framed as their README says, and what they hold by a plain walk. */
#ifndef SI_TEST_OPENAI_CORPUS_H
#define SI_TEST_OPENAI_CORPUS_H

#include "openai_server.h"

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

static void walk(got_t *g, const json_t *v)
{
    const json_t *delta = json_object_get(json_array_get(json_object_get(v, "choices"), 0), "delta"), *x;

    got_add(g, CHAT_REASONING, 0, json_str(delta, "reasoning_content", STR_NULL), NULL, NULL);
    got_add(g, CHAT_REASONING, 0, json_str(delta, "reasoning", STR_NULL), NULL, NULL);
    x = json_object_get(delta, "content");
    got_add(g, CHAT_TEXT, 0, str_of(json_string_value(x)), NULL, NULL);
    walk_parts(g, x, CHAT_TEXT);
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
    }
}

#endif
