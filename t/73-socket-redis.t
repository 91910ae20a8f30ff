# A WebSocket while Redis is away: what this worker owns goes on, what another machine owns stands still and is caught up with.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;
use SI::Test::Socket;

my $model = SI::Model->start;
my $here = SI::Test->start(model => $model);
my $there = $here->node(2);
my ($own, $foreign, $strange) = map { conversation($_) } $here, $there, $there;
# Who has read first is the owner.
my @readers = ($here->stream(GET => "/v1/conversations/$own/events"), map { $there->stream(GET => "/v1/conversations/$_/events") } $foreign, $strange);
$_->head for @readers;

my $w = SI::Test::Socket->new(port => $here->port, key => $here->key);
is $w->subscribe($_)->{status}, 200, 'subscribed' for $own, $foreign;
$model->next(kind => 'step');
my $n = $model->count + 1;
$there->json(POST => "/v1/conversations/$foreign/turns", { input => 'With a bus.' }, { Prefer => 'respond-async' });
$model->wait_request($n);
$model->go($n, 'first ');
is $w->event('delta')->{data}{text}, 'first ', 'a turn of the other machine is read here';

$here->kill_redis;
my $e = $w->event('stream.degraded');
is_deeply [@$e{qw(conversation data)}], [$foreign, { type => 'stream.degraded', reason => 'redis' }], 'that it stands still is told';
is $e->{id}, undef, 'without an id';
$w->say({ type => 'turn', conversation => $foreign, ref => 'foreign', input => 'Queued.' });
my $queued = $w->reply('foreign');
is "$queued->{status} $queued->{body}{state}", '202 queued', 'a turn for it is queued';
$w->say({ type => 'turn', conversation => $strange, ref => 'strange', input => 'Nobody hears this.', idempotency_key => 'one' });
my $r = $w->reply('strange');
is "$r->{status} $r->{body}{code}", '503 moving', 'one for a conversation that is not followed here is refused';
is $w->subscribe($strange)->{status}, 503, 'nor can that be followed now';
$w->say({ type => 'turn', conversation => $own, ref => 'own', input => 'Mine goes on.' });
is $w->reply('own')->{status}, 202, 'one for the own conversation is taken';
is SI::Test::Socket::message(sub { ($_->{event} // '') eq 'turn.completed' && $_->{conversation} eq $own }, $w)->{data}{type}, 'turn.completed', 'and answered';
$model->go($n, 'second');
$model->finish($n);
my $last = $readers[1]->wait_event('turn.completed')->{id};
ok !(grep { ($_->{conversation} // '') eq $foreign } @{ $w->{messages} }), 'what happens there does not come here';

$here->start_redis;
$e = SI::Test::Socket::message(sub { ($_->{event} // '') eq 'turn.completed' && $_->{conversation} eq $foreign }, $w, 60);
is "$e->{id} $e->{data}{message}{content}", "$last first second", 'when Redis is back the end follows, whole';
$e = SI::Test::Socket::message(sub { ($_->{event} // '') eq 'turn.completed' && $_->{conversation} eq $foreign }, $w, 60);
is $e->{data}{turn}, $queued->{body}{id}, 'and what was queued is answered';
my $again = poll_until {
    $w->say({ type => 'turn', conversation => $strange, ref => 'again', input => 'Nobody hears this.', idempotency_key => 'one' });
    my $x = $w->reply('again');
    $x->{status} != 503 && $x;
} 60, 'a turn to be taken';
is $again->{status}, 202, 'the turn that was refused is taken';
is $w->subscribe($strange, from => 'start')->{status}, 200, 'its conversation is followed';
is SI::Test::Socket::message(sub { ($_->{event} // '') eq 'turn.completed' && $_->{conversation} eq $strange }, $w, 60)->{data}{turn}, $again->{body}{id}, 'and read here';
is $w->say({ type => 'ping', ref => 'p' })->reply('p')->{status}, 200, 'the socket has lived through it';
done_testing;
