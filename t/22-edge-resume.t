# The edge alone: logs whose worker dies or goes are resumed at another, and the readers do not notice.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use SI::Edge;
use Test::More;

my $json = JSON::PP->new->utf8;
my $edge = SI::Edge->new(workers => 2, location => 'si_stream_heartbeat 500ms;');
my @w = map { $edge->worker($_) } 0, 1;
my ($pid, $n, $log) = (2000, 0, 100);
$edge->start;
$_->wait_link for @w;

sub event { my ($id, $text) = @_; return "id: $id\ndata: $text\n\n" }
sub no_beats { my $t = shift; $t =~ s/^:\n\n//mg; return $t }
sub where { my $type = shift; my $w; SI::Edge::wait_for(sub { ($w) = grep { $_->has($type) } @w; $w }, $type); return $w }

# A reader of a new log, and the worker that has it.
sub reader {
    my ($key, $id) = @_;
    my $c = $edge->get('/v1/conversations/c/events');
    my $call = where('OPEN')->call;
    $call->stream->data("retry: 1\n\n")->attach($id, $key, 1);
    $c->wait_body(qr/retry/);
    return ($c, $call->{worker}, $call->{link});
}

sub revive { my $w = shift; my $new = $edge->worker($w->{slot}, ++$pid); @w = map { $_ == $w ? $new : $_ } @w; $new->wait_link; return $new }
sub other { my $w = shift; return (grep { $_ != $w } @w)[0] }

sub status {
    my $c = $edge->get('/status');
    for my $w (grep { @{ $_->{links} } } @w) { SI::Edge::wait_for(sub { $w->has('OPEN') || $c->whole }, 'the question'); $w->call->json('{}') if $w->has('OPEN') }
    $c->wait_whole;
    $c->close;
    return $json->decode($c->body)->{edge};
}

subtest 'a worker dies' => sub {
    my ($c, $w, $link) = reader('c:one', ++$log);
    my $second = $edge->get('/v1/conversations/c/events');
    my $call = where('OPEN')->call;
    while ($call->{worker} != $w) { $call->moved($w->{name}); $call = where('OPEN')->call }
    $call->stream->data("retry: 1\n\n")->attach($log, 'c:one', 2);
    $second->wait_body(qr/retry/);
    my $all = event('1.1', 'before');
    $w->feed($link, $log, '1.1', $all);
    $_->wait_body(qr/before/) for $c, $second;
    is unpack('x4V', $w->frame('READERS', $log)->{payload}), 2, 'the worker knows of both readers';
    $w->kill_it;
    my $o = other($w);
    my $resume = $o->call;
    is_deeply [@{$resume}{qw(resume tenant last_id)}], ['c:one', 'acme', '1.1'], 'OPEN asks for the log, as its tenant, after the last event';
    ok SI::Edge::never(sub { $o->has('OPEN') }, 0.2), 'once for both readers';
    $resume->head(200, stream => 1)->event('1.2', event('1.2', 'replayed'))->attach(77, 'c:one', 3);
    $all .= event('1.2', 'replayed') . event('1.3', 'live');
    $o->feed($resume->{link}, 77, '1.3', event('1.3', 'live'));
    for ($c, $second) { $_->wait_body(qr/live/); is no_beats($_->body), "retry: 1\n\n$all", 'no gap, nothing twice, no reconnect' }
    is_deeply [unpack 'VV', $o->frame('READERS', 77)->{payload}], [3, 2], 'and so does the new one';
    $_->close for $c, $second;
    is unpack('V', $o->frame('DETACH', 77)->{payload}), 3, 'DETACH at the new worker';
    revive($w);
};

subtest 'nobody is there for a while' => sub {
    my ($c, $w, $link) = reader('c:two', ++$log);
    $w->feed($link, $log, '2.1', event('2.1', 'a'));
    $c->wait_body(qr/2\.1/);
    $_->kill_it for @w;
    ok $c->wait_body(qr/:\n\n/), 'heartbeats go on meanwhile';
    my $new = revive($w[0]);
    my $resume = $new->call;
    is $resume->{last_id}, '2.1', 'resumed when a worker comes';
    $resume->moved('9.999');
    my $far = $edge->worker(9, 999);
    my $again;
    SI::Edge::wait_for(sub {
        $again = $far->call if $far->has('OPEN');
        $new->call->moved('9.999') if $new->has('OPEN');
        return $again;
    }, 'MOVED to be followed');
    is $again->{resume}, 'c:two', 'MOVED is followed';
    $again->attach(5, 'c:two', 1);
    $far->feed($again->{link}, 5, '2.2', event('2.2', 'b'));
    ok $c->wait_body(qr/2\.2/), 'events from there';
    $c->close;
    $far->frame('DETACH', 5);
    $far->kill_it;
    revive($w[1]);
};

subtest 'END with abort' => sub {
    my ($c, $w, $link) = reader('c:three', ++$log);
    $w->feed($link, $log, '3.1', event('3.1', 'a'));
    $w->end_log($link, $log, 16);
    my $o = other($w);
    my $resume = $o->call;
    is $resume->{last_id}, '3.1', 'resumed at another worker';
    $resume->event('3.2', event('3.2', 'b'))->end;
    ok $c->wait_whole, 'the log had ended there';
    is no_beats($c->body), "retry: 1\n\n" . event('3.1', 'a') . event('3.2', 'b'), 'and all of it was read';
    ok !grep({ $_->has('DETACH') } @w), 'no DETACH';
    $c->close;
};

# Ids of a feed are as long as it has conversations.
subtest 'ids that grow' => sub {
    my ($c, $w, $link) = reader('u:one', ++$log);
    my @ids = ('1.1', map { join ',', map { "$_.$_" } 1 .. $_ } 4, 5, 30, 2);
    $w->feed($link, $log, $_, event($_, 'x')) for @ids;
    $c->wait_body(qr/id: \Q$ids[-1]\E\n/);
    for my $id (@ids) {
        $w->feed($link, $log, $id, event($id, 'x'));
        $w->end_log($link, $log, 16);
        $w = other($w);
        my $resume = $w->call;
        is $resume->{last_id}, $id, 'resumed after one of ' . length $id;
        $resume->attach(++$log, 'u:one', 1);
        $link = $resume->{link};
    }
    $c->close;
    $w->frame('DETACH', $log);
};

subtest 'two mirrors become one' => sub {
    my ($c, $w, $link) = reader('c:four', ++$log);
    $w->feed($link, $log, '4.1', event('4.1', 'a'));
    $c->wait_body(qr/4\.1/);
    $w->kill_it;
    my $o = other($w);
    my $resume = $o->call;
    my $new = $edge->get('/v1/conversations/c/events');
    $o->call->stream->data("retry: 1\n\n")->attach(44, 'c:four', 1);
    $new->wait_body(qr/retry/);
    $resume->attach(44, 'c:four', 2);
    $o->feed($resume->{link}, 44, '4.2', event('4.2', 'b'));
    ok $_->wait_body(qr/4\.2/), 'both read on' for $c, $new;
    is status()->{logs}, 1, 'from one mirror';
    is_deeply [unpack 'VV', $o->frame('READERS', 44)->{payload}], [2, 2], 'which counts both';
    is no_beats($c->body), "retry: 1\n\n" . event('4.1', 'a') . event('4.2', 'b'), 'once';
    $c->close;
    ok !$o->has('DETACH'), 'no DETACH yet';
    $new->close;
    ok $o->frame('DETACH', 44), 'but with the last reader';
    revive($w);
};

subtest 'GOAWAY' => sub {
    my ($c, $w, $link) = reader('c:five', ++$log);
    my $p = $edge->get('/private');
    my $call = where('OPEN')->call;
    while ($call->{worker} != $w) { $call->moved($w->{name}); $call = where('OPEN')->call }
    $call->stream->data("data: 1\n\n");
    $p->wait_body(qr/1/);
    # the new worker takes the slot's name, the old one keeps what it has
    for my $l (@{ $w->{listeners} }) { SI::Edge::remove_handle($l); close $l->{fh} }
    my $new = $edge->worker($w->{slot}, ++$pid);
    my $slot = $w->{slot};
    $w->send_frame($link, GOAWAY => 0, 0);
    $new->wait_link;
    @w = map { $_->{slot} == $slot ? $new : $_ } @w;
    pass 'a link to the slot is opened at once';
    for (1 .. 6) { my $x = $edge->get('/x'); where('OPEN')->call->json('{}'); ok $x->wait_whole, 'served by the others'; $x->close }
    ok !$w->has('OPEN'), 'no call goes to the old one';
    $w->feed($link, $log, '5.1', event('5.1', 'a'));
    ok $c->wait_body(qr/5\.1/), 'its log goes on';
    $call->data("data: 2\n\n")->end;
    ok $p->wait_whole, 'its call goes on';
    ok !$link->{closed}, 'and keeps the link';
    $c->close;
    $w->frame('DETACH', $log);
    SI::Edge::wait_for(sub { $link->{closed} }, 'the old link to close');
    pass 'it is closed when all has ended';
    $p->close;
};

subtest 'a private answer loses its worker' => sub {
    my ($c, $d, $e) = map { $edge->get("/p$_") } 1 .. 3;
    my %at;
    for (1 .. 3) { my $call = where('OPEN')->call; $at{ $call->{path} } = $call }
    $at{'/p1'}->stream->data("data: 1\n\n");
    $at{'/p2'}->stream->data("data: 2");
    $at{'/p3'}->head(200, type => 'text/plain')->data("\n\n");
    $c->wait_body(qr/1/);
    $d->wait_body(qr/2/);
    $e->wait_body(qr/\n/);
    my @dead = @w;
    $_->kill_it for @dead;
    ok $c->wait_whole, 'between events: a clean end';
    is no_beats($c->body), "data: 1\n\nretry: 500\n\n", 'after retry';
    $_->wait_eof for $d, $e;
    ok !$d->whole, 'within an event: cut';
    ok !$e->whole, 'not an event stream: cut';
    $_->close for $c, $d, $e;
    revive($_) for @dead;
    is status()->{closed}{lost}, 3, 'counted';
};

$edge->stop;
done_testing;
