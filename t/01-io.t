#!/usr/bin/perl
# Runs the unit programs pg, counter and redis against private servers, which they kill and start again in the middle.
use strict;
use warnings;
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use SI::Test qw(run_unit slurp);

my $build = SI::Test::build_dir();
my $dir   = tempdir('si-io-XXXXXX', TMPDIR => 1);
my $main  = $$;
my @stop;           # commands that stop what runs

chmod 0711, $dir;
$SIG{INT} = $SIG{TERM} = sub { exit 1 };

END {
    if ($$ == $main) {
        my $status = $?;
        system('sh', $_) for @stop;
        remove_tree($dir);
        $? = $status;
    }
}

sub script {
    my ($name, $text) = @_;
    open my $f, '>', "$dir/$name" or die "$dir/$name: $!";
    print $f "exec </dev/null >>$dir/$name.log 2>&1\n$text";
    close $f;
    return "$dir/$name";
}

# A program of PostgreSQL, which Debian does not put into the path.
sub pg_program {
    my ($name) = @_;
    my ($found) = grep { -x } (glob("/usr/lib/postgresql/*/bin/$name"), map { "$_/$name" } split /:/, $ENV{PATH});
    return $found // BAIL_OUT("$name of PostgreSQL is not installed");
}

sub start_postgres {
    my $as = $> == 0 ? 'runuser -u postgres -- ' : '';
    my ($initdb, $ctl) = (pg_program('initdb'), pg_program('pg_ctl'));
    my $options = "-c listen_addresses= -c unix_socket_directories=$dir/pg -c fsync=off -c shared_buffers=16MB -c autovacuum=off";
    my $init = script('pg-init', "set -e\ncd /\nmkdir $dir/pg\n" . ($> == 0 ? "chown postgres $dir/pg\n" : '')
        . "${as}$initdb -D $dir/pg/data -A trust -U postgres -E UTF8 --locale=C -N\n");
    my $start = script('pg-start', "cd /\nexec ${as}$ctl -D $dir/pg/data -w -t 60 -l $dir/pg/log -o '$options' start\n");
    my $stop  = script('pg-stop', "cd /\nexec ${as}$ctl -D $dir/pg/data -w -t 60 -m immediate stop\n");

    push @stop, $stop;
    ok(system('sh', $init) == 0 && system('sh', $start) == 0, 'a private Postgres')
        or diag(slurp("$init.log"), slurp("$start.log"), slurp("$dir/pg/log"));
    return (SI_DATABASE_URL => "host=$dir/pg user=postgres dbname=postgres", SI_TEST_START => "sh $start", SI_TEST_STOP => "sh $stop");
}

sub start_redis {
    my $password = 'p@ss/w:rd';
    my $ping  = "redis-cli -s $dir/redis.sock -a '$password' --no-auth-warning ping";
    my $start = script('redis-start', "redis-server --port 0 --unixsocket $dir/redis.sock --requirepass '$password'"
        . " --save '' --dir $dir --daemonize yes --pidfile $dir/redis.pid --logfile $dir/redis.log || exit 1\n"
        . "for i in \$(seq 600); do [ \"\$($ping)\" = PONG ] && exit 0; sleep 0.05; done; exit 1\n");
    my $stop  = script('redis-stop', "[ -f $dir/redis.pid ] || exit 0\npid=\$(cat $dir/redis.pid)\nkill -9 \$pid\n"
        . "while grep -q '^State:.[^ZX]' /proc/\$pid/status; do sleep 0.02; done\nrm -f $dir/redis.pid $dir/redis.sock\n");

    push @stop, $stop;
    ok(system('sh', $start) == 0, 'a private Redis') or diag(slurp("$start.log"), slurp("$dir/redis.log"));
    return (SI_REDIS_URL => "unix://:p%40ss%2Fw:rd\@$dir/redis.sock?db=3", SI_TEST_START => "sh $start", SI_TEST_STOP => "sh $stop");
}

for my $name (qw(pg redis counter)) {
    -x "$build/unit/$name" or BAIL_OUT("$build/unit/$name is missing: run make -C worker, or set SI_BUILD");
}

my $log = run_unit('pg', 'pg', 3, start_postgres());
like($log, qr/"sqlstate":"22P02"/, 'pg: a failed statement is logged');
unlike($log, qr/secret-7261/, 'pg: without the values of its parameters');

my %redis = start_redis();
run_unit('counter', 'counter', 0, %redis);
$log = run_unit('redis', 'redis', 0, %redis);
unlike($log, qr/p\@ss/, 'redis: the password is not logged');

for my $stop (splice @stop) {
    is(system('sh', $stop), 0, "$stop stops the server");
}
done_testing();
