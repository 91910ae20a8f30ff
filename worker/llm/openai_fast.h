/*
 * Private to openai_read.c: the chunks that a stream consists of, a piece of text, of reasoning or of a call, its finish and its usage,
 * read without a tree: a tenth of the time that jansson takes. It takes what it can read for certain and leaves the rest.
 */
#ifndef SI_OPENAI_FAST_H
#define SI_OPENAI_FAST_H

#include "llm/reply.h"

/* 1: read, as openai_read_event() would have; 0: of another shape, or malformed: nothing was done; SI_E* with r->err. */
int openai_read_fast(reply_t *r, str_t data);

#endif
