# Redis of several servers: the unit program redis with a sentinel, whose master falls silent; with a list of servers, whose
# master steps down; and with a cluster, one of whose nodes is killed. Then two nodes of Si at that cluster. t/01-io.t has the
# single server.
use strict;
use warnings;
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use FindBin;
use IO::Socket::INET;
use lib "$FindBin::Bin/lib";
use POSIX qw(_exit);
use Test::More;
use SI::Model;
use SI::Test qw(free_port poll_until run_unit slurp);

my $PASSWORD = 'p@ss/w:rd';
my $build    = SI::Test::build_dir();
my $dir      = tempdir('si-redis-XXXXXX', TMPDIR => 1);
my $main     = $$;
my %server;                             # port -> pid
my $sentinel;                           # its port

END {
    if ($$ == $main) {
        my $status = $?;
        stop($_) for keys %server;
        remove_tree($dir);
        $? = $status;
    }
}

sub stop {
    my $pid = delete $server{ $_[0] } or return;
    kill KILL => $pid;
    waitpid $pid, 0;
}

sub spit {
    my ($path, $text) = @_;
    open my $f, '>', $path or die "$path: $!";
    print $f $text;
    close $f or die "$path: $!";
    return $path;
}

# Starts a server on a free port, which is returned. @how: further arguments, as --sentinel.
sub server {
    my ($lines, @how) = @_;
    my $port = free_port();
    my $home = "$dir/$port";
    mkdir $home or die "$home: $!";
    my $conf = spit("$home/redis.conf", "bind 127.0.0.1\nport $port\ndir $home\nlogfile $home/log\n$lines");
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$home/out";
        open STDERR, '>&', \*STDOUT;
        exec 'redis-server', $conf, @how or _exit(127);
    }
    $server{$port} = $pid;
    return $port;
}

sub store { server("save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n" . join '', map { "$_\n" } @_) }

sub cli_line { "redis-cli --no-auth-warning -a '$PASSWORD' -p $_[0]" }

sub cli {
    my ($port, $command) = @_;
    my $line = cli_line($port);
    return scalar `$line $command 2>&1`;
}

sub says {
    my ($port, $command, $want) = @_;
    ok(eval { poll_until { cli($port, $command) =~ $want } 30 }, "$command of $port: $want")
        or diag(cli($port, $command), slurp("$dir/$port/log"));
}

sub moves {
    my ($name, %env) = @_;
    my $log = run_unit('redis', $name, 0, %env);
    unlike($log, qr/p\@ss/, "$name: the password is not logged");
    return $log;
}

# With this URL the program cannot connect, and its log says why.
sub gives_up {
    my ($url, $why) = @_;
    my $log = spit("$dir/gives-up.log", '');
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        @ENV{qw(SI_REDIS_URL SI_TEST_FROM SI_TEST_TO SI_TEST_MOVE)} = ($url, 0, 0, 'false');
        open STDOUT, '>', '/dev/null';
        open STDERR, '>>', $log or _exit(127);
        exec "$build/unit/redis" or _exit(127);
    }
    my $told = eval { poll_until { slurp($log) =~ $why } 30 };
    kill KILL => $pid;
    waitpid $pid, 0;
    ok($told, "refused: $why") or diag(slurp($log));
    unlike(slurp($log), qr/-> ready/, 'never ready');
}

-x "$build/unit/redis" or BAIL_OUT("$build/unit/redis is missing: run scripts/build");

my $nobody = free_port();               # where nothing listens
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 8) or die "listen: $!";     # connects, never answers
my @login  = ("requirepass $PASSWORD", "masterauth $PASSWORD");
my $login  = 'p%40ss%2Fw:rd';

# --- a sentinel ---

my $master = store(@login);
says($master, 'ping', qr/PONG/);
my $replica = store(@login, "replicaof 127.0.0.1 $master");
says($replica, 'info replication', qr/master_link_status:up/);
$sentinel = server("requirepass $PASSWORD\nsentinel monitor main 127.0.0.1 $master 1\nsentinel auth-pass main $PASSWORD\n"
    . "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n", '--sentinel');
says($sentinel, 'sentinel replicas main', qr/\b$replica\b/);
says($sentinel, 'info sentinel', qr/status=ok,.*slaves=1/);

my $log = moves('sentinel', SI_REDIS_URL => "redis+sentinel://:$login\@127.0.0.1:$nobody,127.0.0.1:$sentinel/main/3",
    SI_TEST_FROM => $master, SI_TEST_TO => $replica, SI_TEST_MOVE => "kill -STOP $server{$master}");
like($log, qr/redis $_: connected to 127\.0\.0\.1:$replica"/, "the $_ connection has found the new master") for qw(command subscriber);
stop($master);

# A sentinel that does not know the name, or that does not let us in.
gives_up("redis+sentinel://:$login\@127.0.0.1:$sentinel/other", qr/asking a sentinel: it knows no master of that name/);
gives_up("redis+sentinel://:wrong\@127.0.0.1:$sentinel/main", qr/asking a sentinel: (?:WRONGPASS|ERR invalid password)/);
gives_up("redis+sentinel://127.0.0.1:$sentinel/main", qr/asking a sentinel: NOAUTH/);
stop($_) for $sentinel, $replica;

# --- a list of servers ---

my ($first, $second) = (store(@login), store(@login));
says($_, 'ping', qr/PONG/) for $first, $second;
cli($second, "replicaof 127.0.0.1 $first");
says($second, 'info replication', qr/master_link_status:up/);
my ($first_cli, $second_cli) = (cli_line($first), cli_line($second));
gives_up("redis://127.0.0.1:$nobody,127.0.0.1:$first", qr/setup: NOAUTH/);
gives_up("redis://:$login\@127.0.0.1:$nobody,127.0.0.1:$second", qr/setup: not the master/);
gives_up("redis+cluster://:$login\@127.0.0.1:$nobody,127.0.0.1:$first", qr/setup: ERR This instance has cluster support disabled/);
my $hosts = join ',', map { "127.0.0.1:$_" } $nobody, $silent->sockport, $second, $first;
$log = moves('list', SI_REDIS_URL => "redis://:$login\@$hosts",
    SI_TEST_FROM => $first, SI_TEST_TO => $second,
    SI_TEST_MOVE => "$second_cli replicaof no one >/dev/null && $first_cli replicaof 127.0.0.1 $second >/dev/null");
like($log, qr/127\.0\.0\.1:$first: ready: not the master/, 'a master that steps down without a word is left');
stop($_) for $first, $second;

# --- a cluster ---

my (@node, %bus);
for my $i (1 .. 3) {
    my $bus = free_port();
    my $port = store(@login, 'cluster-enabled yes', 'cluster-node-timeout 1000', "cluster-port $bus",
        'cluster-config-file nodes.conf', 'cluster-require-full-coverage no');
    $bus{$port} = $bus;
    push @node, $port;
}
for my $i (0 .. 2) {
    says($node[$i], 'ping', qr/PONG/);
    cli($node[$i], 'cluster set-config-epoch ' . ($i + 1));
    cli($node[$i], 'cluster addslotsrange ' . join ' ', @{ [[0, 5460], [5461, 10922], [10923, 16383]]->[$i] });
}
cli($node[0], "cluster meet 127.0.0.1 $_ $bus{$_}") for @node[1, 2];
says($_, 'cluster info', qr/cluster_state:ok.*cluster_slots_ok:16384.*cluster_known_nodes:3/s) for @node;
says($_, 'cluster nodes', qr/^(?:.* connected .*\n){3}/) for @node;

moves('cluster', SI_REDIS_URL => "redis+cluster://:$login\@" . join(',', map { "127.0.0.1:$_" } $nobody, @node),
    SI_TEST_FROM => $node[0], SI_TEST_TO => $node[1], SI_TEST_MOVE => "kill -9 $server{$node[0]}",
    SI_TEST_ELSEWHERE => cli_line($node[2]) . ' publish early elsewhere >/dev/null');

# --- two nodes of Si, each at its own node of the cluster ---

sub config { "redis:\n  url: 'redis+cluster://:$login\@127.0.0.1:$_[0]'\n" }

my $model = SI::Model->start;
my $here  = SI::Test->start(model => $model, config => config($node[1]));
my $there = $here->node(2, config => config($node[2]));
my $path  = '/v1/conversations/' . $here->json(POST => '/v1/conversations', {})->{json}{id};
$model->next(kind => 'step');
my $sender = $here->stream(POST => "$path/turns", { input => 'Who reads this?' });
$model->wait_request(1);
$model->go(1, 'first ');
$sender->wait_event('delta');
my $reader = $there->stream(GET => "$path/events");
is($reader->wait_event('delta')->{data}{text}, 'first ', 'a turn of one is read at the other');
$model->go(1, 'second');
is($reader->wait_event('delta')->{data}{text}, 'second', 'while it runs');
$model->finish(1);
$reader->wait_event('turn.completed');
is(join("\n", map { $_->stop } $there, $here), '', 'no alert in a log, no process left');
stop($_) for @node;

is(join(' ', keys %server), '', 'every server is stopped');
done_testing();
