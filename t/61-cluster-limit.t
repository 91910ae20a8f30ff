# Limits with scope=cluster: one budget over two nodes, exact, without a request that waits for Redis.
use strict;
use warnings;
use lib 't/lib';
use File::Temp ();
use JSON::PP ();
use List::Util ();
use SI::Edge;
use SI::Test;
use Test::More;
use Time::HiRes ();

my $json = JSON::PP->new->utf8;
my $dir = File::Temp::tempdir('si-cluster-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
system('cc', qw(-std=gnu11 -O2 -D_GNU_SOURCE -Wall -Wextra -o), "$dir/rate", 't/bench/rate.c') == 0 or BAIL_OUT('t/bench/rate.c');

my $sanitized = SI::Edge->new->{module} eq '';
my $RATE = $sanitized ? 500 : 1000;
my $BURST = $RATE / 2;

# Files below /limited/ are answered by nginx alone, each with a budget of its own.
mkdir "$dir/limited";
for my $name (qw(two one local slow back)) { open my $fh, '>', "$dir/limited/$name" or die $! }
open my $conf, '>', "$dir/si-locations.conf" or die $!;
print $conf "include ${\root()}/conf/si-locations.conf; location /limited/ { root $dir; si_limit zone=caller; access_log off; add_header X-Pid \$pid always; keepalive_requests 1000000; }";
close $conf;

my $a = SI::Test->start(workers => 2, nginx_workers => 2,
    nginx => "si_limit_zone \$uri zone=caller:1m rate=${RATE}r/s burst=$BURST scope=cluster;include $dir/si-locations.conf;");
my $b = $a->node(2);

sub limits { my $s = shift->status; return $s->{edge}{limits}{caller} }
sub metrics { my $r = shift->http(GET => '/metrics'); return { $r->{body} =~ /^(si_limit_(?:slices_total|degraded|nodes)\{[^}]*\}) (\d+)$/mg } }

# Requests of a file at nodes, at the same time: what each client says, and how long all were at it: on a busy machine they do not begin together.
sub load {
    my ($file, $total, $pace, @nodes) = @_;
    my $start = Time::HiRes::time();
    my @out = map { open my $fh, '-|', "$dir/rate", $_->port, "/limited/$file", $total, $pace, 16 or die "rate: $!"; $fh } @nodes;
    my @r = map { my $fh = $_; my $line = <$fh> // ''; close $fh; $json->decode($line) } @out;
    $_->{all} = Time::HiRes::time() - $start for @r;
    note explain \@r;
    is $_->{passed} + $_->{limited}, $total, 'every request is answered with 200 or 429' for @r;
    return @r;
}

sub sum { my ($key, @r) = @_; my $n = 0; $n += $_->{$key} for @r; return $n }
sub longest { my $key = shift; return List::Util::max(map { $_->{$key} } @_) }

# While the machine has no time for nginx or the client nobody asks, and what nobody asks for is not kept: a node holds 150 ms' worth.
sub within {
    my ($rate, $burst, $what, @r) = @_;
    my ($seconds, $all, $pause, $passed) = (longest(seconds => @r), longest(all => @r), longest(pause => @r), sum(passed => @r));
    my $lost = $rate * ($pause > 0.1 ? $pause : 0);
    cmp_ok $passed, '<=', 1.01 * $rate * $all + $burst, "$what: not above the limit by 1 %";
    cmp_ok $passed, '>=', 0.98 * $rate * $seconds + $burst - $lost, "$what: nor below it by 2 %, for short pauses add up";
}

poll_until { (limits($_)->{nodes} // 0) == 2 or return 0 for $a, $b; 1 } 60, 'both nodes to know of each other';

my @r = load('two', 10 * $RATE, $RATE, $a, $b);
within($RATE, $BURST, 'two nodes at twice the rate', @r);
my ($here, $there) = (limits($a), limits($b));
cmp_ok $here->{asked} + $there->{asked}, '<', 20 * $RATE / 4, 'without a round trip for each request';
cmp_ok $_->{granted}, '>', 0, 'slices were granted' for $here, $there;

@r = load('one', 12 * $RATE, 2 * $RATE, $b);
within($RATE, $BURST, 'one busy node', @r);

my $m = metrics($b);
is $m->{'si_limit_degraded{zone="caller"}'}, 0, 'not degraded';
is $m->{'si_limit_nodes{zone="caller"}'}, 2, 'the nodes in the metrics';
my $s = limits($b);
is $m->{"si_limit_slices_total{zone=\"caller\",result=\"$_\"}"}, $s->{$_}, "$_ in the metrics" for qw(asked granted denied);
cmp_ok $s->{denied} + $s->{granted}, '<=', $s->{asked}, 'each slice was asked for';
is $a->redis('exists', 'si:limit:{caller:none}'), 0, 'Redis answers';
poll_until { !grep { /si:limit/ } split /\n/, $a->redis('keys', 'si:limit:*') } 30, 'what is not used any more to leave Redis';

# --- Redis stands still: nobody waits for it ---

my $redis = $a->redis_pid;
kill STOP => $redis;
@r = load('slow', 2 * $RATE, 2 * $RATE, $a);
cmp_ok $r[0]{seconds}, '<', 1 + ($sanitized ? 10 : 4), 'requests go on while Redis stands still';
cmp_ok $r[0]{passed}, '>=', $BURST / 2, 'on the share of the node';
poll_until { limits($a)->{degraded} } 30, 'the node to be degraded';
like $a->http(GET => '/limited/back')->{headers}{ratelimit}, qr/^"caller";r=\d+;t=\d+;share=2$/, 'which the header tells';
kill CONT => $redis;
poll_until { !limits($_)->{degraded} or return 0 for $a, $b; 1 } 30, 'the budget of the cluster';
unlike $a->http(GET => '/limited/back')->{headers}{ratelimit}, qr/share/, 'is in force again';

# --- Redis dies and comes back ---

$a->kill_redis;
poll_until { limits($_)->{degraded} or return 0 for $a, $b; 1 } 30, 'both to be degraded';
is metrics($b)->{'si_limit_degraded{zone="caller"}'}, 1, 'in the metrics, too';
@r = load('local', 4 * $RATE, $RATE, $a, $b);
within($RATE / 2, $BURST / 2, 'the share of one node', $_) for @r;
$a->start_redis;
poll_until { !limits($_)->{degraded} or return 0 for $a, $b; 1 } 60, 'both to be back';
@r = load('back', 6 * $RATE, 2 * $RATE, $a);
cmp_ok $r[0]{passed}, '>=', 0.98 * $RATE * $r[0]{seconds}, 'one node has the whole rate again';
like SI::Test::slurp($a->dir . '/logs/worker.log'), qr/limits of the cluster: each node has its share until Redis answers/, 'the worker has said so';

done_testing();
