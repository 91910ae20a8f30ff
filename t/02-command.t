#!/usr/bin/perl
# The command lines of si-worker and sictl: arguments, -t, migrations, keys, and a reload that is refused.
use strict;
use warnings;
use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";
use SI::Pg;
use Test::More;
use Time::HiRes qw(sleep time);

my $root = "$FindBin::Bin/..";
my $build = $ENV{SI_BUILD} // "$root/.build/release";
my $program = "$build/si-worker";
-x $_ or BAIL_OUT("$_ is missing: run scripts/build, or set SI_BUILD") for $program, "$build/sictl";
my $dir = tempdir('si-command-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my ($main, $master) = ($$);
$SIG{INT} = $SIG{TERM} = sub { exit 1 };
END { if ($$ == $main && $master) { my $s = $?; kill 'TERM', $master; waitpid $master, 0; $? = $s } }
delete $ENV{SI_DATABASE_URL};

sub file {
    my ($name, $text) = @_;
    open my $f, '>', "$dir/$name" or die "$dir/$name: $!";
    print $f $text;
    close $f or die;
    return "$dir/$name";
}

sub slurp { open my $f, '<', shift or return ''; local $/; return <$f> // '' }

# Runs it; exit status, what it printed, what it complained about.
sub run {
    my ($what, @args) = @_;
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDERR, '>', "$dir/stderr";
        exec $what, @args or die;
    }
    my $text = do { local $/; <$out> } // '';
    close $out;
    return ($? >> 8, $text, slurp("$dir/stderr"));
}

sub said {
    my ($what, $name, $status, $stderr, @args) = @_;
    my ($s, $out, $err) = run($what, @args);
    local $Test::Builder::Level = $Test::Builder::Level + 2;
    is($s, $status, "$name: exit status $status");
    like($err, qr/^$stderr$/, "$name: one line says why") if defined $stderr;
    return $out;
}

sub says { said($program, @_) }
sub ctl { said("$build/sictl", @_) }

# --- arguments and the configuration

like(says('--version', 0, '', '--version'), qr/^si-worker \d+\.\d+\.\d+\n$/, 'a version');
like(says('--help', 0, '', '--help'), qr/^usage: si-worker -c FILE/, 'a help text');
my $good = "$root/conf/si.yaml";
says('nothing', 2, qr/si-worker: no configuration: name one with -c \(see --help\)\n/);
says('an unknown option', 2, qr/.*--what.*\n/, '-c', $good, '--what');
says('an unknown argument', 2, qr/si-worker: unknown argument: what \(see --help\)\n/, '-c', $good, 'what');
says('too many files', 2, qr/si-worker: too many files.*\n/, map { ('-c', $good) } 1 .. 17);
like(says('-t', 0, '', '-c', $good, '-t'), qr/^limits\.turns_max = 5000    # \Q$good\E:\d+$/m, '-t prints values and their places');
my $over = file('over.yaml', "limits:\n  turns_max: 0\n");
says('a wrong value', 2, qr/\Q$over\E:2: limits\.turns_max: expected a whole number from 1 to 100000, got "0"\n/, '-c', $good, '-c', $over, '-t');
says('a file that is not there', 2, qr{/nowhere:1: cannot be read: No such file or directory\n}, '-c', '/nowhere');
file('over.yaml', "log:\n  file: /nowhere/x.log\n");
says('a log that cannot be written', 1, qr{(?:\{.*\n)?si-worker: log\.file: cannot open /nowhere/x\.log\n}, '-c', $good, '-c', $over);

# --- the database

my $pg = SI::Pg->start;
$pg->sql($_, 'postgres') for 'CREATE ROLE si_owner LOGIN', 'CREATE ROLE si_worker LOGIN', 'CREATE ROLE w2 LOGIN', 'CREATE DATABASE si OWNER si_owner';
my $db = file('db.yaml', 'database: { url: "' . $pg->conninfo('si_owner', 'si') . "\" }\n");
my @conf = ('-c', $good, '-c', $db);
like(ctl('migrate', 0, '', @conf, 'migrate'), qr/^migrated 0001_tenant\n.*^granted si_worker/ms, 'a new schema');
like(ctl('migrate', 0, '', @conf, 'migrate', '--worker-role', 'w2'), qr/^the schema is at .*\ngranted w2/, 'and another role');
ctl('migrate', 1, qr/sictl: the worker's role does not exist: w3\n/, @conf, 'migrate', '--worker-role=w3');

# A database in which somebody holds what a migration needs. The blocker is a psql that waits for its input.
sub hold {
    my $what = shift;
    open my $psql, '|-', SI::Pg::program('psql'), qw(-X -q -d), $pg->conninfo('postgres', 'si'), '-o', '/dev/null' or die "psql: $!";
    $psql->autoflush(1);
    print $psql "SET application_name = 'slow report'; BEGIN; $what;\n";
    until_true(sub { $pg->sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'slow report' AND state = 'idle in transaction'", 'si') }, 'the locks');
    return $psql;
}
sub until_true { my ($is, $what) = @_; my $end = time + 30; while (!$is->()) { die "timed out waiting for $what\n" if time > $end; select undef, undef, undef, 0.02 } }
sub waits { return $pg->sql("SELECT count(*) FROM pg_locks WHERE NOT granted", 'si') }
{
    my $psql = hold('LOCK TABLE si_migration');
    my $said = qr/(?:sictl: (?:cannot .* migrations|locks are held by process \d+ \(postgres, slow report, .*\)): .*\n)+/;
    ctl('migrate, while a table is locked', 3, qr/$said\Qsictl: the database stayed busy: what was migrated stays so, migrate again for the rest\E\n/, @conf, qw(migrate --wait 500ms));
    like(slurp("$dir/stderr"), qr/canceling statement due to lock timeout\n.*slow report.*: (?:\w+, )*si_migration\b/, 'with the reason, and who it is');
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>', "$dir/migrated";
        open STDERR, '>', "$dir/stderr";
        exec "$build/sictl", @conf, 'migrate' or POSIX::_exit(127);
    }
    until_true(sub { waits() > 0 }, 'the migration');
    until_true(sub { waits() == 0 }, 'its patience to end');
    pass('a lock that does not come is not waited for: others pass');
    print $psql "COMMIT;\n";
    close $psql;
    waitpid $pid, 0;
    is($? >> 8, 0, 'it goes on when the lock is gone');
    like(slurp("$dir/migrated"), qr/^the schema is at/, 'to the end');
}
ctl('no time to wait', 1, qr/sictl: --wait must be a time, such as 30s or 5m: soon\n/, @conf, qw(migrate --wait soon));
my $key = ctl('key create', 0, '', @conf, 'key', 'create', 'dev', 'dev');
like($key, qr/^sk_si_[0-9A-Za-z]{46}\n$/, 'a key');
isnt(ctl('key create', 0, '', 'key', 'create', 'dev', 'dev', @conf, '--name', 'Ann\'s', '--expires', '90d'), $key, 'and another one');
is($pg->sql('SELECT count(*) FROM api_key', 'si'), 2, 'two keys');
is($pg->sql('SELECT count(*) FROM app_user', 'si'), 1, 'of one user');
is($pg->sql("SELECT count(*) FROM api_key WHERE hash = sha256('" . substr($key, 0, 52) . "')", 'si'), 1, 'kept as SHA-256');
is($pg->sql("SELECT count(*) FROM api_key WHERE name = 'Ann''s' AND expires_at BETWEEN now() + '89d' AND now() + '91d'", 'si'), 1,
    'a name and an end');
ctl('an admin', 0, '', @conf, 'key', 'create', 'dev', 'chief', '--scopes', 'admin', '--expires', '2100-01-31T12:00:00Z');
is($pg->sql("SELECT count(*) FROM api_key WHERE scopes = 'admin' AND expires_at = '2100-01-31 12:00Z'", 'si'), 1, 'with the scope');
ctl('no such scope', 1, qr/sictl: there is no such scope, only admin: root\n/, @conf, 'key', 'create', 'dev', 'dev', '--scopes', 'root');
ctl('an end that has been', 1, qr/sictl: --expires must be a time to come: 2001-01-01\n/, @conf, qw(key create dev dev --expires 2001-01-01));
ctl('no time', 1, qr/sictl: --expires: ERROR: .*soon.*\n/, @conf, qw(key create dev dev --expires soon));
ctl('a wrong name', 1, qr/sictl: .*user\n/, @conf, 'key', 'create', 'dev', '');
is($pg->sql('SELECT count(*) FROM api_key', 'si'), 3, 'none of these is made');
my $list = ctl('key list', 0, '', @conf, 'key', 'list', 'dev');
is(scalar(() = $list =~ /\n/g), 4, 'a line each, and a head');
like($list, qr/^ID .*NAME\n([0-9a-f-]{36})  sk_si_\w{4}…\w{4} .* -  .* dev +\n.*  dev +Ann's\n.* admin +chief +\n$/s, 'with what is known of them');
my ($id) = $list =~ /^([0-9a-f-]{36}) .*Ann's$/m;
ctl('no such tenant', 1, qr/sictl: there is no such tenant: nobody\n/, @conf, qw(key list nobody));
ctl('no id', 1, qr/sictl: not the id of a key .*: x\n/, @conf, qw(key revoke dev x));
ctl('no such key', 1, qr/sictl: this tenant has no such key: .*\n/, @conf, qw(key revoke dev), $id =~ tr/0-9/1-90/r);
ctl('another tenant', 0, '', @conf, qw(key create other dev));
ctl('its key', 1, qr/sictl: this tenant has no such key: .*\n/, @conf, qw(key revoke other), $id);
file('redis.yaml', "redis: { url: \"unix://$dir/none.sock\" }\n");
ctl('key revoke', 1, qr/sictl: Redis is away: .*\n/, @conf, '-c', "$dir/redis.yaml", 'key', 'revoke', 'dev', $id);
is($pg->sql("SELECT string_agg(name, ',') FROM api_key WHERE revoked_at IS NOT NULL", 'si'), "Ann's", 'is done without Redis, too, and says so');

like(ctl('--help', 0, '', '--help'), qr/^usage: sictl -c FILE/, 'a help text');
ctl('no command', 2, qr/sictl: no command \(see --help\)\n/, @conf);
ctl('no such command', 2, qr/sictl: no such command: key \(see --help\)\n/, @conf, 'key', 'eat');
ctl('a missing user', 2, qr/sictl: key create takes a tenant and a user .*\n/, @conf, 'key', 'create', 'dev');
ctl('too much', 2, qr/sictl: migrate takes no argument .*\n/, @conf, 'migrate', 'now');
ctl('a role for nothing', 2, qr/sictl: an option that does not go with key list .*\n/, @conf, qw(key list dev --worker-role x));
ctl('no configuration', 2, qr/sictl: no configuration: name one with -c .*\n/, 'migrate');

file('db.yaml', "database: { url: host=/nowhere }\n");
ctl('no database', 1, qr/sictl: cannot connect to the database: .*\n/, @conf, 'migrate');
{
    local $ENV{SI_DATABASE_URL} = $pg->conninfo('si_owner', 'si');
    ctl('SI_DATABASE_URL', 0, '', @conf, 'migrate');
}

# --- the workers

sub wait_for {
    my ($what, $cond) = @_;
    for (my $end = time + 30; time < $end; sleep 0.01) {
        return pass($what) if $cond->();
    }
    fail($what);
    diag(slurp("$dir/worker.log"));
}

mkdir "$dir/run";
my $own = "sockets: $dir/run\nworkers: 1\nlog: { file: $dir/worker.log }\nlease: 1s\ndatabase: { url: \""
    . $pg->conninfo('si_worker', 'si') . "\" }\nredis: { url: \"unix://$dir/none.sock\" }\n";
file('db.yaml', $own);
$master = fork // die;
if (!$master) {
    open STDIN, '<', '/dev/null';
    open STDERR, '>', "$dir/master.stderr";
    exec $program, @conf, '--pid', "$dir/pid" or die;
}
my $serves = sub { scalar(() = slurp("$dir/worker.log") =~ /"worker serves"/g) };
wait_for('a worker serves', sub { $serves->() == 1 });
is(slurp("$dir/pid") + 0, $master, 'the pid file');
is($pg->sql('SELECT count(*) FROM worker WHERE NOT buried AND lease_until > now()', 'si'), 1, 'it has a lease');
file('db.yaml', "workers: none\n");
kill 'HUP', $master;
wait_for('a wrong configuration is refused',
    sub { slurp("$dir/worker.log") =~ m{"the new configuration is wrong, the old one stays".*db\.yaml:1: workers: expected} });
file('db.yaml', "${own}lease: 2s\n");
kill 'HUP', $master;
wait_for('one with a key that stands twice too', sub { slurp("$dir/worker.log") =~ m{lease: stands here twice} });
is($serves->(), 1, 'the worker stays');
file('db.yaml', $own =~ s/workers: 1/workers: 2/r);
kill 'HUP', $master;
wait_for('a right one starts new workers', sub { $serves->() == 3 });
kill 'TERM', $master;
is(waitpid($master, 0), $master, 'the master leaves');
is($?, 0, 'with status 0');
$master = 0;
ok(!-e "$dir/pid", 'and takes its pid file away');
unlike(slurp("$dir/worker.log") . slurp("$dir/master.stderr"), qr/Sanitizer|runtime error:|"level":"alert"/, 'clean logs');
done_testing;
