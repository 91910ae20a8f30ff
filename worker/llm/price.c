#include "llm/price.h"

#include "base/util.h"

/* Tokens times millionths of a dollar for a million of them: a million of these is one micro-dollar. */
__extension__ typedef unsigned __int128 wide_t;

int64_t price_cost(const conf_price_t *p, const llm_result_t *r)
{
    uint64_t input = (uint64_t) SI_MAX(r->input_tokens, 0), output = (uint64_t) SI_MAX(r->output_tokens, 0);
    uint64_t cached = SI_MIN((uint64_t) SI_MAX(r->cached_tokens, 0), input);
    uint64_t written = SI_MIN((uint64_t) SI_MAX(r->cache_write_tokens, 0), input - cached);
    uint64_t thought = SI_MIN((uint64_t) SI_MAX(r->reasoning_tokens, 0), output);
    wide_t   sum = (wide_t) p->input * (input - cached - written) + (wide_t) p->cached_input * cached
                   + (wide_t) p->cache_write * written + (wide_t) p->output * (output - thought) + (wide_t) p->reasoning * thought;

    sum = (sum + 999999) / 1000000;
    return sum > INT64_MAX ? INT64_MAX : (int64_t) sum;
}
