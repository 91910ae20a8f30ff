/* What a model call costs. Whole numbers only. No I/O. */
#ifndef SI_PRICE_H
#define SI_PRICE_H

#include "conf/conf.h"
#include "llm/chat.h"

/*
 * Micro-dollars of a call with these tokens at these prices: every token once, at the price of its kind; added up exactly, and
 * rounded up once. Counts below 0 are 0; a part (cached, reasoning…) is no larger than its whole. At most INT64_MAX.
 */
int64_t price_cost(const conf_price_t *p, const llm_result_t *r);

#endif
