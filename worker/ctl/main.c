/* sictl: what an operator does besides running it. */
#include <getopt.h>
#include <stdio.h>

#include "base/proc.h"
#include "conf/conf.h"
#include "ctl/tell.h"
#include "store/admin.h"

#define FILES_MAX  16
#define WAIT_MS    300000u         /* of migrate, for locks */

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_BUSY = 3 };

typedef struct {
    const char *files[FILES_MAX];
    size_t      nfiles;
    const char *worker_role, *wait, *name, *scopes, *expires, *from, *to, *group;
    const char *budget, *calls, *requests, *tokens;     /* of a key */
    const char *issuer, *kind, *value;      /* of tokens */
    bool        twice;          /* two kinds were named */
    char      **args;           /* behind the command's words */
    const char *database;
    conf_t     *conf;
} ctl_t;

typedef struct {
    const char *words;          /* of the command */
    const char *args;           /* what it takes */
    const char *options;        /* letters of those that go with it */
    int         nargs;
    int       (*run)(const ctl_t *c);
} command_t;

static const char help[] =
    "usage: sictl -c FILE [-c FILE ...] COMMAND\n"
    "\n"
    "  migrate [--worker-role NAME] [--wait TIME]\n"
    "      bring the database to the newest schema; the role that the workers connect as (si_worker) gets its rights.\n"
    "      While others hold locks it says who, lets those pass who wait, and tries again, for TIME in all (5m)\n"
    "  key create TENANT USER [--name TEXT] [--scopes admin] [--expires WHEN]\n"
    "             [--budget DOLLARS[/PERIOD]] [--calls N[/PERIOD]] [--requests N] [--tokens N]\n"
    "      print a new API key for user USER of tenant TENANT (both are made if missing), this once; with the scope\n"
    "      admin it manages the keys of the whole tenant; WHEN is 90d, 12h or 2030-01-31T12:00:00Z.\n"
    "      What its calls of models may cost, or how many there may be, in an hour, day, month or in total (PERIOD, the\n"
    "      same for both; default: month); calls of models, and their tokens, a minute. Default: any amount\n"
    "  key list TENANT\n"
    "      the keys of a tenant, without what is secret\n"
    "  key revoke TENANT ID\n"
    "      revoke a key: all workers are told, through Redis\n"
    "  usage TENANT [--from WHEN] [--to WHEN] [--group model|agent|user|key|day]\n"
    "      what the model calls of a tenant took and cost, by model unless said otherwise; WHEN is 2030-01-31 or\n"
    "      2030-01-31T12:00:00Z; the last 30 days unless said otherwise\n"
    "\n"
    "  token revoke TENANT --issuer URL --jti ID|--subject USER [--expires WHEN]\n"
    "  token revoke TENANT --digest SHA256 [--expires WHEN]\n"
    "      revoke tokens of an issuer: one, by its id or its digest, or all that a user has by now; WHEN they end by\n"
    "      themselves, 30 days if not said; all workers are told, through Redis\n"
    "  token list TENANT\n"
    "      the revocations of a tenant that count\n"
    "  token restore TENANT ID\n"
    "      take one back: such tokens are good again, until they end; all workers are told, through Redis\n"
    "\n"
    "  -c FILE    configuration of the workers (conf/si.yaml); a later file lies over the earlier ones\n"
    "  --help\n"
    "\n"
    "It connects with the connection string in the environment's SI_DATABASE_URL, if that is set (the tables' owner),\n"
    "else with database.url. Exit status: 0 done, 1 failed, 2 wrong arguments or configuration,\n"
    "3 the database stayed busy (migrate: nothing is left half done).\n";

static int usage(const char *what, const char *which)
{
    fprintf(stderr, "sictl: %s%s (see --help)\n", what, which);
    return EXIT_USAGE;
}

/* --- the commands --- */

static int migrate(const ctl_t *c)
{
    uint64_t wait = WAIT_MS;

    if (c->wait && parse_duration(str_of(c->wait), &wait)) {
        fprintf(stderr, "sictl: --wait must be a time, such as 30s or 5m: %s\n", c->wait);
        return SI_EINVAL;
    }
    return admin_migrate(c->database, c->worker_role ? c->worker_role : "si_worker", wait);
}

static int key_create(const ctl_t *c)
{
    return admin_key_create(c->database, &(admin_key_t) {
        .tenant = c->args[0], .user = c->args[1], .name = c->name ? c->name : "", .scopes = c->scopes ? c->scopes : "",
        .expires = c->expires, .budget = c->budget, .calls = c->calls, .requests = c->requests, .tokens = c->tokens,
    });
}

static int key_list(const ctl_t *c)
{
    return admin_key_list(c->database, c->args[0]);
}

static int key_revoke(const ctl_t *c)
{
    admin_gone_t gone;
    int          rc = admin_key_revoke(c->database, c->args[0], c->args[1], &gone);

    if (rc) {
        return rc;
    }
    printf("revoked %s\n", gone.key);
    fflush(stdout);
    if (tell_key_gone(c->conf->redis_url, &gone)) {
        fprintf(stderr, "sictl: Redis is away: workers that know the key go on taking it for auth.cache (and auth.grace without Postgres)\n");
        return SI_EUNAVAIL;
    }
    return 0;
}

static int token_revoke(const ctl_t *c)
{
    admin_tokens_t gone;
    int            rc;

    if (!c->kind || c->twice) {
        fputs("sictl: token revoke takes one of --jti, --subject and --digest (see --help)\n", stderr);
        return SI_EINVAL;
    }
    rc = admin_token_revoke(c->database, &(admin_revoke_t) { c->args[0], c->kind, c->issuer, c->value, c->expires }, &gone);
    if (rc) {
        return rc;
    }
    printf("revoked %s %s\n", c->kind, c->value);
    fflush(stdout);
    if (tell_tokens_gone(c->conf->redis_url, &gone)) {
        fprintf(stderr, "sictl: Redis is away: workers go on taking such tokens for auth.cache\n");
        return SI_EUNAVAIL;
    }
    return 0;
}

static int token_list(const ctl_t *c)
{
    return admin_token_list(c->database, c->args[0]);
}

static int token_restore(const ctl_t *c)
{
    admin_tokens_t back;
    int            rc = admin_token_restore(c->database, c->args[0], c->args[1], &back);

    if (rc) {
        return rc;
    }
    printf("restored %s\n", c->args[1]);
    fflush(stdout);
    if (tell_tokens_gone(c->conf->redis_url, &back)) {
        fprintf(stderr, "sictl: Redis is away: workers go on refusing such tokens for auth.cache\n");
        return SI_EUNAVAIL;
    }
    return 0;
}

static int usage_list(const ctl_t *c)
{
    return admin_usage(c->database, c->args[0], c->from, c->to, c->group);
}

static const command_t commands[] = {
    { "migrate", "no argument", "rw", 0, migrate },
    { "key create", "a tenant and a user", "nsebkqT", 2, key_create },
    { "key list", "a tenant", "", 1, key_list },
    { "key revoke", "a tenant and the id of a key", "", 2, key_revoke },
    { "token revoke", "a tenant", "ijude", 1, token_revoke },
    { "token list", "a tenant", "", 1, token_list },
    { "token restore", "a tenant and the id of a revocation", "", 2, token_restore },
    { "usage", "a tenant", "ftg", 1, usage_list },
};

/* --- the command line --- */

/* The command whose words args begin with; *n of them. */
static const command_t *command_of(char **args, int nargs, int *n)
{
    char words[64];

    for (size_t i = 0; i < SI_COUNT(commands); i++) {
        *n = strchr(commands[i].words, ' ') ? 2 : 1;
        if (nargs >= *n) {
            snprintf(words, sizeof(words), *n == 2 ? "%s %s" : "%s", args[0], args[*n - 1]);
            if (strcmp(words, commands[i].words) == 0) {
                return &commands[i];
            }
        }
    }
    return NULL;
}

static void take_kind(ctl_t *c, const char *kind)
{
    c->twice = c->kind != NULL;
    c->kind = kind;
    c->value = optarg;
}

static int take_option(ctl_t *c, int option)
{
    switch (option) {
    case 'c':
        if (c->nfiles == FILES_MAX) {
            return usage("too many files", "");
        }
        c->files[c->nfiles++] = optarg;
        return 0;
    case 'r': c->worker_role = optarg; return 0;
    case 'w': c->wait = optarg;        return 0;
    case 'n': c->name = optarg;        return 0;
    case 's': c->scopes = optarg;      return 0;
    case 'e': c->expires = optarg;     return 0;
    case 'i': c->issuer = optarg;      return 0;
    case 'j': take_kind(c, "jti");     return 0;
    case 'u': take_kind(c, "subject"); return 0;
    case 'd': take_kind(c, "digest");  return 0;
    case 'f': c->from = optarg;        return 0;
    case 't': c->to = optarg;          return 0;
    case 'g': c->group = optarg;       return 0;
    case 'b': c->budget = optarg;      return 0;
    case 'k': c->calls = optarg;       return 0;
    case 'q': c->requests = optarg;    return 0;
    case 'T': c->tokens = optarg;      return 0;
    case 'h': fputs(help, stdout);     exit(0);
    default:  return EXIT_USAGE;       /* getopt has said why */
    }
}

static int parse(ctl_t *c, int argc, char **argv, const command_t **command)
{
    static const struct option options[] = {
        { "worker-role", required_argument, NULL, 'r' }, { "wait", required_argument, NULL, 'w' },
        { "name", required_argument, NULL, 'n' },        { "scopes", required_argument, NULL, 's' },
        { "expires", required_argument, NULL, 'e' },     { "issuer", required_argument, NULL, 'i' },
        { "jti", required_argument, NULL, 'j' },         { "subject", required_argument, NULL, 'u' },
        { "digest", required_argument, NULL, 'd' },      { "from", required_argument, NULL, 'f' },
        { "to", required_argument, NULL, 't' },          { "group", required_argument, NULL, 'g' },
        { "budget", required_argument, NULL, 'b' },      { "calls", required_argument, NULL, 'k' },
        { "requests", required_argument, NULL, 'q' },    { "tokens", required_argument, NULL, 'T' },
        { "help", no_argument, NULL, 'h' },              { NULL, 0, NULL, 0 },
    };
    char used[16] = "";
    int  option, words, rc;

    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        rc = take_option(c, option);
        if (rc) {
            return rc;
        }
        if (option != 'c' && !strchr(used, option)) {
            used[strlen(used)] = (char) option;
        }
    }
    *command = command_of(argv + optind, argc - optind, &words);
    if (!*command) {
        return optind < argc ? usage("no such command: ", argv[optind]) : usage("no command", "");
    }
    c->args = argv + optind + words;
    if (argc - optind - words != (*command)->nargs) {
        fprintf(stderr, "sictl: %s takes %s (see --help)\n", (*command)->words, (*command)->args);
        return EXIT_USAGE;
    }
    if (strspn(used, (*command)->options) != strlen(used)) {
        return usage("an option that does not go with ", (*command)->words);
    }
    return c->nfiles > 0 ? 0 : usage("no configuration: name one with -c", "");
}

int main(int argc, char **argv)
{
    ctl_t            c = { .nfiles = 0 };
    const command_t *command;
    const char      *err, *owner = getenv("SI_DATABASE_URL");
    arena_t         *a;
    int              rc = parse(&c, argc, argv, &command);

    if (rc) {
        return rc;
    }
    proc.slot = -1;
    a = arena_new(1024);
    c.conf = conf_load(a, c.files, c.nfiles, &err);
    if (!c.conf) {
        fprintf(stderr, "%s\n", err);
        rc = EXIT_USAGE;
    } else {
        c.database = owner && owner[0] ? owner : c.conf->database_url;
        rc = command->run(&c);
        rc = rc == 0 ? 0 : rc == SI_EAGAIN ? EXIT_BUSY : EXIT_FAILED;
    }
    arena_free(a);
    conf_free(c.conf);
    return rc;
}
