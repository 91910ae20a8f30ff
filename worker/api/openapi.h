/* conf/openapi.yaml as JSON, embedded by the Makefile. */
#ifndef SI_OPENAPI_H
#define SI_OPENAPI_H

#include <stddef.h>

extern const char   si_openapi_json[];
extern const size_t si_openapi_json_len;    /* bytes */

#endif
