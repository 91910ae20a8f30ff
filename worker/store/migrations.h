/* The migrations, embedded by the build from store/migrations/NNNN-name.sql. */
#ifndef SI_MIGRATIONS_H
#define SI_MIGRATIONS_H

typedef struct {
    const char *name;       /* file name without ".sql" */
    const char *sql;        /* its text */
} si_migration_t;

/* In the order of their names; ends with a NULL name. */
extern const si_migration_t si_migrations[];

#endif
