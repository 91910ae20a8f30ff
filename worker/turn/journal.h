/*
 * Ends of turns that Postgres could not take yet, on disk: one JSON file a turn in the folder `journal`, written whole
 * (temporary file, fsync, rename). Whoever opens the conversation when Postgres is back writes the end from there and
 * asks no model again. Blocks on the disk for a moment, in outages only.
 */
#ifndef SI_JOURNAL_H
#define SI_JOURNAL_H

#include "base/arena.h"
#include "store/store.h"

/* Makes the folder if it is not there; a folder that cannot be used is said once, and outages are survived in memory only. */
void journal_init(void);
/* Keeps the end of a turn: its final row. 0 or SI_EUNAVAIL (logged). */
int  journal_put(const turn_row_t *end);
/* The kept end of this turn: 0 with *end in the arena, or SI_ENOENT (none, or one that cannot be read: logged). */
int  journal_get(arena_t *a, const turn_row_t *turn, turn_row_t *end);
/* It is in Postgres now. */
void journal_drop(const char *turn);

#endif
