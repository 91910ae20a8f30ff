/*
 * The ledger of usage on its way to Postgres. Every model call has an entry from before it begins until its row is stored. An
 * entry lies in a file that is mapped into memory, in the folder <journal>/usage: so it costs no system call, and outlives the
 * process, also when that is killed. What a dead worker left is taken over by any other within a second or so, and by the next
 * that starts: calls that it had under way become rows of outcome "worker_died", estimated. Rows are stored in batches; one that
 * is stored twice is there once, since it has the id of its call.
 *
 * What can be lost: nothing when a process dies, whatever the moment. When the machine dies without writing its disks back
 * (Linux does so within about 30 s), the entries that Postgres did not have yet: those of the last fraction of a second, or of
 * the time for which Postgres was away. Where the folder cannot be used (said in the log), entries live in memory alone.
 *
 * As long as Postgres is away entries are kept, LEDGER_FILES_MAX * LEDGER_ENTRIES of them; then further calls are refused,
 * because a call that nobody pays for is worse than none.
 */
#ifndef SI_LEDGER_H
#define SI_LEDGER_H

#include "base/buf.h"
#include "llm/account.h"
#include "store/usage.h"

#define LEDGER_VERSION    1
#define LEDGER_ENTRIES    1023      /* in one file of 1 MiB */
#define LEDGER_FILES_MAX  256       /* of one worker, with those it took over: 256 MiB */

typedef struct ledger_entry ledger_entry_t;

/* Sets proc.ledger, makes the folder and the first file. Needs proc.conf, coroutines and Postgres' pool. */
void ledger_init(void);
/* Stores what is left, for `ms` at most; the rest stays on disk. The worker ends. */
void co_ledger_end(uint64_t ms);

/* The entry of a call that begins: what of it is known, and what it costs if this process dies now. NULL: there is no room. */
ledger_entry_t *ledger_begin(const account_t *a);
/* So many bytes of its answer have come in all. */
void ledger_received(ledger_entry_t *e, size_t bytes);
/* It has ended, with a->usage and this outcome: its row will be stored. The entry is gone. */
void ledger_end(ledger_entry_t *e, const account_t *a, const char *outcome);

/* Its metrics. */
void ledger_metrics(buf_t *b);

#endif
