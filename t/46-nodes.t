# Two nodes, each nginx and a pool of its own, on one Postgres and one Redis.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use SI::Model;
use SI::Test;

my $model = SI::Model->start;
my $a = SI::Test->start(workers => 1, nginx_workers => 1, model => $model, config => "lease: 3s\n");
sub backends { $a->pg("select pid from pg_stat_activity where usename = 'si_worker'") }
my %of_a = map { $_, 1 } backends();
my $b = $a->node(2);
my @of_b = grep { !$of_a{$_} } backends();

sub conversation { $a->json(POST => '/v1/conversations', {})->{json}{id} }
sub story { join "\n", map { $_->{raw} } $_[0]->seen }

# --- a turn that runs on one node is read live on the other ---

my $c = conversation();
$model->next(kind => 'step');
my $sender = $a->stream(POST => "/v1/conversations/$c/turns", { input => 'Who reads this?' });
$sender->wait_event('turn.started');
$model->wait_request(1);
$model->go(1, 'first ');
$sender->wait_event('delta');
my $there = $b->stream(GET => "/v1/conversations/$c/events");
is $there->wait_event('delta')->{data}{text}, 'first ', 'the other node has the turn from its beginning';
$model->go(1, 'second ');
is $there->wait_event('delta')->{data}{text}, 'second ', 'and what comes, while it comes';
my $turn = $sender->{seen}[0]{data}{turn};
my $alone = $b->stream(GET => "/v1/turns/$turn/events");
$alone->wait_event('delta');
$model->go(1, 'third');
$model->finish(1);
$_->wait_event('turn.completed') for $sender, $there, $alone;
is story($there), story($sender), 'the same bytes on both nodes';
is story($alone), story($sender), 'also for a reader of the turn alone';
$alone->until_end;
ok $alone->complete, 'whose stream ends';

# --- a turn that is sent to the other node ---

$model->next(kind => 'tokens', tokens => ['over ', 'there']);
my $remote = $b->stream(POST => "/v1/conversations/$c/turns", { input => 'From the other side.' });
my $done = $remote->wait_event('turn.completed');
is $done->{data}{message}{content}, 'over there', 'a turn sent to the other node is answered';
is $done->{data}{number}, 2, 'in the order of the conversation';
is $there->wait_event('turn.completed')->{id}, $done->{id}, 'its readers see it';
my $json = $b->json(POST => "/v1/conversations/$c/turns", { input => 'As JSON.', client_turn_id => 'once' });
is $json->{status}, 200, 'as JSON too';
is $json->{json}{state}, 'completed', 'when it is complete';
is $a->json(POST => "/v1/conversations/$c/turns", { input => 'As JSON.', client_turn_id => 'once' })->{json}{id}, $json->{json}{id},
    'a retry at the first node is the same turn';

# --- cancel from the other node; a queue from both ---

$model->next(kind => 'step');
my $before = $model->count;
$sender = $a->stream(POST => "/v1/conversations/$c/turns", { input => 'Long.' });
$turn = $sender->wait_event('turn.started')->{data}{turn};
$model->wait_request($before + 1);
$model->go($before + 1, 'half');
$sender->wait_event('delta');
my $queued = $b->stream(POST => "/v1/conversations/$c/turns", { input => 'Queued there.' });
is $queued->wait_event('turn.accepted')->{data}{number}, 5, 'a turn is queued on the other node';
my $q2 = $a->stream(POST => "/v1/conversations/$c/turns", { input => 'Queued here.' });
is $q2->wait_event('turn.accepted')->{data}{number}, 6, 'and one on this node';
is $b->json(POST => "/v1/turns/$turn/cancel")->{json}{state}, 'cancelled', 'a cancel on the other node reaches the turn';
is $sender->wait_event('turn.cancelled')->{data}{message}{content}, 'half', 'its reader here is told';
$model->wait_closed($before + 1);
$_->wait_event('turn.completed') for $queued, $q2;
pass 'the queued ones of both nodes are answered';
$there->wait_event('turn.completed') for 1 .. 3;
my @ids = map { [split /\./, $_->{id}] } $there->seen;
is scalar(grep { $ids[$_ - 1][0] > $ids[$_][0] || ($ids[$_ - 1][0] == $ids[$_][0] && $ids[$_ - 1][1] >= $ids[$_][1]) } 1 .. $#ids), 0,
    'ids only grew at the reader of the other node';

# --- a client that is bounced between the nodes resumes ---

my $last = ($there->seen)[5]{id};
my $bounced = $b->stream(GET => "/v1/conversations/$c/events", undef, { 'Last-Event-ID' => $last });
$bounced->wait_event('turn.completed') for 1 .. 4;
is( (grep { $_->{event} eq 'turn.completed' } $bounced->seen)[0]{id}, $done->{id}, 'a resume at the other node');

# --- who waits for JSON at the other node gets the answer, or none, but not a turn without its output ---

$model->next(kind => 'step');
$before = $model->count;
my $c6 = conversation();
my $owner = $a->stream(GET => "/v1/conversations/$c6/events");
$owner->head;
my $json_reader = SI::Test::Stream->new(port => $b->port, method => 'POST', path => "/v1/conversations/$c6/turns", keep_body => 1,
    headers => $b->auth({ 'Content-Type' => 'application/json', Connection => 'close' }), request_body => '{"input":"wait"}');
$model->wait_request($before + 1);
ok scalar(@of_b), 'the other node has connections to Postgres';
kill STOP => @of_b;
$model->go($before + 1, 'told');
$model->finish($before + 1);
$owner->wait_event('turn.completed');
my $told = SI::Test::answer($json_reader, 60);
kill CONT => @of_b;
like "$told->{status} $told->{body}", qr/^(?:503|200 .*"output":"told")/s, 'the answer, or 503 while it cannot be read';

# --- an id that the owner gave out a moment ago is no id from the future at the other node ---

$model->next(kind => 'step');
$before = $model->count;
$sender = $a->stream(POST => "/v1/conversations/$c/turns", { input => 'Quick.' });
$turn = $sender->wait_event('turn.started')->{data}{turn};
$model->wait_request($before + 1);
my @late;
for my $n (1 .. 10) {
    $model->go($before + 1, "word $n ");
    my $id = $sender->wait_event('delta')->{id};
    push @late, map { $b->stream(GET => $_, undef, { 'Last-Event-ID' => $id }) } "/v1/conversations/$c/events", "/v1/turns/$turn/events";
}
is join(' ', map { $_->head->{status} } @late), join(' ', (200) x 20), 'every one of them is taken';
$model->finish($before + 1);
$done = $sender->wait_event('turn.completed')->{id};
is scalar(grep { $_->wait_event('turn.completed')->{id} ne $done } @late), 0, 'and gets the end';
for my $s (@late) {
    my %ids;
    fail 'an id came twice' if grep { $ids{ $_->{id} }++ } $s->seen;
    $s->close;
}
$there->wait_event('turn.completed');
is $b->stream(GET => "/v1/conversations/$c/events", undef, { 'Last-Event-ID' => '99.1' })->head->{status}, 400, 'one that the owner did not give out is';

# --- Redis goes and comes back ---

$model->next(kind => 'step');
$before = $model->count;
$sender = $a->stream(POST => "/v1/conversations/$c/turns", { input => 'Without a bus.' });
$sender->wait_event('turn.started');
$model->wait_request($before + 1);
$there->wait_event('turn.started');
my $waits = $b->stream(POST => "/v1/conversations/$c/turns", { input => 'Queued when it goes.' });
$waits->wait_event('turn.accepted');
$a->kill_redis;
is $there->wait_event('stream.degraded')->{data}{reason}, 'redis', 'without Redis the other node tells its readers';
$model->go($before + 1, 'said meanwhile');
is $sender->wait_event('delta')->{data}{text}, 'said meanwhile', 'and the owner goes on';
$model->finish($before + 1);
$sender->wait_event('turn.completed');
my $ten = $a->stream(POST => "/v1/conversations/$c/turns", { input => 'Not known there.' })->wait_event('turn.completed', 60)->{id};
is $b->json(POST => "/v1/conversations/$c/turns", { input => 'Behind it.' }, { Prefer => 'respond-async' })->{json}{number}, 11, 'a turn is queued there all the same';
my $after = $b->stream(GET => "/v1/conversations/$c/events", undef, { 'Last-Event-ID' => $ten });
$a->start_redis;
is $there->wait_event('turn.completed', 60)->{id}, ($sender->seen)[-1]{id}, 'when it is back they catch up';
is $there->wait_event('turn.completed', 60)->{data}{number}, $_, "with turn $_" for 9 .. 11;
poll_until {
    $after = $b->stream(GET => "/v1/conversations/$c/events", undef, { 'Last-Event-ID' => $ten }) if $after->head->{status} == 503;
    $after->head->{status} == 200;
} 60, 'a reader who knows more than the other node';
is $after->wait_event('turn.accepted', 60)->{id}, '11.1', 'who knew more than the other node gets what comes next';
is $after->{seen}[0]{id}, '11.1', 'and nothing twice' or diag join ' ', map { $_->{id} // '-' } $after->seen;

# --- a turn that the other node does not know, before one that it does ---

my ($c4, $c5) = (conversation(), conversation());
my @owner = map { $a->stream(GET => "/v1/conversations/$_/events") } $c4, $c5;
$_->head for @owner;
my ($first, $idle) = map { $b->stream(GET => "/v1/conversations/$_/events") } $c4, $c5;
$_->head for $first, $idle;
$a->kill_redis;
$_->wait_event('stream.degraded') for $first, $idle;
is $b->json(POST => "/v1/conversations/$c5/turns", { input => 'Nobody wakes the owner.' }, { Prefer => 'respond-async' })->{status}, 202, 'a turn is queued while its owner rests';
is $a->json(POST => "/v1/conversations/$c5/turns", { input => 'This does.' })->{json}{state}, 'completed', 'the next one is answered';
$model->next(kind => 'step');
$before = $model->count;
$sender = $a->stream(POST => "/v1/conversations/$c4/turns", { input => 'Not known there.' });
$model->wait_request($before + 1);
is $b->json(POST => "/v1/conversations/$c4/turns", { input => 'Known.' }, { Prefer => 'respond-async' })->{json}{number}, 2, 'a second turn is queued at the other node';
my $all = $b->stream(GET => "/v1/conversations/$c4/events?from=start");
is $all->head->{status}, 200, 'somebody reads there from the start';
$a->start_redis;
$model->finish($before + 1);
is $_->wait_event('turn.accepted', 60)->{id}, '1.1', 'the first turn is not left out' for $first, $all;
is $_->wait_event('turn.accepted', 60)->{id}, '2.1', 'nor the second' for $first, $all;

# --- a worker is paused for longer than its lease: what it had is the other node's, and its readers go on there ---

my $c2 = conversation();
my $quiet = $a->stream(GET => "/v1/conversations/$c2/events");
$quiet->head;
my ($paused) = $a->worker_pids;
kill STOP => $paused;
poll_until { !$a->pg("select 1 from worker where instance like '%.$paused' and lease_until > now()") } 30, 'the lease to lapse';
my $over = $b->json(POST => "/v1/conversations/$c2/turns", { input => 'Is anybody there?' });
is $over->{status}, 200, 'the other node answers';
kill CONT => $paused;
is $quiet->wait_event('turn.completed')->{data}{turn}, $over->{json}{id}, 'and a quiet reader of the first one sees it';

# --- ids of an attempt whose worker died are known at the other node, although the next attempt has not begun ---

$model->next(kind => 'step');
$before = $model->count;
my $c3 = $b->json(POST => '/v1/conversations', {})->{json}{id};
$sender = $b->stream(POST => "/v1/conversations/$c3/turns", { input => 'Once more.' });
$turn = $sender->wait_event('turn.started')->{data}{turn};
$model->wait_request($before + 1);
$model->go($before + 1, 'in vain');
my $old = $sender->wait_event('delta')->{id};
my $psql = $a->lock(turn => "turn_id = '$turn'");
$b->kill9($b->worker_pids);
poll_until { $a->pg("select 1 from pg_stat_activity where usename = 'si_worker' and wait_event_type = 'Lock'") } 30, 'the takeover';
my @known = map { $a->stream(GET => $_, undef, { 'Last-Event-ID' => $old }) } "/v1/conversations/$c3/events", "/v1/turns/$turn/events";
is join(' ', map { $_->head->{status} } @known), '200 200', 'an id of the attempt before is known';
$a->unlock($psql);
is $_->wait_event('turn.completed', 60)->{data}{turn}, $turn, 'and its reader gets the end' for @known;
is $known[0]{seen}[0]{event}, 'turn.restarted', 'and first, that the turn begins anew';

# --- a node dies in the middle of a turn ---

# One that the first node owns for certain: a pause that lasted gave the others to the second.
$c6 = conversation();
is $a->json(POST => "/v1/conversations/$c6/turns", { input => 'Mine.' })->{json}{state}, 'completed', 'a conversation of the first node';
$there = $b->stream(GET => "/v1/conversations/$c6/events");
$there->head;
$model->next(kind => 'step');
$before = $model->count;
$sender = $a->stream(POST => "/v1/conversations/$c6/turns", { input => 'The node dies.' });
$turn = $sender->wait_event('turn.started')->{data}{turn};
$model->wait_request($before + 1);
$model->go($before + 1, 'lost');
$there->wait_event('turn.started');
$there->wait_event('delta');
$model->next(kind => 'tokens', tokens => ['saved']);
$model->go($before + 1, 'seen by few');
my $newest = $sender->wait_event('delta')->{id} eq '2.3' ? $sender->wait_event('delta')->{id} : ($sender->seen)[-1]{id};
$a->allow(qr/exited on signal 9/);
kill KILL => $a->master_pid, $a->nginx_pid, $a->worker_pids, $a->nginx_pids(1);
my %said;
poll_until {
    my $s = $b->stream(GET => "/v1/conversations/$c6/events", undef, { 'Last-Event-ID' => $newest });
    $said{ $s->head->{status} }++;
    $s->close;
    $said{200};
} 60, 'a reader of the dead node to be taken at the other one';
is join(' ', grep { $_ != 200 && $_ != 503 } keys %said), '', 'the newest id of the dead node is not refused as one from the future';
is $there->wait_event('turn.restarted', 60)->{data}{turn}, $turn, 'the other node takes the turn over, on the same connection';
is $there->wait_event('turn.completed', 60)->{data}{message}{content}, 'saved', 'and answers it';
is $b->json(GET => "/v1/turns/$turn")->{json}{output}, 'saved', 'it is stored';
is $b->stream(POST => "/v1/conversations/$c6/turns", { input => 'Go on.' })->wait_event('turn.completed')->{data}{number}, 3, 'and all goes on there';

done_testing;
