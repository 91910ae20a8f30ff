# Reload of the edge and of the pool, with streams open: answers finish, readers resume, nothing is lost.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use SI::Model;
use SI::Test;

my $model = SI::Model->start;
my $si = SI::Test->start(workers => 2, nginx_workers => 1, model => $model, nginx => 'si_stream_drain 1s');

sub conversation { $si->json(POST => '/v1/conversations', {})->{json}{id} }
my $c = conversation();
my $before;

sub start_turn {
    my $text = shift;
    $before = $model->count;
    $model->next(kind => 'step');
    my $s = $si->stream(POST => "/v1/conversations/$c/turns", { input => $text });
    $s->wait_event('turn.started');
    $model->wait_request($before + 1);
    return $s;
}

# --- nginx -s reload ---

my $reader = $si->stream(GET => "/v1/conversations/$c/events");
$reader->head;
my $sender = start_turn('Reload the edge.');
my @old = $si->reload_nginx;
is $si->json(GET => "/v1/conversations/$c")->{status}, 200, 'a new process serves';
$model->go($before + 1, 'through ');
$reader->until_end;
ok $reader->complete, 'an idle reader is asked to come back, by a whole answer';
my $last = $reader->{last_id};
$model->go($before + 1, 'the reload');
$model->finish($before + 1);
is $sender->wait_event('turn.completed')->{data}{message}{content}, 'through the reload', 'a running answer finishes on its stream';
$sender->until_end;
ok $sender->complete, 'which ends whole';
my $resumed = $si->stream(GET => "/v1/conversations/$c/events", undef, { 'Last-Event-ID' => $last });
$resumed->wait_event('turn.completed');
my @got = map { $_->{id} } ($reader->seen, $resumed->seen);
is "@got", join(' ', map { $_->{id} } $sender->seen), 'and the reader that resumes has every event once';
poll_until { !grep { SI::Test::alive($_) } @old } 60, 'the old processes to leave';
pass 'the old processes have gone';

# --- the same under a stream of turns ---

my ($completed, $rounds) = (0, 12);
for my $round (1 .. $rounds) {
    my $s = $si->stream(POST => "/v1/conversations/" . conversation() . "/turns", { input => "round $round" });
    $si->reload_nginx if $round % 4 == 0;
    $completed++ if $s->wait_event(qr/^turn\.(?:completed|failed)/)->{event} eq 'turn.completed';
    $s->until_end;
}
is $completed, $rounds, 'turns that were under way at reloads completed';

# --- SIGHUP of the pool: new workers take over, the old ones finish their turns ---

my %were = map { $_ => 1 } $si->worker_pids;
$reader = $si->stream(GET => "/v1/conversations/$c/events");
$reader->head;
$sender = start_turn('Reload the pool.');
kill HUP => $si->master_pid;
poll_until { 2 == grep { !$were{$_} } $si->worker_pids } 30, 'new workers';
my $other = $si->stream(POST => '/v1/conversations/' . conversation() . '/turns', { input => 'a new one' });
is $other->wait_event(qr/^turn\.(?:completed|failed)/)->{event}, 'turn.completed', 'the new workers serve';
$model->go($before + 1, 'finished by the old worker');
$model->finish($before + 1);
is $sender->wait_event('turn.completed')->{data}{message}{content}, 'finished by the old worker', 'a turn finishes where it runs';
is scalar(grep { $_->{event} eq 'turn.restarted' } $sender->seen), 0, 'and was not begun again';
$reader->wait_event('turn.completed');
poll_until { !grep { $were{$_} } $si->worker_pids } 60, 'the old workers to leave';
pass 'the old workers have gone';
my $next = $si->stream(POST => "/v1/conversations/$c/turns", { input => 'Who answers now?' });
my $done = $next->wait_event('turn.completed');
is $reader->wait_event('turn.completed')->{id}, $done->{id}, 'the reader followed to the new owner without reconnecting';

# --- a configuration that is wrong changes nothing ---

my @now = $si->worker_pids;
my $overlay = "$si->{dir}/overlay.yaml";
my $text = slurp($overlay);
open my $fh, '>:raw', $overlay or die $!;
print $fh "$text\nno_such_key: 1\n";
close $fh;
kill HUP => $si->master_pid;
poll_until { slurp("$si->{dir}/logs/worker.log") . slurp("$si->{dir}/logs/master.log") =~ /no_such_key/ } 30, 'the complaint';
is join(' ', $si->worker_pids), "@now", 'a wrong configuration is refused and the workers stay';

done_testing;
