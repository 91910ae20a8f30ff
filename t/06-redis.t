# Redis of several servers: the unit program redis with a sentinel, whose master falls silent; with a list of servers, whose
# master steps down; and with a cluster, one of whose nodes is killed. Then two nodes of Si at that cluster. t/01-io.t has the
# single server.
use strict;
use warnings;
use FindBin;
use IO::Socket::INET;
use lib "$FindBin::Bin/lib";
use POSIX qw(_exit);
use Test::More;
use SI::Model;
use SI::Redis;
use SI::Test qw(free_port poll_until run_unit slurp);

my $build = SI::Test::build_dir();
my $dir   = redis_dir();
my $sentinel;                           # its port

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
my $login  = $LOGIN;

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

my @node = cluster(0, 'cluster-require-full-coverage no');

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
