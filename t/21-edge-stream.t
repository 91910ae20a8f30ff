# The edge alone: event streams, mirrors and cursors.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use SI::Edge;
use Test::More;

my $json = JSON::PP->new->utf8;
my $edge = SI::Edge->new(tls => 1, sndbuf => '32k', location => 'si_stream_heartbeat 500ms; si_stream_buffer 64k; si_stream_stall 2s;',
    http => 'gzip on; gzip_types *; gzip_min_length 1;');
my $w = $edge->worker(0);
$edge->start;
my $link = $w->wait_link;
my $n = 0;

sub event { my ($id, $text) = @_; return "id: $id\nevent: delta\ndata: $text\n\n" }
sub publish { my ($log, $text) = @_; $n++; my $e = event("1.$n", $text // "text $n"); $w->feed($link, $log, "1.$n", $e); return $e }
sub no_beats { my $t = shift; $t =~ s/^:\n\n//mg; return $t }

# A reader that is attached: it has got its private bytes.
sub reader {
    my ($log, %o) = @_;
    my $c = $o{client} || $edge->get('/v1/conversations/c/events', %o);
    my $call = $w->call;
    $call->stream->data($o{private} // "retry: 1000\n\n")->attach($log, $o{key} // "c:$log", $o{seq} // ++$n);
    if (!$o{paused} && !$o{client}) { $c->wait_body(qr/retry/) }
    return $c;
}

sub status {
    my $c = $edge->get('/status');
    $w->call->json('{}');
    $c->wait_whole;
    $c->close;
    return $json->decode($c->body)->{edge};
}

sub wait_readers { my $want = shift; SI::Edge::wait_for(sub { status()->{readers} == $want }, "$want readers"); return }

subtest 'private bytes, then the log' => sub {
    my $c = $edge->get('/s', head => "Accept-Encoding: gzip\r\n");
    my $call = $w->call->stream;
    $c->wait_head;
    is $c->status, 200, 'the header leaves at once';
    for (['Content-Type', 'text/event-stream'], ['Cache-Control', 'no-cache, no-store, no-transform'], ['X-Accel-Buffering', 'no'],
        ['X-Content-Type-Options', 'nosniff'], ['Transfer-Encoding', 'chunked']) {
        like $c->header, qr/^\Q$_->[0]: $_->[1]\E\r$/m, $_->[0];
    }
    unlike $c->header, qr/Content-Encoding/i, 'no gzip';
    $call->data("id: 1.1\n")->data("data: a\n\n");
    ok $c->wait_body(qr/data: a\n\n/), 'private bytes';
    $call->attach(11, 'c:11', 5);
    my $e = publish(11);
    ok $c->wait_body(qr/\Q$e\E/), 'an event of the log';
    my @e = map { publish(11) } 1 .. 20;
    $e = join '', @e;
    ok $c->wait_body(qr/\Q$e\E/), 'many in one batch, in order';
    my $long = publish(11, 'x' x 300_000);
    ok $c->wait_body(qr/\Q$long\E/), 'a long one';
    $c->close;
    my $f = $w->frame('DETACH', 11);
    is unpack('V', $f->{payload}), 5, 'DETACH names the last ATTACH';
    wait_readers(0);
    publish(11);
    is status()->{logs}, 0, 'no mirror is left; late events are ignored';
};

subtest 'the end of a log' => sub {
    my $c = reader(12);
    my $e = publish(12);
    $w->end_log($link, 12);
    ok $c->wait_whole, 'the stream ends in order';
    like $c->body, qr/\Q$e\E\z/, 'with its last event';
    ok !$w->has('DETACH'), 'no DETACH for a log that ended';
    $c->close;
};

subtest 'a private stream' => sub {
    my $c = $edge->get('/p');
    my $call = $w->call->stream->data("data: 1\n\n");
    $c->wait_body(qr/1/);
    $call->data("data: 2\n\n")->end;
    ok $c->wait_whole, 'whole';
    is no_beats($c->body), "data: 1\n\ndata: 2\n\n", 'as sent';
    $c->close;
};

subtest 'fifty readers' => sub {
    my @c = map { reader(13) } 1 .. 50;
    my $s = status();
    is $s->{readers}, 50, 'fifty readers';
    is $s->{logs}, 1, 'of one mirror';
    my $all = join '', map { publish(13) } 1 .. 30;
    my $late = reader(13);
    $all .= my $rest = join '', map { publish(13, 'y' x (($_ * 379) % 1900)) } 1 .. 30;
    $_->wait_body(qr/\Q$rest\E/) for @c, $late;
    is scalar(grep { no_beats($_->body) eq "retry: 1000\n\n$all" } @c), 50, 'all have identical bytes';
    is no_beats($late->body), "retry: 1000\n\n$rest", 'a late one has what came later';
    $_->close for @c, $late;
    $w->frame('DETACH', 13);
    wait_readers(0);
};

subtest 'HTTP/1.0' => sub {
    my $c = $edge->client("GET /old HTTP/1.0\r\n\r\n");
    reader(14, client => $c);
    $c->wait_body(qr/retry/);
    my $e = join '', map { publish(14) } 1 .. 3;
    ok $c->wait_body(qr/\Q$e\E/), 'events';
    $w->end_log($link, 14);
    $c->wait_eof;
    is no_beats($c->body), "retry: 1000\n\n$e", 'without chunks';
};

subtest 'HTTP/2' => sub {
    plan skip_all => 'no curl with HTTP/2' unless `curl --version` =~ /HTTP2/;
    my $out = '';
    my $pid = open(my $fh, '-|', 'curl', '-sN', '--http2-prior-knowledge', '-i', '-H', 'Accept-Encoding: gzip', '--max-time', 60, "http://127.0.0.1:$edge->{h2}/v1/two") or die "curl: $!";
    my $h = { fh => $fh };
    my $eof;
    $h->{on_read} = sub { my $k = sysread $fh, $out, 65536, length $out; if (defined $k && !$k) { $eof = 1; SI::Edge::remove_handle($h) } };
    SI::Edge::add_handle($h);
    reader(15, client => $h);
    SI::Edge::wait_for(sub { $out =~ /retry: 1000\n\n/ }, 'private bytes');
    my $all = '';
    # never more under way than si_stream_buffer: a busy machine must not make curl a slow reader
    for (1 .. 15) {
        $all .= join '', map { publish(15, 'z' x (($_ * 7919) % 30000)) } 2 * $_, 2 * $_ + 1;
        SI::Edge::wait_for(sub { index(no_beats($out), $all) > 0 || $eof }, 'events');
    }
    ok index(no_beats($out), $all) > 0, 'every byte';
    pass 'events';
    like $out, qr/\AHTTP\/2 200/, 'HTTP/2';
    unlike $out, qr/transfer-encoding|content-encoding/i, 'no chunks, no gzip';
    SI::Edge::wait_for(sub { $out =~ /\n\n:\n\n/ }, 'a heartbeat');
    $w->end_log($link, 15);
    SI::Edge::wait_for(sub { $eof }, 'curl to end');
    close $fh;
    is $? >> 8, 0, 'curl saw a whole response';

    $eof = 0;
    $out = '';
    open($fh, '-|', 'curl', '-sN', '--http2-prior-knowledge', "http://127.0.0.1:$edge->{h2}/v1/cut") or die "curl: $!";
    $h->{fh} = $fh;
    SI::Edge::add_handle($h);
    my $call = $w->call->stream->data("data: a\n\n");
    SI::Edge::wait_for(sub { $out =~ /a\n\n/ }, 'bytes');
    $call->end(16);
    SI::Edge::wait_for(sub { $eof }, 'curl to end');
    close $fh;
    isnt $? >> 8, 0, 'curl saw that the answer was cut';
};

subtest 'TLS' => sub {
    for my $version ('--http1.1', '--http2') {
        my ($out, $eof, $log) = ('', 0, 150 + $n);
        open(my $fh, '-|', 'curl', '-skN', $version, '--max-time', 60, "https://127.0.0.1:$edge->{tls_port}/v1/tls") or die "curl: $!";
        my $h = { fh => $fh };
        $h->{on_read} = sub { my $k = sysread $fh, $out, 65536, length $out; if (defined $k && !$k) { $eof = 1; SI::Edge::remove_handle($h) } };
        SI::Edge::add_handle($h);
        reader($log, client => $h);
        SI::Edge::wait_for(sub { $out =~ /retry: 1000\n\n/ }, 'private bytes');
        my $all = '';
        for my $round (1 .. 6) {
            # the client stops reading, so that records are cut in the middle, then goes on
            $h->{paused} = 1;
            $all .= join '', map { publish($log, 't' x (($_ * 7919) % 16000)) } 1 .. 6;
            status();
            $h->{paused} = 0;
            SI::Edge::wait_for(sub { no_beats($out) eq "retry: 1000\n\n$all" || $eof }, 'events');
        }
        is no_beats($out), "retry: 1000\n\n$all", "$version: every byte, once";
        SI::Edge::wait_for(sub { $out =~ /\n\n:\n\n\z/ }, 'a heartbeat');
        $w->end_log($link, $log);
        SI::Edge::wait_for(sub { $eof }, 'curl to end');
        close $fh;
        is $? >> 8, 0, "$version: whole";
    }
};

subtest 'heartbeats' => sub {
    my $c = reader(16);
    my $p = $edge->get('/p');
    my $call = $w->call->stream->data("data: half");
    $p->wait_body(qr/half/);
    ok $c->wait_body(qr/retry: 1000\n\n:\n\n:\n\n/), 'comments come while the log is quiet';
    is $p->body, 'data: half', 'not within an event';
    $call->data("\n\n");
    ok $p->wait_body(qr/half\n\n:\n\n/), 'but after it';
    my $e = publish(16);
    ok $c->wait_body(qr/\Q$e\E/), 'then an event';
    ok !grep({ $_->{type} eq 'CREDIT' && $_->{id} == $call->{id} && unpack('V', $_->{payload}) > 12 } @{ $w->{frames} }), 'a heartbeat earns no credit';
    $call->end;
    ok $p->wait_whole, 'the private one ends';
    $c->close;
    $p->close;
    $w->frame('DETACH', 16);
};

subtest 'a slow reader' => sub {
    my $slow = reader(17, rcvbuf => 4096, paused => 1);
    my @c = map { reader(17) } 1 .. 3;
    my $before = status()->{closed}{slow};
    my ($all, $closed) = ('', 0);
    for my $i (1 .. 4000) {
        $all .= publish(17, 'q' x 8000);
        next if $i % 4;
        $_->wait_body(qr/\Qid: 1.$n\E\n.*\n\n\z/s) for @c;
        last if ($closed = status()->{closed}{slow} - $before);
    }
    is $closed, 1, 'the slow one is closed';
    ok !grep({ $_->{eof} } @c), 'the others are not';
    my $e = publish(17);
    $_->wait_body(qr/\Q$e\E/) for @c;
    is scalar(grep { no_beats($_->body) eq "retry: 1000\n\n$all$e" } @c), 3, 'they have every event once';
    $slow->unpause;
    ok $slow->wait_whole, 'the slow one is asked to come back, by a whole answer';
    like $slow->body, qr/\n\nretry: \d+\n\n\z/, 'which says when';
    my $had = no_beats($slow->body) =~ s/\Aretry: \d+\n\n|retry: \d+\n\n\z//gr;
    ok index($all, $had) == 0 && $had =~ /^id: 1\.\d+\n.*\n\n\z/ms, 'behind whole events, in order, without a gap';
    $_->close for $slow, @c;
    $w->frame('DETACH', 17);
};

subtest 'a reader that lags and catches up' => sub {
    my $c = reader(18, rcvbuf => 4096, paused => 1);
    my $all = '';
    # less than si_stream_buffer at once, until the socket is full, then let it read
    for my $round (1 .. 60) {
        $all .= publish(18, 'l' x 50_000);
        status();
        if ($round % 2 == 0) { $c->unpause; my $e = "id: 1.$n\n"; $c->wait_body(qr/\Q$e\E.*\n\n\z/s); $c->pause }
    }
    $c->unpause;
    my $e = publish(18);
    ok $c->wait_body(qr/\Q$e\E/), 'caught up';
    ok no_beats($c->body) eq "retry: 1000\n\n$all$e", 'nothing lost, nothing twice';
    $c->close;
    $w->frame('DETACH', 18);
};

subtest 'a stalled reader' => sub {
    @{ $w->{frames} } = ();
    my $before = status()->{closed}{stall};
    my $c = $edge->get('/stall', rcvbuf => 4096, paused => 1);
    my $call = $w->call->stream;
    my $open = 65536;
    # fill the socket with private bytes, as far as credit goes
    SI::Edge::wait_for(sub {
        if ($open >= 8192) { $call->data("data: " . ('s' x 8184) . "\n\n"); $open -= 8192 }
        $open += unpack 'V', $w->frame('CREDIT')->{payload} if $w->has('CREDIT');
        return status()->{closed}{stall} - $before || $w->has('CANCEL');
    }, 'the stall to be seen');
    is status()->{closed}{stall} - $before, 1, 'closed for stalling';
    ok $w->frame('CANCEL', $call->{id}), 'the worker hears of it';
    $c->close;
    @{ $w->{frames} } = ();
};

# What READERS says next: log, seq, count.
sub counted { my $f = $w->frame('READERS'); return [$f->{id}, unpack 'VV', $f->{payload}] }

subtest 'readers are counted' => sub {
    @{ $w->{frames} } = ();
    my $first = reader(20, seq => ++$n);
    my $one = reader(21, seq => $n);
    my @more = map { reader(20, seq => ++$n) } 1 .. 3;
    my $seq = $n;
    my $count = counted();
    $count = counted() while $count->[2] < 4;
    is_deeply $count, [20, $seq, 4], 'of a log, with its last ATTACH';
    ok SI::Edge::never(sub { publish(20); $w->has('READERS') }, 1.5), 'once; events cost nothing, and a log with one reader says nothing';
    $_->close for @more[0, 1];
    $count = counted();
    $count = counted() while $count->[2] != 2;
    is_deeply $count, [20, $seq, 2], 'some have gone';
    $more[2]->close;
    is_deeply counted(), [20, $seq, 1], 'down to one';
    $_->close for $first, $one;
    $w->frame('DETACH', $_) for 20, 21;
    my $again = reader(20, seq => ++$n);
    ok SI::Edge::never(sub { $w->has('READERS') }, 1.5), 'a new mirror begins with one, which goes without saying';
    $again->close;
    $w->frame('DETACH', 20);
};

subtest 'an ATTACH whose reader has gone' => sub {
    my @gone = map { $edge->get("/gone$_") } 1, 2;
    my @call = map { $w->call->stream->data("retry: 1000\n\n") } @gone;
    $_->wait_body(qr/retry/) for @gone;
    $_->close for @gone;
    $w->frame('CANCEL', $_->{id}) for @call;
    $call[0]->attach(22, 'c:22', 7);
    is unpack('V', $w->frame('DETACH', 22)->{payload}), 7, 'is answered with DETACH: nobody reads here';
    my $c = reader(23, seq => 8);
    $call[1]->attach(23, 'c:23', 9);
    my $e = publish(23);
    ok $c->wait_body(qr/\Q$e\E/), 'another reader of the log reads on';
    ok !$w->has('DETACH'), 'and keeps it';
    $c->close;
    is unpack('V', $w->frame('DETACH', 23)->{payload}), 9, 'until it goes, with the last ATTACH';
};

subtest 'clients go' => sub {
    my @c = map { reader(19) } 1 .. 3;
    $_->close for @c[0, 1];
    wait_readers(1);
    ok !$w->has('DETACH'), 'one reader is left';
    my $e = publish(19);
    ok $c[2]->wait_body(qr/\Q$e\E/), 'and reads on';
    $c[2]->close;
    ok $w->frame('DETACH', 19), 'DETACH with the last';
    wait_readers(0);
    is_deeply [@{ status() }{qw(readers logs calls)}], [0, 0, 0], 'nothing is left';
};

$edge->stop;
done_testing;
