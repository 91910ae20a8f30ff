# The edge alone: calls, answers, bodies and what happens when workers move or die.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use SI::Edge;
use Test::More;

my $json = JSON::PP->new->utf8;
my $edge = SI::Edge->new(workers => 2, key => '$arg_k', http => 'add_header X-Conversation $si_conversation always;');
my @w = map { $edge->worker($_) } 0, 1;
$edge->start;
$_->wait_link for @w;
like $w[0]{links}[0]{hello}{peer}, qr/^nginx \d+$/, 'the edge says who it is';

# The worker that got the next OPEN.
sub next_call {
    my $call;
    SI::Edge::wait_for(sub { grep { $_->has('OPEN') } @w }, 'OPEN');
    my ($w) = grep { $_->has('OPEN') } @w;
    return $w->call;
}

sub bytes { my ($n, $seed) = @_; return substr join('', map { chr(33 + ($seed * $_ * 7 + $_ / 90) % 90) } 1 .. 9973) x (1 + $n / 9973), 0, $n }

subtest 'a JSON answer' => sub {
    my $c = $edge->client("GET /v1/conversations/c1/messages?a=%20b&k= HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nX-Si-Internal: 1\r\nTE: trailers\r\nConnection: keep-alive\r\n\r\n");
    my $call = next_call();
    is $call->{method}, 'GET', 'method';
    is $call->{path}, '/v1/conversations/c1/messages', 'path';
    is $call->{args}, 'a=%20b&k=', 'arguments as they came';
    is $call->{addr}, '127.0.0.1', 'address';
    like $call->{call_key}, qr/^[0-9a-f]{32}$/, 'call key';
    is_deeply [sort @{ $call->{list} }], ['host', 'x-one'], 'headers in lower case, none of hop by hop';
    $call->head(200, type => 'application/json; charset=utf-8', length => 11, tenant => 'acme', user => 'u1', turn => 't1',
        headers => ['ETag', '"3"', 'Cache-Control', 'private'])->data('{"a":1,"b')->data('":')->end;
    is $c->wait_whole, 1, 'whole';
    is $c->status, 200, 'status';
    is $c->body, '{"a":1,"b":', 'body';
    like $c->header, qr/^Content-Type: application\/json; charset=utf-8\r$/m, 'type';
    like $c->header, qr/^Content-Length: 11\r$/m, 'length';
    like $c->header, qr/^ETag: "3"\r$/m, 'a header of the worker';
    like $c->header, qr/^X-Conversation: c1\r$/m, '$si_conversation';
    SI::Edge::wait_for(sub { $edge->access =~ /\n/ }, 'the access log');
    like $edge->access, qr/^200 \d\.100\d acme u1 t1 \d\.\d{3} \[c1\]$/m, 'variables in the log';
    SI::Edge::write_all($c, "GET /two HTTP/1.1\r\nHost: h\r\n\r\n");
    $c->{in} = '';
    next_call()->head(204)->end;
    $c->wait_head;
    is $c->status, 204, 'the connection is used again';
    $c->close;
};

subtest 'header fields with control bytes' => sub {
    my @clean = ("a\tb and \xc3\xa9 \xff~", '!' x 40, '', ("0123456789abcdef\t" x 3));
    my @bad = map { my $at = $_; map { my $v = 'v' x 20; substr($v, $at, 1) = $_; $v } "\r", "\n", "\x01", "\x1f", "\x7f" } 0 .. 19;
    my $c = $edge->get('/h');
    next_call()->head(200, type => 'text/plain', length => 1, headers => [
        (map { ("X-Clean-$_", $clean[$_]) } 0 .. $#clean), (map { ("X-Bad-$_", $bad[$_]) } 0 .. $#bad),
        "X-Bad-\x7fName", 'v', "X-Bad-Long-\x02-Name", 'v', 'Date', 'never', 'SERVER', 'none', 'Content-Lengths', '7'])->data('x')->end;
    ok $c->wait_whole, 'whole';
    is_deeply [$c->header =~ /^X-Clean-\d: ?(.*)\r$/mg], \@clean, 'text, tabs and bytes above 0x7f pass';
    unlike $c->header, qr/X-Bad/, 'control bytes do not, wherever they are';
    unlike $c->header, qr/never|none/, 'nginx makes Date and Server itself';
    like $c->header, qr/^Content-Lengths: 7\r$/m, 'a longer name is another one';
    $c->close;
};

subtest 'each request has an id of its own' => sub {
    my $c = $edge->client('');
    my %seen;
    for (1 .. 50) {
        $c->{in} = '';
        SI::Edge::write_all($c, "GET /id HTTP/1.1\r\nHost: h\r\n\r\n");
        my $call = next_call();
        $seen{ $call->{call_key} }++;
        $call->head(204)->end;
        $c->wait_head;
    }
    is scalar(grep { /^[0-9a-f]{32}$/ } keys %seen), 50, 'of 16 bytes, also when the random bytes fetched at once are used up';
    my %byte;
    $byte{$_}++ for map { unpack '(A2)*', $_ } keys %seen;
    cmp_ok scalar(keys %byte), '>', 200, 'random bytes';
    $c->close;
};

subtest 'HEAD, 304, and answers of unknown length' => sub {
    my $c = $edge->client("HEAD /h HTTP/1.1\r\nHost: h\r\n\r\n");
    next_call()->head(200, type => 'text/plain', length => 5)->end;
    $c->wait_head;
    like $c->header, qr/^Content-Length: 5\r$/m, 'HEAD has the length';
    is $c->body, '', 'and no body';
    $c->{in} = '';
    SI::Edge::write_all($c, "GET /n HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"9\"\r\nIf-Match: \"1\"\r\n\r\n");
    next_call()->head(304, headers => ['ETag', '"9"'])->end;
    $c->wait_head;
    is $c->status, 304, 'not modified';
    $c->{in} = '';
    SI::Edge::write_all($c, "GET /n HTTP/1.1\r\nHost: h\r\nIf-Match: \"1\"\r\n\r\n");
    next_call()->head(200, type => 'text/plain', headers => ['ETag', '"2"'])->data('ok')->end;
    ok $c->wait_whole, 'chunked to the end';
    is $c->status, 200, 'If-Match is the business of the worker';
    is $c->body, 'ok', 'body';
    $c->close;
    $c = $edge->client("GET /n HTTP/1.0\r\n\r\n");
    next_call()->head(200, type => 'text/plain')->data('old')->end;
    $c->wait_eof;
    is $c->body, 'old', 'HTTP/1.0 ends with the connection';
};

subtest 'bodies' => sub {
    for my $n (1, 15_000, 100_000, 2_000_000) {
        my $body = bytes($n, $n);
        my $c = $edge->client("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: $n\r\n\r\n$body");
        my $call = next_call();
        is $call->{flags} & 1, 1, "$n bytes are announced";
        my $got = $call->body;
        ok $got eq $body, "$n bytes arrive unchanged";
        $call->json('{}');
        is $c->wait_whole, 1, 'answered';
        $c->close;
    }
    my $c = $edge->client("POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    my $call = next_call();
    is $call->body, 'hello', 'a chunked body';
    $call->json('{}');
    ok $c->wait_whole, 'answered';
    $c->close;

    for my $empty ("Content-Length: 0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n") {
        $c = $edge->client("POST /b HTTP/1.1\r\nHost: h\r\n$empty");
        $call = next_call();
        is $call->{flags}, 0, 'an empty body is none';
        $call->json('{}');
        ok $c->wait_whole, 'answered';
        $c->close;
    }

    $c = $edge->client("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n" . bytes(300_000, 3));
    $call = next_call();
    my $have = 0;
    SI::Edge::wait_for(sub { $have = 0; $have += length $_->{payload} for grep { $_->{type} eq 'BODY' } @{ $call->{worker}{frames} }; $have >= 65536 }, 'the window');
    ok SI::Edge::never(sub { $have = 0; $have += length $_->{payload} for grep { $_->{type} eq 'BODY' } @{ $call->{worker}{frames} }; $have > 65536 }, 0.3),
        'no byte more than the window without credit';
    $call->head(413, type => 'text/plain', length => 3)->data('no!')->end;
    ok $c->wait_whole, 'an early answer ends the call';
    is $c->status, 413, 'early status';
    @{ $_->{frames} } = () for @w;
    $c->close;
};

subtest 'no credit for what the client has not taken' => sub {
    my $c = $edge->get('/big', rcvbuf => 4096, paused => 1);
    my $call = next_call();
    my $total = 6 << 20;
    my ($sent, $open) = (0, 65536);
    my $data = bytes($total, 5);
    $call->head(200, type => 'application/octet-stream', length => $total);
    my $pump = sub {
        while ($open > 0 && $sent < $total) {
            my $n = $open < 32768 ? $open : 32768;
            $n = $total - $sent if $n > $total - $sent;
            $call->data(substr $data, $sent, $n);
            $sent += $n;
            $open -= $n;
        }
        if ($call->{worker}->has('CREDIT')) {
            $open += unpack 'V', $call->{worker}->frame('CREDIT', $call->{id})->{payload};
        }
        return 0;
    };
    my ($last, $same) = (-1, 0);
    SI::Edge::wait_for(sub { $pump->(); $same = $sent == $last ? $same + 1 : 0; $last = $sent; $same > 25 }, 'the client to block');
    cmp_ok $sent, '<', $total, 'a client that does not read stops the worker';
    $c->unpause;
    SI::Edge::wait_for(sub { $pump->(); $sent == $total }, 'the rest');
    $call->end;
    ok $c->wait_whole, 'whole';
    ok $c->body eq $data, 'and unchanged';
    $c->close;
};

subtest 'a key chooses the worker' => sub {
    my (%at, %seen);
    for my $k (map { "k$_" } 1 .. 12) {
        for (1, 2) {
            my $c = $edge->get("/k?k=$k");
            my $call = next_call();
            $seen{ $call->{worker}{name} }++;
            $at{$k} ||= $call->{worker}{name};
            is $call->{worker}{name}, $at{$k}, "$k stays" if $_ == 2;
            $call->json('{}');
            $c->wait_whole;
            $c->close;
        }
    }
    is scalar keys %seen, 2, 'both have keys';
};

subtest 'MOVED' => sub {
    my $far = $edge->worker(7, 777);
    my $c = $edge->client("POST /m?k=x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    my $first = next_call();
    is $first->body, 'abc', 'the first worker has the body';
    $first->moved('7.777');
    my $call = $far->call;
    is $call->{call_key}, $first->{call_key}, 'the same call key';
    is $call->body, 'abc', 'the body again';
    $call->json('{"at":7}');
    $c->wait_whole;
    is $c->body, '{"at":7}', 'answered by the instance';
    $c->close;

    $c = $edge->get('/m?k=x');
    my $n = 0;
    for (1 .. 5) { my $call = $n++ % 2 ? $far->call : next_call(); $call->moved($n % 2 ? '7.777' : $w[0]{name}) }
    $c->wait_whole;
    is $c->status, 503, 'at most four hops';
    $c->close;
    $far->kill_it;
};

subtest 'MOVED to a worker that goes, and to a slot' => sub {
    my $far = $edge->worker(8, 888);
    $far->{goes} = 1;
    my @c;
    for my $name ('8.888', 1) {
        push @c, $edge->get('/m?k=y');
        my $call = next_call();
        my $at = $name eq '1' ? $w[1] : $far;
        # twice: the second call must not need a link of its own to the slot
        for my $try (1, 2) {
            $call->moved($name);
            my $again = $at->call;
            is $again->{call_key}, $call->{call_key}, "$name: the call comes";
            $again->json('{}');
            $c[-1]->wait_whole;
            is $c[-1]->status, 200, "$name: and is answered";
            last if $try == 2;
            push @c, $edge->get('/m?k=y');
            $call = next_call();
        }
    }
    is scalar @{ $w[1]{links} }, 1, 'a slot has one link';
    cmp_ok $far->{greeted}, '<=', 2, 'a worker that goes has one, until it is idle';
    $_->close for @c;
    $far->kill_it;
};

subtest 'a link dies before HEAD' => sub {
    my $c = $edge->client("POST /d?k=q HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    my $call = next_call();
    my $dead = $call->{worker};
    $dead->kill_it;
    my ($other) = grep { $_ != $dead } @w;
    my $again = $other->call;
    is $again->{call_key}, $call->{call_key}, 'sent again with its key';
    is $again->body, 'abc', 'with its body';
    $again->json('{"ok":1}');
    $c->wait_whole;
    is $c->body, '{"ok":1}', 'answered';
    $c->close;
    my $slot = $dead->{slot};
    my ($i) = grep { $w[$_] == $dead } 0, 1;
    $w[$i] = $edge->worker($slot, 2000 + $slot);
    $w[$i]->wait_link;
    pass 'the new worker of the slot is found';
};

subtest 'END with abort' => sub {
    my $c = $edge->get('/a');
    my $call = next_call()->head(200, type => 'text/plain')->data('part');
    $c->wait_body(qr/part/);
    $call->end(16);
    $c->wait_eof;
    is $c->body, 'part', 'what there was';
    ok !$c->whole, 'and no last chunk';
    $c = $edge->client("GET /a HTTP/1.0\r\n\r\n");
    $call = next_call()->head(200, type => 'text/plain')->data('part');
    $c->wait_body(qr/part/);
    $call->end(16);
    $c->wait_eof;
    isnt $c->{eof}, 'eof', 'HTTP/1.0 sees a reset';
    $c = $edge->get('/a');
    next_call()->head(200, type => 'text/plain', length => 10)->data('part')->end;
    $c->wait_eof;
    ok !$c->whole, 'an answer shorter than its length is cut too';
};

subtest 'the client goes' => sub {
    my $c = $edge->get('/g');
    my $call = next_call();
    $c->close;
    is $call->{worker}->frame('CANCEL', $call->{id})->{id}, $call->{id}, 'CANCEL before HEAD';
    $c = $edge->get('/g');
    $call = next_call()->head(200, type => 'text/plain')->data('x');
    $c->wait_body(qr/x/);
    $c->close;
    ok $call->{worker}->frame('CANCEL', $call->{id}), 'CANCEL within the answer';
    $call->data('late')->end;
    $c = $edge->get('/g');
    next_call()->json('{}');
    ok $c->wait_whole, 'frames under way for it are ignored';
    $c->close;
};

subtest 'status' => sub {
    my $c = $edge->get('/status');
    for my $w (@w) { my $q = $w->call; is $q->{path}, '/status', 'asked'; is $q->{headers}{'x-si-internal'}, '1', 'by the edge itself'; $q->json("{\"slot\":$w->{slot}}") }
    ok $c->wait_whole, 'answered';
    my $s = $json->decode($c->body);
    is scalar @{ $s->{workers} }, 2, 'two workers';
    is_deeply [map { $_->{slot} } @{ $s->{workers} }], [0, 1], 'with their own words';
    is $s->{edge}{readers}, 0, 'no readers';
    is $s->{edge}{calls}, 0, 'no calls are left';
    cmp_ok $s->{edge}{bytes_sent}, '>', 6 << 20, 'bytes counted';
    is scalar(grep { $_->{state} eq 'up' } @{ $s->{edge}{links} }), 2, 'both links are up';
    $c->close;
    $c = $edge->get('/status');
    my $quiet = $w[1]->call;
    $w[0]->call->json('{"slot":0}');
    ok $c->wait_whole, 'answered without the second';
    is_deeply $json->decode($c->body)->{workers}, [{ slot => 0 }, { slot => 1, error => 'no answer in time' }], 'which is named';
    $c->close;
};

subtest 'protocol errors' => sub {
    my %bad = (
        'unknown frame type' => sub { $_[0]->raw($_[1], pack 'VCCvQ<', 0, 99, 0, 0, 1) },
        'never opened' => sub { $_[0]->send_frame($_[1], END => 0, 1 << 40) },
        'only an edge sends' => sub { $_[0]->send_frame($_[1], OPEN => 0, 1) },
        'second HELLO' => sub { $_[0]->send_frame($_[1], HELLO => 0, 0) },
        'malformed PONG' => sub { $_[0]->send_frame($_[1], PONG => 0, 0, 'x') },
        'frame too long' => sub { $_[0]->raw($_[1], pack 'VCCvQ<', 1 << 30, 9, 0, 0, 1) },
    );
    for my $reason (sort keys %bad) {
        my $link = $w[0]->wait_link;
        $bad{$reason}->($w[0], $link);
        SI::Edge::wait_for(sub { $link->{closed} }, 'the edge to close the link');
        is scalar(() = $edge->log =~ /\[error\][^\n]*$reason/g), 1, "closed once: $reason";
        SI::Edge::wait_for(sub { @{ $w[0]{links} } && $w[0]{links}[0]{hello} }, 'a new link');
    }
    my $c = $edge->get('/e');
    my $call = next_call();
    $call->data('x');
    SI::Edge::wait_for(sub { $call->{link}{closed} }, 'the link to close');
    like $edge->log, qr/DATA or ATTACH before HEAD/, 'DATA before HEAD';
    next_call()->json('{}');
    ok $c->wait_whole, 'the call went elsewhere';
    $c->close;
};

subtest 'no worker' => sub {
    $_->kill_it for @w;
    my $c = $edge->get('/none');
    ok $c->wait_whole, 'answered';
    is $c->status, 503, 'unavailable';
    like $c->header, qr/^Retry-After: 1\r$/m, 'Retry-After';
    like $c->header, qr/^Content-Type: application\/problem\+json\r$/m, 'type';
    my $p = $json->decode($c->body);
    is $p->{code}, 'no_worker', 'code';
    is $p->{status}, 503, 'status';
    $c->close;
    $c = $edge->get('/late');
    ok SI::Edge::never(sub { $c->{eof} || $c->status }, 0.2), 'another waits';
    $w[0] = $edge->worker(0, 3000);
    $w[0]->call->json('{"late":1}');
    ok $c->wait_whole, 'and is served when a worker comes';
    is $c->body, '{"late":1}', 'body';
    $c->close;
};

$edge->stop;
done_testing;
