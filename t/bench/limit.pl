# For scripts/bench limit: one budget at twice its rate, REQUESTS in all: over two processes of one nginx, then over two nodes
# that share it through Redis (scope=cluster). Prints what was let through against rate x time + burst; ends with 1 when that is
# off by more than 1 %.
use strict;
use warnings;
use lib 't/lib';
use File::Temp ();
use JSON::PP ();
use List::Util qw(max sum);
use SI::Edge;
use SI::Test;

my ($bin, $requests) = @ARGV;
my $RATE  = 1000;
my $BURST = $RATE / 2;
my $CONNECTIONS = 16;
my $json = JSON::PP->new->utf8;
my $dir = File::Temp::tempdir('si-limit-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
mkdir "$dir/limited";
for my $name (qw(cluster node warm)) { open my $fh, '>', "$dir/limited/$name" or die $! }
my $missed = 0;

# A node with two nginx processes, whose zone has this scope. At $port, if it is given, the kernel deals connections out to both;
# at the usual one the first that wakes takes all that come at once.
sub start {
    my ($scope, $port) = @_;
    open my $conf, '>', "$dir/si-locations.conf" or die $!;
    print $conf $port ? "listen 127.0.0.1:$port reuseport; " : '', 'include ', root(), "/conf/si-locations.conf; location /limited/ { root $dir; si_limit zone=caller; access_log off; add_header X-Pid \$pid always; keepalive_requests 10000000; }";
    close $conf;
    return SI::Test->start(workers => 2, nginx_workers => 2,
        nginx => "si_limit_zone \$uri zone=caller:1m rate=${RATE}r/s burst=$BURST scope=$scope;include $dir/si-locations.conf;");
}

# All at twice the rate together.
sub load {
    my ($file, @ports) = @_;
    my ($each, $pace) = map { int $_ / @ports } $requests, 2 * $RATE;
    my @out = map { open my $fh, '-|', "$bin/rate", $_, "/limited/$file", $each, $pace, $CONNECTIONS or die "rate: $!"; $fh } @ports;
    return map { my $fh = $_; my $line = <$fh> // ''; close $fh; $json->decode($line) } @out;
}

sub told {
    my ($what, @r) = @_;
    my ($passed, $limited, $others) = map { my $key = $_; sum(map { $_->{$key} } @r) } qw(passed limited others);
    my $seconds = max(map { $_->{seconds} } @r);
    my $wanted = $RATE * $seconds + $BURST;
    my $off = 100 * ($passed - $wanted) / $wanted;
    my $bad = abs $off > 1 || $others || $passed + $limited != int($requests / @r) * @r;
    $missed ||= $bad;
    printf "%s: %d requests in %.1f s, %d let through, rate x time + burst is %.0f: %+.2f %% (bound 1)%s\n",
        $what, $passed + $limited + $others, $seconds, $passed, $wanted, $off, $bad ? ' MISSED' : '';
}

my $port = SI::Edge::free_port();
my $one = start('node', $port);
my ($r) = load('node', $port);
my @share = map { 100 * $_ / $requests } @{ $r->{pids} };
told(sprintf('two nginx processes, which answered %s', join ' and ', map { sprintf '%.0f %%', $_ } @share), $r);
if (@share != 2 || grep { $_ < 10 } @share) {
    print "one of the two had next to nothing to do: MISSED\n";
    $missed = 1;
}
$one->stop;

my $a = start('cluster');
my $b = $a->node(2);
for my $node ($a, $b) {
    poll_until { $node->http(GET => '/limited/warm'); (($node->status || {})->{edge}{limits}{caller}{nodes} // 0) == 2 } 60, 'both nodes to know of each other';
}
told('two nodes', load('cluster', map { $_->port } $a, $b));
my @limits = map { $_->status->{edge}{limits}{caller} } $a, $b;
printf "questions to Redis: %d for %d requests\n", sum(map { $_->{asked} } @limits), $requests;
$missed ||= grep { $_->{degraded} } @limits;
$_->stop for $b, $a;
exit($missed ? 1 : 0);
