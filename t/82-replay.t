# An id from last month: what is over comes from Postgres, what comes meanwhile follows it, each event once.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $TURNS = 25;         # of 200 KB: more than sockets hold, so a reader that stops has the replay stop

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model, workers => 1, nginx_workers => 1, config => "history: { messages: 1 }\n");
my $conv = conversation($si);

# Its data are not parsed: they are long.
sub follow { my ($more, $headers, %o) = @_; return $si->stream(GET => "/v1/conversations/$conv/events$more", undef, $headers, decode => 0, %o) }
sub end_of { my $turn = shift; return sub { $_->{event} eq 'turn.completed' && index($_->{text}, $turn) > 0 } }
sub number { return (split /\./, $_[0]{id})[0] }

# --- a month ago ---

my %state = (5 => 'failed', 6 => 'cancelled');
for my $n (1 .. $TURNS) {
    my $state = $state{$n} // 'completed';
    my $asked = $model->count + 1;
    $model->next($state eq 'failed' ? (kind => 'status', status => 400) : $state eq 'cancelled' ? (kind => 'step') : (kind => 'tokens', tokens => [("$n " x 10000) x 10]));
    my $t = post_turn($si, $conv, "turn $n");
    if ($state eq 'cancelled') {
        $model->wait_request($asked);
        $si->json(POST => "/v1/turns/$t->{id}/cancel");
    }
    poll_until { ($si->pg("select state from turn where turn_id = '$t->{id}'"))[0] eq $state } 30, "turn $n to be $state";
}
$si->pg("update $_ set created_at = created_at - interval '31 days'") for qw(conversation turn message);
$si->redis('FLUSHALL');
my %old = map { $_ => 1 } $si->worker_pids;
kill HUP => $si->master_pid;
poll_until { my @now = $si->worker_pids; @now == 1 && !$old{ $now[0] } } 30, 'a worker that remembers nothing';
poll_until { $si->http(GET => '/readyz')->{status} == 200 } 30, 'readiness';

# --- a reader comes back, and stops in the middle; a turn runs from its beginning to its end meanwhile ---

my $reader = follow('', { 'Last-Event-ID' => '1.1' }, rcvbuf => 4096);
is $reader->next_event->{event}, 'turn.completed', 'after the first event of the first turn comes its end';
my $asked = $model->count + 1;
$model->next(kind => 'step');
my $live = post_turn($si, $conv, 'and now');
$model->wait_request($asked);
my $watch = $si->stream(GET => "/v1/turns/$live->{id}/events");
for my $word ('of ', 'today ') { $model->go($asked, $word); $watch->wait_event('delta') }
$model->finish($asked);
$watch->until_end;
is $si->status->{edge}{readers}, 0, 'a turn has begun and ended, and the reader is not there yet';
my $queued = run_turn($si, $conv, 'and then');
is $si->status->{edge}{readers}, 0, 'nor is it after another one';
my $late = post_turn($si, $conv, 'the last');
wait_turn($si, $late->{id});

$reader->wait_for(end_of($late->{id}), 'the last turn');
my @e = $reader->seen;
ok ids_grow({ id => '1.1' }, @e), 'it gets all in order, and nothing twice';
is join(' ', map { $_->{event} =~ s/^turn\.//r } grep { number($_) <= $TURNS } @e),
    join(' ', 'completed', map { ('accepted', $state{$_} // 'completed') } 2 .. $TURNS), 'of each old turn its beginning and its end';
is scalar(grep { $_->{event} eq 'turn.completed' && number($_) <= $TURNS && index($_->{text}, '"' . (number($_) . ' ') x 100000 . '"') < 0 } @e), 0, 'with the whole message';
for my $n ($TURNS + 1 .. $TURNS + 3) {
    my @t = grep { number($_) == $n } @e;
    is "$t[0]{event} $t[-1]{event}", 'turn.accepted turn.completed', "turn $n, which came meanwhile, from beginning to end";
}
my %seen = map { $_->{id} => $_->{raw} } @e;
is scalar(grep { defined $seen{ $_->{id} } && $seen{ $_->{id} } ne $_->{raw} } $watch->seen), 0, 'in the bytes that others got live';

# --- and is at the end of it now ---

my $next = post_turn($si, $conv, 'after that');
$reader->wait_for(end_of($next->{id}), 'what comes next');
my @more = grep { number($_) == $TURNS + 4 } $reader->seen;
is join(' ', map { $_->{id} } @more), join(' ', map { $TURNS + 4 . ".$_" } 1 .. @more), 'live: every event, each once';

# --- the same from the start, and ids that were not given out ---

my $start = follow('?from=start');
$start->wait_for(end_of($next->{id}), 'the last turn');
is join(' ', map { $_->{id} } grep { number($_) <= $TURNS } $start->seen), join(' ', '1.1', map { $_->{id} } grep { number($_) <= $TURNS } @e), 'from=start has the same';
is $si->json(GET => "/v1/conversations/$conv/events", undef, { 'Last-Event-ID' => $TURNS + 5 . '.1' })->{status}, 400, 'an id of the future';
is $si->json(GET => '/v1/conversations/' . conversation($si) . '/events', undef, { 'Last-Event-ID' => '1.1' })->{status}, 400, "an id of another conversation's";

done_testing;
