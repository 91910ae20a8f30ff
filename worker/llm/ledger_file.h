/* Inside of llm/ledger: the files that entries lie in. */
#ifndef SI_LEDGER_FILE_H
#define SI_LEDGER_FILE_H

#include "base/list.h"
#include "llm/ledger.h"

typedef enum { SLOT_FREE, SLOT_OPEN, SLOT_DONE } slot_state_t;

/* As it lies in the file. */
typedef struct {
    uint32_t     state;         /* slot_state_t, set last */
    uint32_t     zero;
    int64_t      input;         /* tokens of what was sent, estimated */
    int64_t      received;      /* bytes */
    conf_price_t price;
    usage_row_t  row;
} ledger_slot_t;

#define SLOT_BYTES  1024
_Static_assert(sizeof(ledger_slot_t) <= SLOT_BYTES, "a slot has room for an entry");

struct ledger_file;

struct ledger_entry {
    list_t              node;   /* in a list of the ledger's, or in none: its call is under way */
    struct ledger_file *file;
    ledger_slot_t      *slot;
};

/* One file: a header of SLOT_BYTES, and the slots. Locked by the process that has it. */
typedef struct ledger_file {
    list_t         node;
    int            fd;          /* -1: memory alone */
    char           path[512];
    char          *map;
    bool           adopted;     /* it was a dead worker's: it gets no more entries than it has */
    size_t         used;        /* entries that are not free */
    ledger_entry_t entries[LEDGER_ENTRIES];
} ledger_file_t;

/* The process may be killed at any moment: what a state promises is written before it. */
static inline void slot_set(ledger_slot_t *s, slot_state_t state)
{
    __atomic_store_n(&s->state, (uint32_t) state, __ATOMIC_RELEASE);
}

/* Makes the folder, 0700; removes what was never finished in it, and logs which files this version cannot read. */
void ledger_folder(void);
/* A new one, empty. Never NULL; in memory alone where there is no disk for it (logged). */
ledger_file_t *ledger_file_new(void);
/* One that no living process has. NULL: there is none. */
ledger_file_t *ledger_file_adopt(void);
/* remove: nothing in it is needed. */
void ledger_file_close(ledger_file_t *f, bool remove);

#endif
