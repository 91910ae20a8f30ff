/* si-worker: the command line. */
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "api/serve.h"
#include "base/logger.h"
#include "base/proc.h"
#include "conf/conf.h"
#include "run/master.h"

#define VERSION    "0.1.0"
#define FILES_MAX  16

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

typedef struct {
    const char *files[FILES_MAX];
    size_t      nfiles;
    const char *pid_file;
    bool        test;
    conf_t     *conf;           /* in force */
} app_t;

static const char help[] =
    "usage: si-worker -c FILE [-c FILE ...] [--pid FILE]\n"
    "       si-worker -c FILE ... -t\n"
    "\n"
    "  -c FILE              configuration (YAML); a later file lies over the earlier ones\n"
    "  -t                   check it, print every key with its value and where it comes from\n"
    "  --pid FILE           write the master's pid there\n"
    "  --version, --help\n"
    "\n"
    "The workers run until SIGTERM; SIGHUP reads the files again, SIGQUIT waits for running turns, SIGUSR1 reopens\n"
    "the log. Migrations and keys: sictl.\n"
    "Exit status: 0 done, 1 failed, 2 wrong arguments or configuration.\n";

static int usage(const char *what, const char *which)
{
    fprintf(stderr, "si-worker: %s%s (see --help)\n", what, which);
    return EXIT_USAGE;
}

/* --- the workers --- */

static void worker(int slot, const char *died, void *arg)
{
    worker_run(slot, died, ((app_t *) arg)->conf);
}

static int reload(int *workers, void *arg)
{
    app_t      *app = arg;
    arena_t    *a = arena_new(1024);
    const char *err;
    conf_t     *conf = conf_load(a, app->files, app->nfiles, &err);

    if (conf == NULL) {
        log_line(LOG_ERROR, "the new configuration is wrong, the old one stays", "reason", err, NULL);
        arena_free(a);
        return SI_EINVAL;
    }
    arena_free(a);
    if (logger_open(conf->log_file, (log_level_t) conf->log_level) != 0) {
        log_line(LOG_ERROR, "the new log cannot be opened, the old configuration stays", "file", conf->log_file, NULL);
        conf_free(conf);
        return SI_EINVAL;
    }
    conf_free(app->conf);
    app->conf = conf;
    *workers = (int) conf->workers;
    return 0;
}

static int serve(app_t *app)
{
    master_spec_t spec = {
        .workers = (int) app->conf->workers, .worker = worker, .reload = reload, .arg = app, .pid_file = app->pid_file,
    };

    if (logger_open(app->conf->log_file, (log_level_t) app->conf->log_level) != 0) {
        fprintf(stderr, "si-worker: log.file: cannot open %s\n", app->conf->log_file);
        return EXIT_FAILED;
    }
    snprintf(proc.node, sizeof(proc.node), "%s", app->conf->node);
    return master_run(&spec);
}

/* --- the command line --- */

static int take_option(app_t *app, int c)
{
    switch (c) {
    case 'c':
        if (app->nfiles == FILES_MAX) {
            return usage("too many files", "");
        }
        app->files[app->nfiles++] = optarg;
        break;
    case 't':
        app->test = true;
        break;
    case 'p':
        app->pid_file = optarg;
        break;
    case 'v':
        puts("si-worker " VERSION);
        exit(0);
    case 'h':
        fputs(help, stdout);
        exit(0);
    default:
        return EXIT_USAGE;      /* getopt has said why */
    }
    return 0;
}

static int check_arguments(app_t *app, int argc, char **argv)
{
    if (optind < argc) {
        return usage("unknown argument: ", argv[optind]);
    }
    if (app->nfiles == 0) {
        return usage("no configuration: name one with -c", "");
    }
    return 0;
}

static int parse_arguments(app_t *app, int argc, char **argv)
{
    static const struct option options[] = {
        { "pid", required_argument, NULL, 'p' },
        { "version", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    int c, rc;

    while ((c = getopt_long(argc, argv, "c:th", options, NULL)) != -1) {
        rc = take_option(app, c);
        if (rc) {
            return rc;
        }
    }
    return check_arguments(app, argc, argv);
}

int main(int argc, char **argv)
{
    app_t       app = { .nfiles = 0 };
    arena_t    *a;
    const char *err;
    int         rc = parse_arguments(&app, argc, argv);

    if (rc) {
        return rc;
    }
    proc.slot = -1;
    a = arena_new(1024);
    app.conf = conf_load(a, app.files, app.nfiles, &err);
    if (app.conf == NULL) {
        fprintf(stderr, "%s\n", err);
        rc = EXIT_USAGE;
    } else if (app.test) {
        conf_print(app.conf, stdout);
    } else {
        rc = serve(&app);
    }
    arena_free(a);
    conf_free(app.conf);
    return rc;
}
