/* The doors by which text gets into a request for a model: every one is looked at. See filters in conf/si.yaml. */
#ifndef SI_FILTER_REQUEST_H
#define SI_FILTER_REQUEST_H

#include "llm/filter_once.h"
#include "llm/provider.h"

/* q as it may pass, w->blocked when it may not. What changes is new, in the arena. 0 or SI_ECANCELED. */
int co_filter_doors(filter_once_t *w, llm_request_t *q);

#endif
