# What dies, and what is lost: nothing that was accepted.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use SI::Model;
use SI::Test;

my $model = SI::Model->start;
my $si = SI::Test->start(workers => 2, nginx_workers => 1, model => $model);

sub conversation { $si->json(POST => '/v1/conversations', {})->{json}{id} }
sub send_turn { my ($c, $text) = @_; $si->stream(POST => "/v1/conversations/$c/turns", { input => $text }) }

# The pid of the worker that runs this turn, from /status.
sub runs_at {
    my $turn = shift;
    return poll_until {
        my ($w) = grep { my $w = $_; grep { $_->{turn} eq $turn } @{ $w->{running} || [] } } @{ ($si->status || {})->{workers} || [] };
        $w && ($w->{worker} =~ /\.(\d+)$/)[0];
    } 30, "turn $turn in /status";
}

# --- a si-worker is killed in the middle of an answer ---

my $c = conversation();
$model->next(kind => 'step');
my $reader = $si->stream(GET => "/v1/conversations/$c/events");
is $reader->head->{status}, 200, 'a reader follows the conversation';
my $sender = send_turn($c, 'Survive this.');
my $turn = $sender->wait_event('turn.accepted')->{data}{turn};
$model->wait_request(1);
$model->go(1, 'half an ');
is $sender->wait_event('delta')->{data}{text}, 'half an ', 'the answer begins';
$reader->wait_event('delta');

my $pid = runs_at($turn);
$model->next(kind => 'tokens', tokens => ['a ', 'whole ', 'answer']);
$si->kill9($pid);
my $restarted = $reader->wait_event('turn.restarted');
is $restarted->{data}{attempt}, 1, 'the reader is told that the turn starts again, on the same connection';
is $reader->wait_event('turn.completed')->{data}{message}{content}, 'a whole answer', 'and gets the whole answer';
is $sender->wait_event('turn.restarted')->{data}{turn}, $turn, 'so is the sender';
is $sender->wait_event('turn.completed')->{data}{message}{content}, 'a whole answer', 'and gets it too';
$sender->until_end;
ok $sender->complete, 'its stream ends whole';
my @ids = map { [split /\./, $_->{id}] } $reader->seen;
is scalar(grep { $ids[$_ - 1][0] > $ids[$_][0] || ($ids[$_ - 1][0] == $ids[$_][0] && $ids[$_ - 1][1] >= $ids[$_][1]) } 1 .. $#ids), 0,
    'ids only grow';
is $si->json(GET => "/v1/turns/$turn")->{json}{state}, 'completed', 'the turn is completed in the store';
poll_until { 2 == (() = $si->worker_pids) } 30, 'the respawned worker';
pass 'the worker was respawned';
is send_turn($c, 'And now?')->wait_event('turn.completed')->{data}{number}, 2, 'new turns work at once';

# --- a turn whose worker dies and nobody reads ---

$c = conversation();
$model->next(kind => 'step');
my $r = $si->json(POST => "/v1/conversations/$c/turns", { input => 'Nobody looks.' }, { Prefer => 'respond-async' });
is $r->{status}, 202, 'a turn without a reader';
$turn = $r->{json}{id};
$model->wait_request($model->count);
poll_until { $si->json(GET => "/v1/turns/$turn")->{json}{state} eq 'running' } 30, 'it runs';
$pid = runs_at($turn);
$model->next(kind => 'tokens', tokens => ['found']);
$si->kill9($pid);
poll_until { $si->json(GET => "/v1/turns/$turn")->{json}{state} eq 'completed' } 60, 'the turn to be taken over';
is $si->json(GET => "/v1/turns/$turn")->{json}{output}, 'found', 'is taken over all the same';

# --- a JSON caller does not even notice ---

$c = conversation();
poll_until { 2 == (() = $si->worker_pids) } 30, 'both workers';
my $before = $model->count;
$model->next(kind => 'step');
my $waiting = SI::Test::Stream->new(port => $si->port, method => 'POST', path => "/v1/conversations/$c/turns", keep_body => 1,
    headers => $si->auth({ 'Content-Type' => 'application/json', Connection => 'close' }), request_body => '{"input":"wait"}');
$model->wait_request($before + 1);
($turn) = $si->pg("select turn_id from turn where conversation_id = '$c'");
$pid = runs_at($turn);
$model->next(kind => 'tokens', tokens => ['patience']);
$si->kill9($pid);
is SI::Test::answer($waiting)->{status}, 200, 'a caller that waits for JSON gets 200';
is scalar($si->pg("select count(*) from turn where conversation_id = '$c'")), 1, 'and the turn ran as one';
like $waiting->{body}, qr/"output":"patience"/, 'with its answer';

# --- a turn that kills its worker again and again ends ---

poll_until { 2 == (() = $si->worker_pids) } 30, 'both workers';
$c = conversation();
$model->next({ kind => 'step' }, { kind => 'step' });
$before = $model->count;
$sender = send_turn($c, 'Poison.');
$turn = $sender->wait_event('turn.accepted')->{data}{turn};
for my $try (1, 2) {
    $model->wait_request($before + $try);
    $si->kill9(runs_at($turn));
}
my $failed = $sender->wait_event('turn.failed', 60);
is $failed->{data}{code}, 'worker_died', 'a turn that kills two workers fails';
is $si->json(GET => "/v1/turns/$turn")->{json}{error}{code}, 'worker_died', 'in the store too';

# --- a worker dies while it takes a turn over: what it did not store, it did not say ---

poll_until { 2 == (() = $si->worker_pids) } 30, 'both workers';
$c = conversation();
$model->next(kind => 'step');
$before = $model->count;
$reader = $si->stream(GET => "/v1/conversations/$c/events");
$reader->head;
$turn = send_turn($c, 'Twice in a row.')->wait_event('turn.started')->{data}{turn};
$reader->wait_event('turn.started');
$model->wait_request($before + 1);
$pid = runs_at($turn);
my $psql = $si->lock(turn => "turn_id = '$turn'");
$si->kill9($pid);
poll_until { $si->pg("select 1 from pg_stat_activity where usename = 'si_worker' and wait_event_type = 'Lock'") } 30, 'the takeover';
my $second = runs_at($turn);
isnt $second, $pid, 'another worker takes it over';
$si->kill9($second);
$si->pg("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'si_worker' and wait_event_type = 'Lock'");
$si->unlock($psql);
is $reader->wait_event(qr/^turn\.(?:completed|failed)/, 60)->{event}, 'turn.completed', 'a third one ends it';
my %seen;
is_deeply [grep { $seen{$_}++ } map { $_->{id} } $reader->seen], [], 'no event came twice';

# --- a new worker has the process id of one that died a while ago: it begins anew as another one ---

poll_until { 2 == (() = $si->worker_pids) } 30, 'both workers';
my ($node) = $si->pg("select split_part(instance, '/', 1) from worker limit 1");
$si->pg("insert into worker select '$node/' || slot || '.' || pid, now(), true from generate_series(0, 1) slot, generate_series(1, 99999) pid on conflict do nothing");
$si->kill9(($si->worker_pids)[0]);
poll_until { slurp($si->dir . '/logs/worker.log') =~ /had this name/ } 30, 'a name that is taken';
$si->pg("delete from worker where buried");
poll_until { 2 == @{ ($si->status || {})->{workers} || [] } } 30, 'both workers again';
is $si->json(POST => "/v1/conversations/$c/turns", { input => 'All well?' })->{status}, 200, 'a name that a dead worker had is not taken';

# --- an nginx worker is killed: clients come back and resume ---

poll_until { 2 == (() = $si->worker_pids) } 30, 'both workers';
$c = conversation();
$model->next(kind => 'step');
$before = $model->count;
$reader = $si->stream(GET => "/v1/conversations/$c/events");
$reader->head;
$sender = send_turn($c, 'The edge dies.');
my $id = $sender->wait_event('turn.started')->{id};
$turn = $sender->{seen}[0]{data}{turn};
$model->wait_request($before + 1);
$si->kill9(($si->nginx_pids)[0]);
poll_until { $sender->pump(0.1); $sender->ended } 30, 'the reset';
isnt $sender->ended, 'whole', 'a reader of a dead edge sees no whole answer';
poll_until { eval { $si->http(GET => '/healthz')->{status} == 200 } } 30, 'a new nginx worker';
$model->go($before + 1, 'still here');
$model->finish($before + 1);
my $again = $si->stream(GET => "/v1/turns/$turn/events", undef, { 'Last-Event-ID' => $id });
is $again->wait_event('turn.completed')->{data}{message}{content}, 'still here', 'the turn went on, and its reader resumes';
like join(' ', map { $_->{event} } $again->seen), qr/^(?:delta )?turn\.completed$/, 'with exactly what was missing, whoever answers';

done_testing;
