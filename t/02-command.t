#!/usr/bin/perl
# The command line of si-worker: arguments, -t, --migrate, --create-key, and a reload that is refused.
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
-x $program or BAIL_OUT("$program is missing: run scripts/build, or set SI_BUILD");
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
    my @args = @_;
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDERR, '>', "$dir/stderr";
        exec $program, @args or die;
    }
    my $text = do { local $/; <$out> } // '';
    close $out;
    return ($? >> 8, $text, slurp("$dir/stderr"));
}

sub says {
    my ($name, $status, $stderr, @args) = @_;
    my ($s, $out, $err) = run(@args);
    is($s, $status, "$name: exit status $status");
    like($err, qr/^$stderr$/, "$name: one line says why") if defined $stderr;
    return $out;
}

# --- arguments and the configuration

like(says('--version', 0, '', '--version'), qr/^si-worker \d+\.\d+\.\d+\n$/, 'a version');
like(says('--help', 0, '', '--help'), qr/^usage: si-worker -c FILE/, 'a help text');
my $good = "$root/conf/si.yaml";
says('nothing', 2, qr/si-worker: no configuration: name one with -c \(see --help\)\n/);
says('an unknown option', 2, qr/.*--what.*\n/, '-c', $good, '--what');
says('an unknown argument', 2, qr/si-worker: unknown argument: what \(see --help\)\n/, '-c', $good, 'what');
says('a missing user', 2, qr/si-worker: --create-key needs .*\n/, '-c', $good, '--create-key', 'dev');
says('two things at once', 2, qr/si-worker: -t, --migrate .*exclude each other.*\n/, '-c', $good, '-t', '--migrate');
says('a role for nothing', 2, qr/si-worker: --worker-role goes with --migrate.*\n/, '-c', $good, '--worker-role', 'x');
says('scopes for nothing', 2, qr/si-worker: --scopes goes with --create-key.*\n/, '-c', $good, '--scopes', 'admin');
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
like(says('--migrate', 0, '', @conf, '--migrate'), qr/^migrated 0001_tenant\n.*^granted si_worker/ms, 'a new schema');
like(says('--migrate', 0, '', @conf, '--migrate', '--worker-role', 'w2'), qr/^the schema is at .*\ngranted w2/, 'and another role');
says('--migrate', 1, qr/si-worker: the worker's role does not exist: w3\n/, @conf, '--migrate', '--worker-role=w3');
my $key = says('--create-key', 0, '', @conf, '--create-key', 'dev', 'dev');
like($key, qr/^sk_si_[0-9A-Za-z]{46}\n$/, 'a key');
isnt(says('--create-key', 0, '', '--create-key', 'dev', 'dev', @conf), $key, 'and another one');
is($pg->sql('SELECT count(*) FROM api_key', 'si'), 2, 'two keys');
is($pg->sql('SELECT count(*) FROM app_user', 'si'), 1, 'of one user');
is($pg->sql("SELECT count(*) FROM api_key WHERE hash = sha256('" . substr($key, 0, 52) . "')", 'si'), 1, 'kept as SHA-256');
says('an admin', 0, '', @conf, '--create-key', 'dev', 'chief', '--scopes', 'admin');
is($pg->sql("SELECT count(*) FROM api_key WHERE scopes = 'admin'", 'si'), 1, 'with the scope');
says('no such scope', 1, qr/si-worker: there is no such scope, only admin: root\n/, @conf, '--create-key', 'dev', 'dev', '--scopes', 'root');
says('a wrong name', 1, qr/si-worker: .*user\n/, @conf, '--create-key', 'dev', '');
file('db.yaml', "database: { url: host=/nowhere }\n");
says('no database', 1, qr/si-worker: cannot connect to the database: .*\n/, @conf, '--migrate');
{
    local $ENV{SI_DATABASE_URL} = $pg->conninfo('si_owner', 'si');
    says('SI_DATABASE_URL', 0, '', @conf, '--migrate');
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
