# Postgres and Redis go away: nothing is lost, nobody is told that a key is wrong, and all goes on when they are back.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use SI::Model;
use SI::Test;

my $model = SI::Model->start;
my $si = SI::Test->start(workers => 2, nginx_workers => 1, model => $model);
my $c = $si->json(POST => '/v1/conversations', {})->{json}{id};

# A turn, sent as a client sends it: 503 means later.
sub send_turn {
    my $text = shift;
    return poll_until {
        my $s = $si->stream(POST => "/v1/conversations/$c/turns", { input => $text });
        $s->head->{status} == 503 ? 0 : $s;
    } 60, 'a turn to be taken';
}

# --- Postgres hangs in the middle of an answer ---

$model->next(kind => 'step');
my $s = send_turn('Will this be kept?');
my $turn = $s->wait_event('turn.started')->{data}{turn};
$model->wait_request(1);
my @frozen = $si->postgres_pids;
kill STOP => @frozen;
$model->go(1, 'it reaches ');
is $s->wait_event('delta')->{data}{text}, 'it reaches ', 'an answer reaches its readers while Postgres hangs';
$model->go(1, 'its reader');
$model->finish(1);
is $s->wait_event('delta')->{data}{text}, 'its reader', 'to the last word';
my $r = $si->json(POST => "/v1/conversations/$c/turns", { input => 'Another.' });
is $r->{status}, 503, 'a new turn is refused for now';
is $r->{json}{code}, 'store_unavailable', 'for the right reason';
ok $r->{headers}{'retry-after'}, 'with Retry-After';
is scalar(grep { $_->{event} eq 'turn.completed' } $s->events, $s->seen), 0, 'the turn is not said to be complete before it is stored';
kill CONT => @frozen;
is $s->wait_event('turn.completed', 60)->{data}{message}{content}, 'it reaches its reader', 'it completes when Postgres is back';
is $si->json(GET => "/v1/turns/$turn")->{json}{output}, 'it reaches its reader', 'and is stored';

# The refused turn may stand in the store all the same: then it is answered, too, and must not take what the next one needs.
poll_until { slurp("$si->{dir}/logs/worker.log") =~ /compared with the store again/ } 60, 'the refused turn to be looked for';
poll_until { !grep { $_ } $si->pg("select count(*) from turn where finished_at is null") } 60, 'its end, if it is there';

# --- Postgres hangs, the answer ends, and then its worker dies too ---

$model->next(kind => 'step');
my $asked = $model->count + 1;
$s = send_turn('And if the worker dies as well?');
$turn = $s->wait_event('turn.started')->{data}{turn};
$model->wait_request($asked);
@frozen = $si->postgres_pids;
kill STOP => @frozen;
$model->go($asked, 'kept on disk');
$model->finish($asked);
$s->wait_event('delta');
poll_until { -e "$si->{dir}/run/journal/$turn.json" } 60, 'the end of the turn on disk';
my $journal = slurp("$si->{dir}/run/journal/$turn.json");
my $ended = $turn;
$si->kill9($_) for $si->worker_pids;
kill CONT => @frozen;
is $s->wait_event('turn.completed', 60)->{data}{message}{content}, 'kept on disk', 'an answer outlives Postgres and its worker';
is scalar(grep { $_->{event} eq 'turn.restarted' } $s->seen), 0, 'it was not begun again';
is $model->count, $asked, 'and the model was not asked again';
is $si->json(GET => "/v1/turns/$turn")->{json}{output}, 'kept on disk', 'it is stored';

# --- an end that was kept of an attempt, and another worker has begun anew since, is worth nothing ---

$model->next({ kind => 'step' }, { kind => 'step' });
$asked = $model->count + 1;
$s = send_turn('Kept, and then begun anew.');
$turn = $s->wait_event('turn.started')->{data}{turn};
$model->wait_request($asked);
# Both at once: a worker that took the turn over and was killed next would have failed it already.
my @both = $si->worker_pids;
kill STOP => @both;
$si->kill9($_) for @both;
$model->wait_request($asked + 1);
open my $kept, '>', "$si->{dir}/run/journal/$turn.json" or die "journal: $!";
print $kept $journal =~ s/\Q$ended\E/$turn/r;
close $kept;
$si->kill9($_) for $si->worker_pids;
is $s->wait_event(qr/^turn\.(?:completed|failed)/, 60)->{data}{code}, 'worker_died', 'the end of an attempt before is not taken';

# --- Postgres crashes and recovers ---

$model->next(kind => 'step');
my $before = $model->count;
$s = send_turn('And now?');
$turn = $s->wait_event('turn.started')->{data}{turn};
$model->wait_request($before + 1);
ok $si->crash_postgres, 'a connection of a worker dies';
$model->go($before + 1, 'crash ');
$model->go($before + 1, 'proof');
$model->finish($before + 1);
is $s->wait_event('turn.completed', 60)->{data}{message}{content}, 'crash proof', 'an answer outlives a crash of Postgres';
poll_until { $si->json(GET => "/v1/turns/$turn")->{status} == 200 } 30, 'the workers to reconnect';
is $si->json(GET => "/v1/turns/$turn")->{json}{state}, 'completed', 'and is stored';
my %codes;
$codes{ $si->json(GET => "/v1/conversations/$c")->{status} }++ for 1 .. 20;
is_deeply [keys %codes], [200], 'all is well again';

# --- a turn whose insert got no answer: it may stand in the store or not, but no turn is ever left behind ---

my $psql = $si->lock(claim => "conversation_id = '$c'");
is $si->json(POST => "/v1/conversations/$c/turns", { input => 'Lost or not?' })->{status}, 503, 'a turn that cannot be stored is refused';
$si->unlock($psql);
my $after = poll_until { my $r = $si->json(POST => "/v1/conversations/$c/turns", { input => 'After.' }); $r->{status} == 200 && $r } 60, 'turns again';
is $after->{json}{state}, 'completed', 'the next one is answered';
poll_until { !grep { $_ } $si->pg("select count(*) from turn where conversation_id = '$c' and finished_at is null") } 60, 'all turns of the conversation to end';
my $all = $si->stream(GET => "/v1/conversations/$c/events?from=start");
my $last = ($si->pg("select max(number) from turn where conversation_id = '$c'"))[0];
my @accepted;
while (my $e = $all->next_event) {
    push @accepted, $e->{data}{number} if $e->{event} eq 'turn.accepted';
    last if $e->{event} eq 'turn.completed' && $e->{data}{number} == $last;
}
is "@accepted", join(' ', 1 .. $last), 'and a replay has every turn of the store';
$all->close;

# --- Postgres goes after a turn has begun, and before the model is asked ---

$c = $si->json(POST => '/v1/conversations', {})->{json}{id};
$model->next({ kind => 'step' }, { kind => 'tokens', tokens => ['patience'] });
$before = $model->count;
$s = send_turn('The first.');
$model->wait_request($before + 1);
my $patient = send_turn('The second waits.');
$turn = $patient->wait_event('turn.accepted')->{data}{turn};
$psql = $si->lock(turn => "turn_id = '$turn'");
$model->finish($before + 1);
$s->wait_event('turn.completed');
my $table = $si->lock('message');
$si->unlock($psql);
my $waiting = "from pg_stat_activity where usename = 'si_worker' and wait_event_type = 'Lock'";
$patient->wait_event('turn.started');
poll_until { $si->pg("select 1 $waiting") } 30, 'the second turn to read what was said';
$si->pg("select pg_terminate_backend(pid) $waiting");
poll_until { !$si->pg("select 1 $waiting") } 30, 'its connection to go';
$si->unlock($table);
is $patient->wait_event(qr/^turn\.(?:completed|failed)/, 60)->{event}, 'turn.completed', 'a turn that cannot read what was said waits for Postgres';

# --- who joins while the end of a turn is being stored does not see it early, nor twice ---

# A conversation of its own: its owner is the worker that its calls go to, and needs no claim.
$c = $si->json(POST => '/v1/conversations', {})->{json}{id};
$model->next(kind => 'step');
$before = $model->count;
$s = send_turn('Hold the end.');
$turn = $s->wait_event('turn.started')->{data}{turn};
$model->wait_request($before + 1);
$psql = $si->lock(claim => "conversation_id = '$c'");
$model->go($before + 1, 'held');
$model->finish($before + 1);
$s->wait_event('delta');
poll_until { $si->pg("select 1 from pg_stat_activity where usename = 'si_worker' and wait_event_type = 'Lock'") } 30, 'the end to wait';
my $joined = $si->stream(GET => "/v1/conversations/$c/events");
$joined->wait_event('delta');
is scalar(grep { $_->{event} eq 'turn.completed' } map { $_->events, $_->seen } $s, $joined), 0, 'an end that is not stored is not seen';
$si->unlock($psql);
is $_->wait_event('turn.completed', 60)->{data}{turn}, $turn, 'it comes when it is stored' for $s, $joined;
is send_turn('The next.')->wait_event('turn.completed')->{data}{number}, 2, 'the next turn';
while ($joined->wait_event('turn.completed')->{data}{number} != 2) { }
is scalar(grep { $_->{event} eq 'turn.completed' && $_->{data}{turn} eq $turn } $joined->seen), 1, 'once';
$joined->close;
$last = 2;

# --- Redis goes ---

ok $si->redis_pid, 'there is a Redis';
$si->kill_redis;
poll_until { $si->http(GET => '/readyz')->{body} =~ /"redis":false/ } 30, 'the loss to be noticed';
is $si->http(GET => '/readyz')->{status}, 200, 'without Redis Si is ready still';
is send_turn('No Redis.')->wait_event('turn.completed')->{data}{number}, $last + 1, 'and answers';

done_testing;
