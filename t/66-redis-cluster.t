# A Redis Cluster of three masters and two replicas: the unit program redis_cluster, which sends commands while slots are moved,
# a replica takes over and a master dies; then two nodes of Si, whose limits and tickets hold over it.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use SI::Redis;
use SI::Test qw(free_port poll_until run_unit slurp);
use SI::Test::Api;

my @node = cluster(2, 'cluster-require-full-coverage no', 'cluster-replica-validity-factor 0');
my %id = map { $_ => cli($_, 'cluster myid') =~ /^(\w+)/ } @node;
my $dir = redis_dir();
my ($slot) = cli($node[0], "cluster keyslot 'si:test:{ask}'") =~ /^(\d+)/;

# Shell: the port and the id of the slot's master, which is another one after slots were moved.
my $owner = 'set -- $(' . cli_line($node[0]) . " cluster nodes | awk -v s=$slot '\$3 ~ /master/ { for (i = 9; i <= NF; i++) {"
    . ' n = split($i, r, "-"); if (s >= r[1] + 0 && s <= r[n] + 0) { split($2, p, /[:@]/); print p[2], $1 } } }\'); from=$1 from_id=$2';
my $read = "set -e; read from to to_id <$dir/ask; ";
my $ask = "set -e; $owner; to=$node[2]; [ \$from = \$to ] && to=$node[0]; to_id=\$(" . cli_line('$to') . ' cluster myid); '
    . cli_line('$to') . " cluster setslot $slot importing \$from_id; "
    . cli_line('$from') . " cluster setslot $slot migrating \$to_id; echo \$from \$to \$to_id >$dir/ask";
my $loop = $read . cli_line('$from') . " migrate 127.0.0.1 \$to si:test:{ask}:old 0 5000 auth '$PASSWORD'; "
    . cli_line('$from') . " cluster setslot $slot node \$to_id";

# Half of the second master's slots move to the third; neither is in the URL, nor is the replica that takes over.
my $log = run_unit('redis_cluster', 'redis_cluster', 0,
    SI_REDIS_URL => "redis+cluster://:$LOGIN\@127.0.0.1:$node[0]",
    SI_TEST_RESHARD => "redis-cli --no-auth-warning -a '$PASSWORD' --cluster reshard 127.0.0.1:$node[0] --cluster-from $id{$node[1]}"
        . " --cluster-to $id{$node[2]} --cluster-slots 2700 --cluster-yes >$dir/reshard.log",
    SI_TEST_SWAP => cli_line($node[4]) . ' cluster failover >/dev/null; for i in $(seq 600); do ' . cli_line($node[4])
        . ' role | grep -q master && exit 0; sleep 0.05; done; exit 1',
    SI_TEST_ASK => "($ask) >$dir/ask.log 2>&1", SI_TEST_LOOP => "($loop) >$dir/loop.log 2>&1",
    SI_TEST_ASKED => $read . cli_line('$to') . " cluster setslot $slot node \$to_id >/dev/null",
    SI_TEST_KILL => "kill -9 $server{$node[0]}");
like($log, qr/redis node: 127\.0\.0\.1:$node[0]: ready: /, 'that the master has gone is told');
stop($node[0]);
says($node[1], 'cluster info', qr/cluster_state:ok.*cluster_slots_ok:16384/s);

# --- two nodes of Si ---

my $port = free_port();
mkdir "$dir/html" or die $!;
chmod 0755, $dir, "$dir/html";
spit("$dir/html/file", '');
my %si = (config => "redis:\n  url: 'redis+cluster://:$LOGIN\@127.0.0.1:$node[1],127.0.0.1:$node[2]'\n",
    nginx => "si_limit_zone \$http_x_k zone=caller:1m rate=6r/m burst=20 scope=cluster;"
        . "include $dir/si-locations.conf;");
spit("$dir/si-locations.conf", 'include ' . SI::Test::root() . "/conf/si-locations.conf; location = /file { root $dir/html; si_limit zone=caller; }");
my $here = SI::Test->start(%si);
my $there = $here->node(2);
my @both = ($here, $there);

sub limits { return $_[0]->status->{edge}{limits}{caller} }
sub get { my ($at, $k) = @_; return $at->http(GET => "/file", { "X-K" => $k })->{status} }

poll_until { (limits($_)->{nodes} // 0) == 2 or return 0 for @both; 1 } 60, 'both nodes to know of each other';
get($here, "key $_") for 1 .. 60;
my @master = grep { cli($_, 'role') =~ /master/ } @node[1 .. 4];
is(scalar @master, 3, 'three masters');
poll_until { cli($_, 'keys si:limit:*') =~ /si:limit/ or return 0 for @master; 1 } 30, 'buckets at all masters';
is(limits($here)->{degraded}, 0, 'the buckets are all over the cluster');

my $passed = 0;
poll_until { $passed += get($here, 'mine') == 200; $passed >= 20 } 30, 'a burst to be let through at one node';
my $more = 0;
poll_until { my $s = get($there, 'mine'); $more += $s == 200; $s == 429 } 30, 'the end of it';
cmp_ok($more, '<=', 11, 'and is used up at the other: it lets through its share at most');
is(limits($_)->{degraded}, 0, 'nothing is missing') for @both;

my $chat = $here->json(POST => '/v1/conversations', {})->{json}{id};
my $ticket = $here->json(POST => '/v1/tickets', { path => "/v1/conversations/$chat/events" })->{json}{ticket};
my $path = "/v1/conversations/$chat/events?ticket=$ticket";
my $stream = SI::Test::Stream->new(port => $there->port, path => $path, headers => { Accept => 'text/event-stream' });
is($stream->head->{status}, 200, 'a ticket is good at the other node');
is($here->http(GET => $path, { Accept => 'text/event-stream' })->{status}, 401, 'once');
$stream->close;
is(join("\n", map { $_->stop } $there, $here), '', 'no alert in a log, no process left');
stop($_) for @node;

done_testing();
