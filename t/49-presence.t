# How many read a conversation: over nginx processes, workers and nodes.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use SI::Test;

# The lease is long: a worker that is stopped for a moment must not be taken for dead.
my $a = SI::Test->start(workers => 2, nginx_workers => 2, config => "lease: 60s\n");
my $b = $a->node(2, workers => 1, nginx_workers => 1);
my $c = $a->json(POST => '/v1/conversations', {})->{json}{id};
my $other = $a->json(POST => '/v1/conversations', {})->{json}{id};
my @nginx = $a->nginx_pids;

sub ask { my ($node, $id) = @_; my $r = $node->json(GET => '/v1/conversations/' . ($id || $c) . '/readers'); return $r->{json} || die "$r->{status} $r->{body}\n" }
sub text { my $r = shift; return $r->{readers} . ($r->{complete} ? '' : ' at least') }

# They come to say so. A reader is counted a second after it came at the latest, if the machine has time.
sub said_at {
    my ($node, $want, $what, $id) = @_;
    my $last = '';
    eval { poll_until { ($last = text(ask($node, $id))) eq $want } };
    is $last, $want, $what;
}

sub count_is {
    my ($want, $what) = @_;
    said_at($a, $want, $what);
    said_at($b, $want, "$what, also at the other node");
}

sub reader {
    my ($node, $id) = @_;
    my $s = $node->stream(GET => '/v1/conversations/' . ($id || $c) . '/events');
    $s->head;
    return $s;
}

# A reader through this nginx process: the other one is stopped while it comes.
sub reader_at {
    my $pid = shift;
    my @others = grep { $_ != $pid } @nginx;
    kill STOP => @others;
    for my $other (@others) { poll_until { slurp("/proc/$other/stat") =~ /\) T / } undef, 'it to stop' }
    my $s = eval { reader($a) };
    kill CONT => @others;
    return $s || die $@;
}

count_is('0', 'nobody reads');
my @here = map { reader_at($nginx[0]) } 1, 2;
count_is('2', 'two readers through one nginx process');
my $second = reader_at($nginx[1]);
count_is('3', 'a third through another');
my $far = reader($b);
count_is('4', 'a fourth at the other node');
my $elsewhere = reader($a, $other);
said_at($b, '1', 'another conversation has its own', $other);
count_is('4', 'which do not count here');

is $a->json(HEAD => "/v1/conversations/$c/readers")->{status}, 200, 'HEAD';
is $a->json(POST => "/v1/conversations/$c/readers", {})->{status}, 405, 'POST is not for it';
is $a->http(GET => "/v1/conversations/$c/readers")->{status}, 401, 'nor is it for those without a key';

# A machine that has no time may miss the deadline of an answer.
my %told;
eval {
    poll_until {
        my @burst = map { SI::Test::Stream->new(port => $a->port, path => "/v1/conversations/$c/readers", headers => $a->auth, keep_body => 1) } 1 .. 100;
        %told = ();
        $told{ $_->body }++ for @burst;
        keys %told == 1
    }
};
is_deeply \%told, { '{"readers":4,"complete":true}' => 100 }, 'a hundred who ask at once are all told';

# --- some go ---

$here[0]->close;
count_is('3', 'one has left');
$a->kill9($nginx[1]);
count_is('2', 'an nginx process was killed: its reader does not count');
is $second->until_end, 0, 'and was cut off';
poll_until { (@nginx = $a->nginx_pids) == 2 } undef, 'a new nginx process';
push @here, reader_at((grep { $_ != $nginx[0] } @nginx)[0]);
count_is('3', 'who comes back does');

# --- a worker that cannot answer ---

my ($mute) = $b->worker_pids;
kill STOP => $mute;
said_at($a, '2 at least', 'a worker does not answer: what is known, and that it is not all');
kill CONT => $mute;
count_is('3', 'it answers again');

# --- a worker dies; its readers are resumed ---

$a->kill9($_) for $a->worker_pids;
count_is('3', 'after the death of the workers, when their readers have been resumed');

# --- Redis ---

$a->kill_redis;
my @seen = map { ask($_) } $a, $b;
is scalar(grep { $_->{complete} } @seen), 0, 'without Redis no count is complete';
is $seen[1]{readers}, 1, 'it is that of the worker that was asked';
$a->start_redis;
count_is('3', 'when it is back all are counted');

# --- a node leaves in good order ---

$far->close;
$b->stop;
said_at($a, '2', 'a node that has left is asked no more');

$_->close for @here, $elsewhere;
said_at($a, '0', 'nobody is left');

done_testing;
