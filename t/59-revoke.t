# The end of a key ends what was opened with it: event streams of all kinds, idle and busy, on every node.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use SI::Edge;
use SI::FakeWorker;
use SI::Model;
use SI::Test;
use SI::Test::Api;
use SI::Test::Socket;
use Test::More;

my $REVOKED = 2;        # kind of PUSH
my $LAST = "event: auth.expired\ndata: {\"type\":\"auth.expired\"}\n\nretry: 1000\n\n";

subtest 'the edge' => sub {
    my $edge = SI::Edge->new(location => 'si_stream_heartbeat 500ms;');
    my $w = $edge->worker(0);
    $edge->start;
    my $link = $w->wait_link;
    my $open = sub { my (%o) = @_; my $c = $edge->get('/x'); my $call = $w->call->stream(credential => 'key-1', %o); return ($c, $call) };

    my ($idle, $call) = $open->();
    $call->data("retry: 1000\n\n")->attach(1, 'c:1', 1);
    my ($other, $call2) = $open->(credential => 'key-2');
    $call2->data("retry: 1000\n\n")->attach(1, 'c:1', 2);
    my ($private, $call3) = $open->();
    $call3->data("data: a\n\n");
    my ($half, $call4) = $open->();
    $call4->data("data: b");
    my ($silent, $call5) = $open->();
    my $json = $edge->get('/x');
    my $call6 = $w->call->head(200, type => 'application/json', length => 2, credential => 'key-1');
    my $late = $edge->get('/x');
    my $call7 = $w->call;
    $_->[0]->wait_body($_->[1]) for [$idle, qr/retry/], [$other, qr/retry/], [$private, qr/a\n\n/], [$half, qr/b/];
    $silent->wait_head;

    $w->push_frame($link, $REVOKED, 'key-1') for 1 .. 2;
    ok $_->[0]->wait_whole && $_->[0]->body =~ /\Q$LAST\E\z/, "$_->[1] is told, and ends whole" for [$idle, 'a reader of a log'], [$private, 'a private stream'], [$silent, 'one that has no byte yet'];
    $half->wait_eof;
    ok !$half->whole, 'one within an event is cut, and does not look whole';
    $call7->stream(credential => 'key-1')->data("data: c\n\n");
    ok $late->wait_whole && $late->body eq $LAST, 'one whose HEAD was under way';
    $call6->data('{}')->end;
    ok $json->wait_whole && $json->body eq '{}', 'an answer that is no stream is given';
    $w->feed($link, 1, '1.1', "id: 1.1\ndata: x\n\n");
    ok $other->wait_body(qr/data: x/), 'the reader with another key goes on';

    my ($brief, $call8) = $open->(credential => 'key-3', until => 1000 * (time + 1));
    $call8->data("retry: 1000\n\n")->attach(1, 'c:1', 3);
    ok $brief->wait_whole && $brief->body =~ /\Q$LAST\E\z/, 'a key that has an end';
    $other->close;

    for (['', 'empty PUSH'], [pack('C', 99) . 'x', 'unknown PUSH'], [pack('C', $REVOKED), 'malformed PUSH'], [pack('C', $REVOKED) . 'x' x 129, 'malformed PUSH']) {
        $link = $w->wait_link;
        $w->send_frame($link, PUSH => 0, 0, $_->[0]);
        SI::Edge::wait_for(sub { $link->{closed} }, 'the end of the link');
        like $edge->log, qr/closed: \Q$_->[1]\E/, $_->[1];
    }
    $edge->stop;
};

my $model = SI::Model->start;
my $si = SI::Test->start(workers => 2, nginx_workers => 2, model => $model, config => "auth: { cache: 1s }\n");
my $b = $si->node(2);
my $admin = member($si, create_key($si, 'acme', 'root', '--scopes', 'admin'));
sub new_key { return $admin->json(POST => '/v1/keys', { user => 'ann', @_ })->{json} }
sub told { my ($s, $what) = @_; my $e = $s->wait_event('auth.expired'); my $at = now_ms(); poll_until { $s->pump(0); $s->ended } undef, "the end of $what"; is $s->complete, 1, "$what is told, and ends whole"; return $at }

subtest 'revoked' => sub {
    my ($key, $kept) = map { new_key() } 1 .. 2;
    my ($ann, $ann2) = map { member($si, $_->{key}) } $key, $kept;
    my ($far, $far2) = map { member($b, $_->{key}) } $key, $kept;
    my @chat = map { $ann->json(POST => '/v1/conversations', {})->{json}{id} } 1 .. 2;
    my $n = $model->count + 1;
    $model->next(kind => 'step');
    my $turn = $ann->stream(POST => "/v1/conversations/$chat[0]/turns", { input => 'Go on.' });
    my $id = $turn->wait_event('turn.started')->{data}{turn};
    $model->wait_request($n);
    my %s = ("a turn's stream" => $turn);
    for (['here', $ann], ['there', $far]) {
        my ($where, $who) = @$_;
        $s{"a busy stream $where"} = $who->stream(GET => "/v1/conversations/$chat[0]/events?from=start");
        $s{"an idle stream $where"} = $who->stream(GET => "/v1/conversations/$chat[1]/events");
        $s{"a stream of a turn $where"} = $who->stream(GET => "/v1/turns/$id/events");
        $s{"a feed $where"} = $who->stream(GET => '/v1/events');
    }
    my %kept = (here => $ann2->stream(GET => "/v1/conversations/$chat[0]/events?from=start"), there => $far2->stream(GET => "/v1/conversations/$chat[0]/events?from=start"));
    $model->go($n, 'word ', 5);
    $s{$_}->wait_event('delta') for grep { /busy|turn/ } sort keys %s;
    $_->wait_event('delta') for values %kept;
    $_->head for values %s;
    my $from = now_ms();
    is $admin->json(DELETE => "/v1/keys/$key->{id}")->{status}, 204, 'a key is revoked';
    my $last = 0;
    for (sort keys %s) { my $at = told($s{$_}, $_); $last = $at if $at > $last }
    cmp_ok $last - $from, '<', 1000, 'all within a second';
    is $_->json(GET => '/v1/conversations')->{status}, 401, 'and nobody comes back' for $ann, $far;
    $model->go($n, 'more ');
    $model->finish($n);
    for (sort keys %kept) {
        my $e = $kept{$_}->wait_event('turn.completed');
        is $e->{data}{message}{content}, ('word ' x 5) . 'more ', "who reads with another key $_ gets the answer";
    }
    my $closed = poll_until { my $c = $si->status->{edge}{closed}; $c->{expired} >= 5 && $c } undef, 'the counter';
    is $closed->{expired}, 5, 'counted once each';
};

subtest 'a key that ends' => sub {
    my $key = new_key();
    $si->pg("UPDATE api_key SET expires_at = now() + interval '3 seconds' WHERE key_id = '$key->{id}'");
    my @who = map { member($_, $key->{key}) } $si, $b;
    my $chat = $who[0]->json(POST => '/v1/conversations', {})->{json}{id};
    my @s = map { $_->stream(GET => "/v1/conversations/$chat/events") } @who;
    my $socket = SI::Test::Socket->new(port => $b->port, key => $key->{key});
    is $_->head->{status}, 200, 'a stream is open' for @s;
    told($_, 'it') for @s;
    is $socket->close_code, 3000, 'and so does its WebSocket';
    is_problem $_->json(GET => '/v1/conversations'), 401, 'unauthorized', undef, 'nobody comes back' for @who;
};

subtest 'what is said while Redis is away' => sub {
    my $key = new_key();
    my ($here, $there) = map { member($_, $key->{key}) } $si, $b;
    my $chat = $here->json(POST => '/v1/conversations', {})->{json}{id};
    my ($s, $far) = map { $_->stream(GET => "/v1/conversations/$chat/events") } $here, $there;
    $_->head for $s, $far;
    $si->kill_redis;
    poll_until { !grep { $_->{redis} } @{ $b->status->{workers} } } undef, 'the other node without Redis';
    is $admin->json(DELETE => "/v1/keys/$key->{id}")->{status}, 204, 'a key is revoked';
    told($s, 'a stream of this node');
    $si->start_redis;
    told($far, 'a stream of the other node, which asks Postgres when it hears again');
};

done_testing;
