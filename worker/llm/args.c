#include "llm/args.h"

void args_follow(args_t *a, str_t piece)
{
    for (size_t i = 0; i < piece.n; i++) {
        char x = piece.p[i];

        a->any = a->any || x > ' ';
        if (a->text) {
            a->text = a->escape || x != '"';
            a->escape = !a->escape && x == '\\';
        } else if (x == '"') {
            a->text = true;
        } else if (x == '{' || x == '[') {
            a->depth++;
        } else if ((x == '}' || x == ']') && a->depth > 0) {
            a->depth--;
        }
    }
}

bool args_whole(const args_t *a)
{
    return a->any && a->depth == 0 && !a->text;
}
