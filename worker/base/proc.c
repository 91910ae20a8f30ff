#include "base/proc.h"

proc_t proc = { .slot = -1 };
