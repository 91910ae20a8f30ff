# One conversation, many readers: identical bytes for identical ids, late joiners, and a reader that never reads.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use SI::Model;
use SI::Test;

my $READERS = 200;

my $model = SI::Model->start;
my $si = SI::Test->start(workers => 2, nginx_workers => 2, model => $model, config => "limits: {answer_max: 4m}\n");
my $id = $si->json(POST => '/v1/conversations', {})->{json}{id};
my $events = "/v1/conversations/$id/events";

sub wait_readers {
    my $n = shift;
    poll_until { ($si->status || {})->{edge}{readers} == $n } 30, "$n readers";
}

# --- 200 readers and the sender, while a stepped answer goes on ---

$model->next(kind => 'step');
my @readers = map { $si->stream(GET => $events) } 1 .. $READERS;
SI::Test::Stream->pump_all(\@readers, sub { !grep { !$_->status } @readers }, 60, 'heads');
is scalar(grep { $_->status == 200 } @readers), $READERS, "$READERS readers were let in";

SI::Test::Stream->pump_all(\@readers, sub { !grep { !defined $_->{last_id} } @readers }, 60, 'ids');
is $readers[0]{last_id}, '0.0', 'who loses the connection before the first event has an id to resume from';

my $sender = $si->stream(POST => "/v1/conversations/$id/turns", { input => "Tell me.\r\nAll of it." });
is $sender->wait_event('turn.accepted')->{data}{number}, 1, 'the turn is accepted before the model speaks';
my $n = $model->wait_request(1);
$model->go($n, "piece $_\n") for 1 .. 5;
$sender->wait_event('delta');

# One joins in the middle and says what it has: everything later comes, once.
my $last = (map { $_->{id} } $sender->seen)[-1];
my $late = $si->stream(GET => $events, undef, { 'Last-Event-ID' => $last });
is $late->head->{status}, 200, 'a late reader is let in';
my $query = $si->stream(GET => "$events?last_event_id=$last");
is $query->head->{status}, 200, 'and one that says so in the query';
$model->go($n, "more $_ \x{2603}\n") for 1 .. 20;
$model->finish($n);

my @all = (@readers, $late, $query);
SI::Test::Stream->pump_all(\@all, sub { !grep { my $s = $_; !grep { $_->{event} eq 'turn.completed' } $s->events } @all }, 60, 'the end of the turn');
$sender->until_end;
ok $sender->complete, "the sender's stream ends whole";

my %raw = map { $_->{id} => $_->{raw} } $sender->seen;
my @want = map { $_->{id} } $sender->seen;
my ($wrong, $other) = (0, 0);
for my $r (@readers) {
    my @got = map { $_->{id} } $r->events;
    $wrong++ if "@got" ne "@want";
    $other++ if grep { $raw{ $_->{id} } ne $_->{raw} } $r->events;
}
is $wrong, 0, 'every reader got every event once, in order';
is $other, 0, 'and the same bytes for the same id';
my @later = grep { idcmp($_, $last) > 0 } @want;
for my $r ($late, $query) {
    is join(' ', map { $_->{id} } $r->events), "@later", 'who joined late got what came after its id, once';
    is scalar(grep { $raw{ $_->{id} } ne $_->{raw} } $r->events), 0, 'in the same bytes';
}

sub idcmp {
    my @a = split /\./, $_[0];
    my @b = split /\./, $_[1];
    return $a[0] <=> $b[0] || $a[1] <=> $b[1];
}

# --- one that never reads costs the others nothing and is closed ---

$_->close for @readers[5 .. $#readers], $late, $query;
@readers = @readers[0 .. 4];
my $deaf = $si->stream(GET => $events, undef, {}, rcvbuf => 2048);
wait_readers(6);
my ($closed, $sent, $turns) = (0, 0, 1);
while ($turns < 10 && !$closed) {
    $turns++;
    $model->next(kind => 'step');
    $sender = $si->stream(POST => "/v1/conversations/$id/turns", { input => 'A long one.' });
    $n = $model->wait_request($turns);
    for (1 .. 60) {
        # The others have all of it before more comes, so that only one reader is ever behind.
        $model->go($n, 'x' x 12000, 5);
        $sent += 60000;
        SI::Test::Stream->pump_all([@readers], sub { !grep { $_->{bytes} < $sent } @readers }, 60, 'the others');
        $sender->pump(0);
    }
    $model->finish($n);
    SI::Test::Stream->pump_all(\@readers,
        sub { !grep { my $s = $_; $turns != grep { $_->{event} eq 'turn.completed' } $s->events } @readers }, 60, 'the end of the turn');
    $sender->until_end;
    $closed = ($si->status || {})->{edge}{closed}{slow};
}
ok $closed, 'the reader that never reads was closed at si_stream_buffer';
is scalar(grep { $_->ended } @readers), 0, 'the others are still there';
my %long = map { $_->{id} => $_->{raw} } $sender->seen;
is scalar(grep { my $r = $_; grep { exists $long{ $_->{id} } && $long{ $_->{id} } ne $_->{raw} } $r->events } @readers), 0,
    'and have the same bytes';
is $si->http(GET => '/healthz')->{status}, 200, 'and the edge answers';
$deaf->close;

# --- readers that leave are forgotten ---

$_->rst for @readers;
wait_readers(0);
pass 'readers that reset their connections are forgotten';

done_testing;
