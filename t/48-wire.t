# What CloudFront, an ALB and any proxy between ask of an event stream, on the bytes themselves.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;
use SI::Test::H2;

my $READERS = 20;

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model, http2 => 1, nginx => 'si_stream_heartbeat 1s');
my $c = conversation($si);
my $asked = 0;

# A turn whose answer waits for the test, and its number among the model's requests.
sub stepped {
    my $conv = shift;
    $model->next(kind => 'step');
    my $s = $si->stream(POST => "/v1/conversations/$conv/turns", { input => 'Say it.' }, {}, keep_body => 1);
    return ($s, $model->wait_request(++$asked));
}

sub answered {
    my ($conv, @tokens) = @_;
    $model->next(kind => 'tokens', tokens => \@tokens);
    $asked++;
    my $r = $si->json(POST => "/v1/conversations/$conv/turns", { input => 'Say it.' });
    die "turn: $r->{status} $r->{body}\n" unless $r->{status} == 200;
    return $r->{json};
}

# Exactly these header lines: nothing of Accept, as a CDN may have removed it.
sub bare {
    my ($path, %h) = @_;
    my $version = delete $h{version} || '1.1';
    my $method = delete $h{method} || 'GET';
    my %all = (Host => 'si.example', Authorization => 'Bearer ' . $si->key, %h);
    my $text = join '', "$method $path HTTP/$version\r\n", map({ "$_: $all{$_}\r\n" } sort keys %all), "\r\n";
    return SI::Test::Stream->new(port => $si->port, method => $method, path => $path, raw_request => $text, keep_body => 1);
}

sub until_body {
    my ($s, $re, $what) = @_;
    SI::Test::Stream->pump_all([$s], sub { $s->{body} =~ $re }, undef, $what);
}

sub ids { join ' ', map { $_->{id} } @_ }

# The headers that every stream must have, whatever the version.
sub head_ok {
    my ($h, $what) = @_;
    my @wrong;
    push @wrong, "Content-Type $h->{'content-type'}" if $h->{'content-type'} !~ m{^text/event-stream(?:; ?charset=utf-8)?$}i;
    my %cc = map { $_ => 1 } split /, */, $h->{'cache-control'} // '';
    push @wrong, "Cache-Control without $_" for grep { !$cc{$_} } qw(no-cache no-store no-transform);
    push @wrong, 'X-Accel-Buffering' if ($h->{'x-accel-buffering'} // '') ne 'no';
    push @wrong, 'X-Content-Type-Options' if ($h->{'x-content-type-options'} // '') ne 'nosniff';
    push @wrong, "$_ $h->{$_}" for grep { defined $h->{$_} } qw(content-length content-encoding expires etag last-modified
        access-control-allow-origin);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok !@wrong, "$what: the headers" or diag join '; ', @wrong;
}

subtest 'head and first bytes' => sub {
    my $s = bare("/v1/conversations/$c/events", 'Accept-Encoding' => 'gzip, deflate, br');
    is $s->head->{status}, 200, 'Accept is not needed';
    head_ok($s->headers, 'GET');
    is $s->headers->{'transfer-encoding'}, 'chunked', 'chunked: the end can be told from a drop';
    until_body($s, qr/^id: .*\n\n/m, 'the first id');
    like $s->{body}, qr/\Aretry: \d+\n: \w+\n\nid: 0\.0\n\n/, 'the first bytes come without any event';
    $s->close;

    my ($turn, $n) = stepped($c);
    $turn->wait_event('turn.started');
    head_ok($turn->headers, 'POST');
    like $turn->{body}, qr/\Aretry: \d+\n.*\nevent: turn\.accepted\n.*\nevent: turn\.started\n/s, 'a turn is there before the model has said anything';
    my $id = $turn->{seen}[0]{data}{turn};
    my $other = bare("/v1/turns/$id/events", 'Accept' => 'application/json', 'Accept-Encoding' => 'gzip');
    is $other->wait_event('turn.started')->{id}, '1.2', 'so it is for one that asks for the turn';
    head_ok($other->headers, 'the turn');
    $model->go($n, 'x');
    $model->finish($n);
    for ($turn, $other) { $_->until_end; is $_->ended, 'whole', 'ends with the last chunk' }
    unlike $turn->{body}, qr/[\r\0]/, 'no CR and no NUL';
};

sub beats { my @all = $_[0]{body} =~ /^:\n\n/mg; return scalar @all }

subtest 'heartbeat' => sub {
    my ($turn, $n) = stepped($c);
    my @quiet = ($turn, bare("/v1/conversations/$c/events"), bare("/v1/conversations/$c/events", version => '1.0'));
    # Three of the default of 15 s would take longer than this waits.
    SI::Test::Stream->pump_all(\@quiet, sub { !grep { beats($_) < 3 } @quiet }, 30, 'three heartbeats');
    pass 'comes within si_stream_heartbeat while nothing happens, on every kind of stream';
    $model->finish($n);
    is $turn->wait_event('turn.completed')->{data}{message}{content}, '', 'and hurts nothing';
    $_->close for @quiet;
};

subtest 'HTTP/1.0' => sub {
    my ($turn, $n) = stepped($c);
    my $id = $turn->wait_event('turn.started')->{data}{turn};
    my $old = bare("/v1/turns/$id/events", version => '1.0', 'Accept-Encoding' => 'gzip');
    $old->wait_event('turn.started');
    head_ok($old->headers, 'HTTP/1.0');
    ok !$old->headers->{'transfer-encoding'}, 'is not chunked';
    is $old->headers->{connection}, 'close', 'and will be closed';
    for my $word (qw(one two three)) {
        $model->go($n, $word);
        is $old->wait_event('delta')->{data}{text}, $word, "`$word` arrives when it is said";
    }
    $model->finish($n);
    $old->wait_event('turn.completed');
    $old->until_end;
    is $old->ended, 'closed', 'the connection ends with the turn';
    $turn->until_end;
    is ids($old->seen), ids($turn->seen), 'same events as over HTTP/1.1';
    same_bytes(by_id($turn->seen), [$old->seen], 'in the same bytes');
};

subtest 'HEAD and OPTIONS' => sub {
    my $t = answered($c, 'x');
    for my $path ("/v1/conversations/$c/events", "/v1/turns/$t->{id}/events") {
        my $s = bare($path, method => 'HEAD');
        is $s->head->{status}, 200, "HEAD $path";
        head_ok($s->headers, 'HEAD');
        $s->close;
        my $both = talk("HEAD $path HTTP/1.1\r\n" . auth() . "\r\nGET /healthz HTTP/1.1\r\n" . auth() . "Connection: close\r\n\r\n");
        like $both, qr{\AHTTP/1\.1 200 (?:[^\r]+\r\n)+\r\nHTTP/1\.1 200 .*\r\n\r\nok\n\z}s, 'has no body: the next answer follows at once';
        my $r = $si->http(OPTIONS => $path, { Origin => 'https://elsewhere.example', 'Access-Control-Request-Method' => 'GET',
            'Access-Control-Request-Headers' => 'authorization, last-event-id' });
        is $r->{status}, 204, "OPTIONS $path";
        is $r->{headers}{allow}, 'GET, HEAD, OPTIONS', 'says what is allowed';
        is $r->{body}, '', 'and no more';
        ok !defined $r->{headers}{'access-control-allow-origin'}, 'and lets no other origin in';
    }
    is $si->http(HEAD => "/v1/conversations/$c/events")->{status}, 401, 'HEAD without a key';
};

# The header fields of a request, but for its end.
sub auth { return "Host: si.example\r\nAuthorization: Bearer " . $si->key . "\r\n" }

# All that comes for these bytes until the connection is closed.
sub talk {
    my $bytes = shift;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $si->port, Proto => 'tcp') or die "connect: $@";
    syswrite $s, $bytes;
    my ($in, $select, $end) = ('', IO::Select->new($s), now_ms() + 30_000);
    while (now_ms() < $end) {
        next unless $select->can_read(1);
        sysread $s, $in, 65536, length $in or return $in;
    }
    die "the connection stays open after:\n$in\n";
}

# Answers of one connection, in order: head and body of each.
sub answers {
    my ($bytes, $n) = @_;
    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $si->port, Proto => 'tcp') or die "connect: $@";
    syswrite $sock, $bytes;
    my ($in, $select, @all) = ('', IO::Select->new($sock));
    my $end = now_ms() + 30_000;
    while (@all < $n) {
        die "only " . @all . " answers in time\n" if now_ms() > $end;
        next unless $select->can_read(1);
        sysread $sock, $in, 65536, length $in or last;
        while ($in =~ /\A(HTTP.*?\r\n)\r\n/s) {
            my ($head, $from) = ($1, $+[0]);
            my $body = substr $in, $from;
            if ($head =~ /^Content-Length: (\d+)/mi) {
                last if length $body < $1;
                push @all, [$head, substr $body, 0, $1];
                substr($in, 0, $from + $1) = '';
            } elsif ($head =~ /^Transfer-Encoding: chunked/mi) {
                my ($text, $at) = ('', 0);
                my $whole = 0;
                while (substr($body, $at) =~ /\A([0-9a-f]+)\r\n/i) {
                    my ($size, $skip) = (hex $1, length($1) + 2);
                    last if length $body < $at + $skip + $size + 2;
                    $text .= substr $body, $at + $skip, $size;
                    $at += $skip + $size + 2;
                    $whole = 1, last if $size == 0;
                }
                last unless $whole;
                push @all, [$head, $text];
                substr($in, 0, $from + $at) = '';
            } else { die "an answer without a length:\n$head\n" }
        }
    }
    return @all;
}

subtest 'keep-alive and pipelined requests' => sub {
    my $t = answered($c, 'one ', 'two');
    my $auth = auth();
    my $body = '{"input": "Pipelined."}';
    my @get = map { "GET $_ HTTP/1.1\r\n$auth\r\n" } "/v1/conversations/$c", "/v1/turns/$t->{id}/events", "/v1/turns/$t->{id}";
    my $post = "POST /v1/conversations/$c/turns HTTP/1.1\r\n${auth}Content-Type: application/json\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
    $asked++;
    my @a = answers(join('', @get[0, 1], $post, $get[2], $get[0]), 5);
    is scalar(@a), 5, 'five requests written at once have five answers on one connection';
    is scalar(grep { $_->[0] =~ m{\AHTTP/1\.1 200 } && $_->[0] !~ /^Connection: close/mi } @a), 5, 'all 200, and it stays open';
    like $a[0][1], qr/^\{"id":"\Q$c\E"/, 'JSON';
    like $a[1][1], qr/^event: turn\.completed$/m, 'a stream that ends';
    like $a[2][1], qr/"input":"Pipelined\."/, 'a turn';
    like $a[3][1], qr/^\{"id":"\Q$t->{id}\E"/, 'JSON after it';
    my ($was, $is) = map { ($_->[1] =~ /"last_turn":(\d+)/)[0] } @a[0, 4];
    is $is, $was + 1, 'in order: the last one knows of the turn';

    # A stream that ends, by what the client said of its connection.
    for (['1.1', '', qr/^Connection: keep-alive\r$/m, 1], ['1.1', "Connection: close\r\n", qr/^Connection: close\r$/m, 1],
        ['1.0', '', qr/^Connection: close\r$/m, 0], ['1.0', "Connection: keep-alive\r\n", qr/^Connection: close\r$/m, 0]) {
        my ($version, $said, $want, $chunked) = @$_;
        my $what = "HTTP/$version " . ($said =~ s/\r\n//r || 'without Connection');
        my $open = $chunked && !$said;
        my $in = talk("GET /v1/turns/$t->{id}/events HTTP/$version\r\n$auth$said\r\n" . ($open ? "GET /healthz HTTP/1.1\r\n${auth}Connection: close\r\n\r\n" : ''));
        my ($head, $rest) = split /\r\n\r\n/, $in, 2;
        like "$head\r\n", $want, "$what: is answered by what it understands";
        is scalar($head =~ /^Transfer-Encoding: chunked\r?$/mi), $chunked || '', 'chunked or not';
        like $rest, $open ? qr{\r\n0\r\n\r\nHTTP/1\.1 200 } : $chunked ? qr/\r\n0\r\n\r\n\z/ : qr/^event: turn\.completed\ndata: .*\n\n\z/m, 'and ends as it says';
    }
};

subtest 'bytes that would end a line' => sub {
    # All line ends of the specification (CR LF, LF, CR) and what other readers take for one, a mark, and what looks like a field.
    my $odd = "\r\nevent: evil\r\n\r\ndata: x\rid: 9.9\n\nretry: 1\n\x{2028}\x{2029}\x{85}\x{0b}\x{0c}\x{feff}: \x01\x1b\x7f \x{1F600}";
    my $conv = conversation($si, { title => $odd });
    $model->next(kind => 'tokens', tokens => [map { "$_:$odd" } 1 .. 3]);
    $asked++;
    my $s = $si->stream(POST => "/v1/conversations/$conv/turns", { input => $odd, client_turn_id => 'odd' }, {}, keep_body => 1);
    my $done = $s->wait_event('turn.completed');
    $s->until_end;
    is $done->{data}{message}{content}, join('', map { "$_:$odd" } 1 .. 3), 'arrive as they were said';
    is $s->{seen}[0]{data}{input}, $odd, 'and as they were asked';
    my $again = bare("/v1/conversations/$conv/events?from=start");
    $again->wait_event('turn.completed');
    for ($s, $again) {
        unlike $_->{body}, qr/[\x00-\x09\x0b-\x1f]/, 'no control character but LF is on the wire';
        is scalar(grep { !/^(?:id: \d+\.\d+|event: [a-z.]+|data: \{.*\}|retry: \d+|:.*|)$/ } split /\n/, $_->{body}), 0, 'every line is one of Si';
    }
    same_bytes(by_id($s->seen), [grep { $_->{event} ne 'delta' } $again->seen], 'from the store in the same bytes');
    $again->close;
};

subtest 'a GET that is repeated' => sub {
    my $conv = conversation($si);
    answered($conv, map { "$_ " } 1 .. 5);
    my ($turn, $n) = stepped($conv);
    $turn->wait_event('turn.started');
    my $requests = $model->count;
    # A CDN repeats a GET that was silent for too long up to three times; the earlier ones may be open still.
    my @same = map { bare("/v1/conversations/$conv/events?from=start") } 1 .. 4;
    $_->wait_event('turn.completed') for @same;
    $model->go($n, 'and on');
    $model->finish($n);
    $_->wait_event('turn.completed') for @same;
    $turn->until_end;
    my @raw = map { join '', map { $_->{raw} } $_->seen } @same;
    is scalar(grep { $_ ne $raw[0] } @raw), 0, 'gets the same bytes each time';
    is $model->count, $requests, 'and starts nothing';
    is $si->json(GET => "/v1/conversations/$conv")->{json}{last_turn}, 2, 'no turn either';

    my @all = map { $_->{id} } $same[0]->seen;
    for my $at (0, 3, $#all - 1) {
        my @want = @all[$at + 1 .. $#all];
        my @got;
        for my $s (bare("/v1/conversations/$conv/events?last_event_id=$all[$at]"), bare("/v1/conversations/$conv/events", 'Last-Event-ID' => $all[$at]),
            bare("/v1/conversations/$conv/events?last_event_id=1.1", 'Last-Event-ID' => $all[$at])) {
            my @e;
            push @e, $s->next_event while !@e || $e[-1]{id} ne $all[-1];
            push @got, ids(@e);
            $s->close;
        }
        is_deeply \@got, ["@want", "@want", "@want"], "resume after $all[$at] by query, by header, and the header before the query";
    }
    $_->close for @same;
};

# A stream without its heartbeats, and without the time to reconnect after, which differs from one to the next.
sub events { return $_[0] =~ s/^:\n\n//mgr =~ s/retry: \d+\n//gr }

subtest 'HTTP/2' => sub {
    my $curl = `curl --version 2>/dev/null` // '';
    plan skip_all => 'curl has no HTTP/2' unless $curl =~ /HTTP2/;
    my @curl = ('curl', '-sS', '-N', '-i', '--max-time', 60, '--http2-prior-knowledge', '-H', 'Authorization: Bearer ' . $si->key, '-H', 'Accept-Encoding: gzip');
    my ($turn, $n) = stepped($c);
    my $id = $turn->wait_event('turn.started')->{data}{turn};
    open my $h2, '-|', @curl, $si->http2_url . "/v1/turns/$id/events" or die "curl: $!";
    my $in = '';
    my $see = sub {
        my ($re, $what) = @_;
        my $end = now_ms() + 30_000;
        until ($in =~ $re) {
            die "timed out waiting for $what over HTTP/2\n" if now_ms() > $end;
            next unless IO::Select->new($h2)->can_read(1);
            sysread $h2, $in, 65536, length $in or last;
        }
        like $in, $re, $what;
    };
    $see->(qr/^event: turn\.started$/m, 'first bytes');
    my ($head) = $in =~ /\A(.*?)\r\n\r\n/s;
    my %h = $head =~ /^([\w-]+): (.*?)\r?$/mg;
    like $head, qr{\AHTTP/2 200}, 'HTTP/2';
    head_ok(\%h, 'HTTP/2');
    ok !grep({ exists $h{$_} } qw(connection transfer-encoding keep-alive)), 'no headers of HTTP/1.1';
    $see->(qr/^:\n\n/m, 'a heartbeat');
    $model->go($n, "word$_ ") && $see->(qr/"text":"word$_ "/, "piece $_ when it is said") for 1 .. 3;
    $model->finish($n);
    $see->(qr/^event: turn\.completed\ndata: .*\n\n/m, 'the end');
    close $h2;
    is $?, 0, 'and the stream ends whole';

    # A long answer through a window of 1 KiB, twice at once on one connection.
    my $long = answered($c, map { sprintf '%08d', $_ } 1 .. 20_000);
    my $path = "/v1/turns/$long->{id}/events";
    my $want = bare($path);
    $want->until_end;
    my $events = events($want->{body});
    SKIP: {
        chomp(my $nghttp = `command -v nghttp 2>/dev/null`);
        skip 'no nghttp', 1 if $nghttp eq '';
        my ($rc, $out) = SI::Test::run({}, $nghttp, '-w', 10, '-W', 11, '-t', 60, '-H', 'Authorization: Bearer ' . $si->key, map { $si->http2_url . "$path$_" } '', '?again=1');
        $out = events($out);
        # Two streams are printed as their frames come, so only their amount can be compared.
        is length $out, 2 * length $events, 'windows of 1 and 2 KiB hold it back and lose nothing';
    }
    my ($rc, $out) = SI::Test::run({}, @curl, $si->http2_url . $path);
    $out =~ s/\A.*?\r\n\r\n//s;
    ok $rc == 0 && events($out) eq $events, 'the same bytes as over HTTP/1.1';
};

# As a client with a full receive window: the server may send nothing of a body until it is told to.
subtest 'HTTP/2 flow control' => sub {
    my @key = (Authorization => 'Bearer ' . $si->key);
    my $conv = conversation($si);
    my $long = answered($conv, map { sprintf '%08d', $_ } 1 .. 2_000);
    my $want = bare("/v1/turns/$long->{id}/events");
    $want->until_end;
    my $h2 = SI::Test::H2->new(port => $si->{http2_port}, window => 0);
    my ($shut, $live) = map { $h2->get($_, @key) } "/v1/turns/$long->{id}/events", "/v1/conversations/$conv/events?from=start";
    $h2->wait(sub { $h2->{head}{$shut} && $h2->{head}{$live} }, 'two heads');
    is ord $h2->{head}{$_}, 0x88, 'status 200 comes without any window' for $shut, $live;
    my $other = bare("/v1/conversations/$conv/events?from=start");
    answered($conv, 'more');
    $other->wait_event('turn.completed') for 1, 2;
    $h2->ping;
    is "@{ $h2->{data} }{$shut, $live}", ' ', 'and not a byte of a body, while others read on';

    $h2->open($live, 10);
    $h2->wait(sub { length $h2->{data}{$live} >= 10 }, 'ten bytes');
    $h2->ping;
    is length $h2->{data}{$live}, 10, 'a window of ten bytes brings ten';
    $h2->open($live, 1_000_000);
    my $last = $other->{last_id};
    $h2->wait(sub { $h2->{data}{$live} =~ /^id: \Q$last\E\n.*\n.*\n\n/m }, 'the rest');
    my ($got, $all) = map { events($_) } $h2->{data}{$live}, $other->{body};
    is $got, $all, 'a wide one the rest: the same bytes as over HTTP/1.1';
    is $h2->{data}{$shut}, '', 'the other stream of the connection waits still';
    until ($h2->{end}{$shut}) {
        my $had = length $h2->{data}{$shut};
        $h2->open($shut, 5_000);
        $h2->wait(sub { $h2->{end}{$shut} || length $h2->{data}{$shut} >= $had + 5_000 }, 'the next part');
        die "more than the window\n" if length $h2->{data}{$shut} > $had + 5_000;
    }
    ($got, $all) = map { events($_) } $h2->{data}{$shut}, $want->{body};
    ok $h2->{end}{$shut} eq 'whole' && $got eq $all, 'in parts it has every byte, and its end';
    $other->close;

    my $stingy = SI::Test->start(model => $model, http2 => 1, nginx => 'si_stream_stall 1s');
    my $h3 = SI::Test::H2->new(port => $stingy->{http2_port}, window => 0);
    my $never = $h3->get('/v1/conversations/' . conversation($stingy) . '/events', Authorization => 'Bearer ' . $stingy->key);
    $h3->wait(sub { defined $h3->{end}{$never} }, 'the end of a reader that never reads');
    isnt $h3->{end}{$never}, 'whole', 'who never opens the window is reset';
    is $h3->{data}{$never}, '', 'having had nothing';
    is $stingy->status->{edge}{closed}{stall}, 1, 'which is counted';
};

# What a process calls, from now on: an object whose lines grow.
sub strace_start {
    my $pid = shift;
    my $file = $si->dir . '/strace';
    my $tracer = fork // die "fork: $!";
    if (!$tracer) {
        open STDERR, '>', "$file.err";
        exec 'strace', '-q', '-s', 256, '-e', 'trace=accept4,setsockopt,write,writev,sendto,sendmsg,close', '-o', $file, '-p', $pid or POSIX::_exit(127);
    }
    my $end = now_ms() + 20_000;
    while ((slurp("/proc/$pid/status") =~ /^TracerPid:\s+(\d+)/m)[0] != $tracer) {
        if (waitpid($tracer, POSIX::WNOHANG()) || now_ms() > $end) {
            kill KILL => $tracer;
            return;
        }
        select undef, undef, undef, 0.01;
    }
    return { pid => $tracer, file => $file };
}

subtest 'system calls' => sub {
    chomp(my $strace = `command -v strace 2>/dev/null`);
    plan skip_all => 'no strace' if $strace eq '';
    my ($edge) = $si->nginx_pids;
    my $conv = conversation($si);
    my $trace = strace_start($edge) or plan skip_all => 'strace may not attach: ' . slurp($si->dir . '/strace.err');
    my @readers = map { bare("/v1/conversations/$conv/events") } 1 .. $READERS;
    SI::Test::Stream->pump_all(\@readers, sub { !grep { $_->{body} !~ /^id: /m } @readers }, 60, 'readers');
    my ($turn, $n) = stepped($conv);
    push @readers, $turn;
    SI::Test::Stream->pump_all(\@readers, sub { !grep { $_->{body} !~ /^event: turn\.started$/m } @readers }, 60, 'the turn');
    $model->go($n, 'the-only-one');
    SI::Test::Stream->pump_all(\@readers, sub { !grep { $_->{body} !~ /the-only-one/ } @readers }, 60, 'the event');
    $model->finish($n);
    SI::Test::Stream->pump_all(\@readers, sub { !grep { $_->{body} !~ /^event: turn\.completed\ndata: .*\n\n/m } @readers }, 60, 'the end');
    kill INT => $trace->{pid};
    waitpid $trace->{pid}, 0;

    my @calls = split /\n/, slurp($trace->{file});
    my (%nodelay, %event, %bodies);
    for (@calls) {
        if (/^accept4\(.* = (\d+)$/) { delete $nodelay{$1} }
        elsif (/^setsockopt\((\d+), SOL_TCP, TCP_NODELAY, \[1\]/) { $nodelay{$1} = 1 }
        elsif (/^(?:sendto|writev|write|sendmsg)\((\d+), .*event: delta/) { $event{$1}++ }
    }
    is scalar(keys %event), $READERS + 1, 'one event goes to each reader';
    is scalar(grep { $_ != 1 } values %event), 0, 'by exactly one call for each of them';
    is scalar(grep { !$nodelay{$_} } keys %event), 0, 'all of them with TCP_NODELAY';
    for (@calls) { $bodies{$1}++ if /^(?:sendto|writev|write|sendmsg)\((\d+), / && $event{$1} && !/"3\\r\\n:\\n\\n\\r\\n"/ }
    my @per = sort { $a <=> $b } values %bodies;
    # Head, first bytes, then accepted, started, delta, completed: each of these may be a wake-up of its own.
    cmp_ok $per[-1], '<=', 8, 'and no more calls in all than there were events' or diag "@per";
    $_->close for @readers;
};

done_testing;
