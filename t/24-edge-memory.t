# The edge alone: what an idle reader weighs, that it weighs no more later, and that what nginx says of it stays right.
use strict;
use warnings;
use Test::More;

use lib 't/lib';
use Socket ();
use SI::Edge;

# A thousand sockets here, and as many in nginx.
if (!$ENV{SI_T24_FILES}) {
    local $ENV{SI_T24_FILES} = 1;
    exec 'sh', '-c', 'ulimit -Sn 4096 2>/dev/null; exec "$@"', 'sh', $^X, $0;
}

my $READERS = 1000;
my $BOUND = 5;    # KiB, as DESIGN 11 has it
my $UUID = '01a21e4f-155a-7abd-a27c-%012d';
my $EVENTS = 1000;

my $conf = SI::Edge::slurp('conf/nginx.conf');
my $pools = join ' ', $conf =~ /^\s*((?:connection_pool_size|request_pool_size|client_header_buffer_size|large_client_header_buffers) [^;]+;)/mg;
my $map = join ' ', $conf =~ /(map \$(?:request_uri|http_traceparent) \$\w+ \{.*?\n    \})/sg;
my ($format) = $conf =~ /(log_format si .*?;)\n/s;
$format =~ s/log_format si/log_format full/;

# With the limits of conf/nginx.conf, high enough for a thousand readers with one key.
my $limits = 'si_limit_zone $si_caller zone=caller:8m rate=10000r/s burst=100000; si_limit_zone $si_client_addr zone=address:8m rate=10000r/s burst=100000;'
    . 'si_limit_zone $si_client_addr zone=failures:8m rate=30r/m burst=60; si_limit_zone $si_user zone=streams:8m streams=10000;'
    . 'si_limit zone=caller; si_limit zone=address; si_limit_failures zone=failures; si_limit_streams zone=streams;';

sub edge {
    my %o = @_;
    my $edge = SI::Edge->new(key => '$si_conversation', %o,
        http => "server_tokens off; $pools $map $format " . ($o{http} // ''));
    return ($edge, $edge->worker(0));
}

sub memory { my $pid = shift; return SI::Edge::slurp("/proc/$pid/smaps_rollup") =~ /^Pss_Anon:\s+(\d+) kB/m ? $1 : 0 }

# Its memory once nginx has done all that was asked of it: a later answer has come.
sub settled {
    my ($edge, $w, $pid) = @_;
    my $c = $edge->get('/last');
    $w->call->json('{}');
    $c->wait_whole;
    $c->close;
    return memory($pid);
}

my $HEAD = "Host: t\r\nAuthorization: Bearer sk_0123456789abcdef0123456789abcdef0123456789\r\nUser-Agent: memory\r\nAccept: text/event-stream\r\n";

# Sockets outside of the loop: a select() of a thousand for each turn would take long.
sub raw_reader {
    my $edge = shift;
    socket(my $s, Socket::AF_INET(), Socket::SOCK_STREAM(), 0) or die "socket: $!";
    connect $s, Socket::pack_sockaddr_in($edge->{port}, Socket::inet_aton('127.0.0.1')) or die "connect: $!";
    syswrite $s, "GET /v1/conversations/${\ sprintf $UUID, 1}/events HTTP/1.1\r\n$HEAD\r\n";
    return { fh => $s, in => '' };
}

# Reads until the text is there; what came before it is forgotten.
sub read_to {
    my ($c, $text) = @_;
    vec(my $want = '', fileno $c->{fh}, 1) = 1;
    my $end = SI::Edge::now() + $SI::Edge::TIMEOUT;
    while ((my $at = index $c->{in}, $text) < 0) {
        die "timed out waiting for \"$text\"\n" if SI::Edge::now() > $end;
        next if !select my $ready = $want, undef, undef, 1;
        sysread($c->{fh}, $c->{in}, 65536, length $c->{in}) or die "a reader was closed\n";
    }
    $c->{in} = substr $c->{in}, index($c->{in}, $text) + length $text;
    return;
}

# All on the log 7, or, with `own`, on as many logs from `own` on.
sub open_readers {
    my ($edge, $w, $count, $own) = @_;
    my @all;
    while (@all < $count) {
        my @c = map { raw_reader($edge) } 1 .. ($count - @all > 50 ? 50 : $count - @all);
        # header and bytes one by one: the worst case, as nginx must be told to send the header
        my @calls = map { $w->call->stream(map { $_ => sprintf $UUID, 2 } qw(tenant user credential)) } @c;
        read_to($_, "\r\n\r\n") for @c;
        for my $i (0 .. $#calls) {
            my @log = $own ? ($own + @all + $i, sprintf("c:$UUID:$UUID", 2, @all + $i), 1) : (7, 'c:7', 1 + @all);
            $calls[$i]->data("retry: 1000\n\n")->attach(@log);
        }
        read_to($_, "retry: 1000\n\n") for @c;
        push @all, @c;
    }
    return @all;
}

subtest 'weight' => sub {
    # a sanitizer keeps freed memory for a while, which would look like growth
    local $ENV{ASAN_OPTIONS} = join ':', 'quarantine_size_mb=0', 'thread_local_quarantine_size_kb=0', $ENV{ASAN_OPTIONS} || ();
    my ($edge, $w) = edge(http => $limits, location => 'access_log logs/full.log full; si_stream_heartbeat 1s; si_stream_buffer 1m;');
    $edge->start;
    my $link = $w->wait_link;
    my ($pid) = $edge->nginx_pids;
    my $sanitized = SI::Edge::slurp("/proc/$pid/maps") =~ /lib[au]san|asan/ || $edge->{module} eq '';
    my @c = open_readers($edge, $w, 10);
    my $before = settled($edge, $w, $pid);
    plan skip_all => 'the kernel does not tell Pss_Anon' if !$before;
    push @c, open_readers($edge, $w, $READERS);
    my $idle = settled($edge, $w, $pid);
    my $each = ($idle - $before) / $READERS;
    if ($sanitized) { pass 'no bound under a sanitizer' }
    else { cmp_ok $each, '<=', $BOUND, sprintf 'an idle reader weighs %.2f KiB', $each }

    read_to($_, "\n:\n\n\r\n") for (@c) x 3;
    my $n = 0;
    my $flat = sub {
        my ($what, $base) = @_;
        my $now = settled($edge, $w, $pid);
        cmp_ok $now - $base, '<=', $base * 0.02, "$what: $now KiB, before $base KiB";
    };
    $flat->('after heartbeats', $idle);
    my $round = sub {
        for (1 .. 20) { $n++; $w->feed($link, 7, "1.$n", "id: 1.$n\nevent: delta\ndata: text $n of an answer\n\n") }
        read_to($_, "id: 1.$n\n") for @c;
    };
    # the first blocks of the log are memory that is used again
    $round->();
    my $first = settled($edge, $w, $pid);
    $round->() while $n < $EVENTS;
    $flat->("after $n events", $first);
    read_to($_, "\n:\n\n\r\n") for (@c) x 3;
    $flat->('after more heartbeats', $first);

    close $_->{fh} for @c;
    $w->frame('DETACH', 7);
    @c = open_readers($edge, $w, $READERS + 10);
    $flat->('with as many readers again', $first);
    close $_->{fh} for @c;
    my $most = $before + ($idle - $before) / 4;
    my $back = $sanitized || SI::Edge::wait_for(sub { memory($pid) < $most }, 'memory to come back');
    ok $back, "memory comes back when they leave: less than $most KiB";
    $edge->stop;
};

subtest 'weight with a log each' => sub {
    my ($edge, $w) = edge(location => 'si_stream_heartbeat 1s;');
    $edge->start;
    my $link = $w->wait_link;
    my ($pid) = $edge->nginx_pids;
    my $sanitized = SI::Edge::slurp("/proc/$pid/maps") =~ /lib[au]san|asan/ || $edge->{module} eq '';
    my @c = open_readers($edge, $w, 10, 1000);
    my $before = settled($edge, $w, $pid);
    plan skip_all => 'the kernel does not tell Pss_Anon' if !$before;
    push @c, open_readers($edge, $w, $READERS, 2000);
    my $each = (settled($edge, $w, $pid) - $before) / $READERS;
    if ($sanitized) { pass 'no bound under a sanitizer' }
    else { cmp_ok $each, '<=', $BOUND, sprintf 'an idle reader and its log weigh %.2f KiB', $each }

    # one reader has no seat; the second brings one for both
    push @c, open_readers($edge, $w, 1, 2000);
    my @two = @c[10, -1];
    for my $n (1 .. 3) {
        $w->feed($link, 2000, "1.$n", "id: 1.$n\ndata: x\n\n");
        read_to($_, "id: 1.$n\ndata: x\n\n") for @two;
    }
    close $two[0]{fh};
    $w->feed($link, 2000, '1.4', "id: 1.4\ndata: x\n\n");
    ok eval { read_to($two[1], "id: 1.4\n"); 1 }, 'events to one, to two, and to one again';
    $edge->stop;
};

# Each variable that points into what was given back, read when the stream ends.
my $cookie = 'sid=' . 'c' x 40;
my @cases = (
    ['a short header', "Host: t.example\r\nUser-Agent: short/1\r\nCookie: $cookie\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nReferer: http://r/\r\nAuthorization: Basic dXNlcjpwYXNz\r\n"],
    ['a long header', "Host: t.example\r\nUser-Agent: long/1\r\nX-Long: " . 'l' x 6000 . "\r\nCookie: $cookie\r\nX-Forwarded-For: 10.0.0.1\r\nX-Other: " . 'o' x 6000 . "\r\nX-Forwarded-For: 10.0.0.2\r\nReferer: http://r/\r\nAuthorization: Basic dXNlcjpwYXNz\r\n"],
    ['many headers', "Host: t.example\r\nUser-Agent: many/1\r\n" . join('', map { "X-Many-$_: $_\r\n" } 1 .. 45) . "Cookie: $cookie\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nReferer: http://r/\r\nAuthorization: Basic dXNlcjpwYXNz\r\n"],
);
my $variables = 'log_format all \'$request|$request_method|$uri|$args|$request_uri|$arg_a|$host|$http_host|$server_protocol|$http_user_agent|$http_cookie|$cookie_sid'
    . '|$http_x_forwarded_for|$http_referer|$remote_user|$early|$early_agent|$request_path|$request_id|$si_conversation|$status|$si_tenant|$si_user|$si_worker'
    . '|$sent_http_content_type|$sent_http_x_accel_buffering|$sent_http_x_worker|$sent_http_etag|$sent_http_x_content_type_options|$http_x_long|$request_length\';';

# Of the answer: one more field than all streams have, none, and one that nginx points to.
my @fields = ({ 'X-Worker' => 'here' }, {}, { ETag => 'e1' });

# A charset makes nginx point into the bytes of the header it sent.
for my $charset ('', 'charset utf-8; charset_types text/event-stream;') {
subtest "the access log of a long stream $charset" => sub {
    my ($edge, $w) = edge(http => $variables,
        location => "$charset " . 'access_log logs/full.log full; access_log logs/all.log all; si_stream_heartbeat 500ms; set $early $request_uri; set $early_agent $http_user_agent;');
    $edge->start;
    my $link = $w->wait_link;
    my ($log, $number) = (30, 0);
    for my $case (@cases) {
        my ($name, $head) = @$case;
        my ($agent) = $head =~ /User-Agent: (\S+)/;
        my ($long) = $head =~ /X-Long: (\S+)/;
        for my $end ('the client goes', 'the log ends') {
            $log++;
            my $path = "/v1/conversations/conv_$log/events";
            my $request = "GET $path?a=1&b=%20x HTTP/1.1\r\n$head\r\n";
            my $c = $edge->client($request);
            my $call = $w->call;
            my %f = %{ $fields[$log % @fields] };
            $call->stream(user => 'u', headers => [%f])->data("retry: 1000\n\n")->attach($log, "c:$log");
            $c->wait_body(qr/retry: 1000\n\n:\n\n:\n\n/);
            $w->feed($link, $log, '1.1', "id: 1.1\ndata: e\n\n");
            $c->wait_body(qr/data: e\n\n:\n\n/);
            if ($end eq 'the client goes') { $c->close } else { $w->end_log($link, $log); $c->wait_whole }
            SI::Edge::wait_for(sub { (() = SI::Edge::slurp("$edge->{dir}/logs/all.log") =~ /\n/g) > $number }, 'the line');
            my @lines = split /\n/, SI::Edge::slurp("$edge->{dir}/logs/all.log");
            is $lines[$number++], join('|', "GET $path?a=1&b=%20x HTTP/1.1", 'GET', $path, 'a=1&b=%20x', "$path?a=1&b=%20x", 1, 't.example', 't.example', 'HTTP/1.1', $agent,
                $cookie, 'c' x 40, '10.0.0.1, 10.0.0.2', 'http://r/', 'user', "$path?a=1&b=%20x", $agent, $path, $call->{call_key}, "conv_$log", 200, 'acme', 'u', '0.1000',
                $charset ? 'text/event-stream; charset=utf-8' : 'text/event-stream', 'no', $f{'X-Worker'} // '-', $f{ETag} // '-', 'nosniff', $long // '-', length $request), "$name, $end";
            my @full = split /\n/, SI::Edge::slurp("$edge->{dir}/logs/full.log");
            like $full[-1], qr/"method":"GET","path":"\Q$path\E","protocol":"HTTP\/1.1","status":200,.*"user":"u","worker":"0.1000","turn":"","agent":"\Q$agent\E"/, 'as conf/nginx.conf writes it';
            next if $end eq 'the client goes';

            # the connection is as good as before: its buffers come back when they are needed
            for my $next ("Host: n\r\n", $head, "Host: n\r\n") {
                $c->{in} = '';
                SI::Edge::write_all($c, "GET /next HTTP/1.1\r\n$next\r\n");
                my $second = $w->call;
                is $second->{path}, '/next', 'another request on the connection';
                is $second->{headers}{'x-long'}, $next eq $head ? $long : undef, 'with its header';
                $second->json('{"n":2}');
                $c->wait_whole;
                is $c->body, '{"n":2}', 'and its answer';
                $number++;
            }
            SI::Edge::wait_for(sub { (() = SI::Edge::slurp("$edge->{dir}/logs/all.log") =~ /\n/g) >= $number }, 'the lines');
            $c->close;
        }
    }
    $edge->stop;
};
}

subtest 'a request that was given back before its answer' => sub {
    my ($edge, $w) = edge(http => $variables, location => 'access_log logs/all.log all; set $early $request_uri; set $early_agent $http_user_agent;');
    $edge->start;
    $w->wait_link;
    my $abort = do { no warnings 'once'; $SI::FakeWorker::FL{ABORT} };
    my @many = map { ("X-Answer-$_" => "value $_") } 1 .. 9;
    for my $case (@cases) {
        my ($name, $head) = @$case;
        my $c = $edge->client;
        for my $answer ('json', 'problem', 'json') {
            $c->{in} = '';
            SI::Edge::write_all($c, "GET /v1/things?a=1 HTTP/1.1\r\n$head\r\n");
            my $first = $w->call;
            $first->moved($w->{name});
            my $call = $w->call;
            is_deeply [@$call{qw(method path headers)}], [@$first{qw(method path headers)}], "$name: sent again as it was";
            if ($answer eq 'json') { $call->head(200, type => 'application/json', length => 2, headers => \@many)->data('{}')->end }
            else { for (1 .. 3) { $call->end($abort); $call = $w->call if $_ < 3 } }
            $c->wait_whole;
            is $c->status, $answer eq 'json' ? 200 : 503, 'answered';
            like $c->header, qr/^X-Answer-$_: value $_\r$/m, "with field $_" for $answer eq 'json' ? 1 .. 9 : ();
        }
        $c->close;
    }
    SI::Edge::wait_for(sub { (() = SI::Edge::slurp("$edge->{dir}/logs/all.log") =~ /\n/g) >= 9 }, 'the lines');
    my @lines = split /\n/, SI::Edge::slurp("$edge->{dir}/logs/all.log");
    like $_, qr/^GET \/v1\/things\?a=1 HTTP\/1.1\|GET\|\/v1\/things\|a=1\|.*\|10\.0\.0\.1, 10\.0\.0\.2\|http:\/\/r\/\|user\|\/v1\/things\?a=1\|/, 'logged' for @lines;
    $edge->stop;
};

subtest 'requests behind a stream' => sub {
    my ($edge, $w) = edge(location => 'si_stream_heartbeat 500ms;');
    $edge->start;
    my $link = $w->wait_link;
    my $log = 60;
    for my $late (0, 1) {
        for my $size (10, 3000) {
            $log++;
            my $first = "GET /v1/conversations/c/events HTTP/1.1\r\nHost: t\r\nX-Fill: " . 'f' x $size . "\r\n\r\n";
            my $second = "GET /second HTTP/1.1\r\nHost: t\r\nX-Fill: " . 's' x $size . "\r\n\r\n";
            my $c = $edge->client($first . ($late ? '' : $second));
            my $call = $w->call;
            $call->stream->data("retry: 1000\n\n")->attach($log, "c:$log");
            $c->wait_body(qr/retry: 1000\n\n:\n\n/);
            SI::Edge::write_all($c, $second) if $late;
            $c->wait_body(qr/retry: 1000\n\n:\n\n:\n\n/);
            $w->end_log($link, $log);
            my $next = $w->call;
            is $next->{path}, '/second', $late ? 'one that came later' : 'one that came at once';
            is $next->{headers}{'x-fill'}, 's' x $size, "with a header of $size bytes";
            $next->json('{"n":2}');
            SI::Edge::wait_for(sub { $c->{in} =~ /\{"n":2\}\z/ }, 'its answer');
            $c->close;
        }
    }
    $edge->stop;
};

subtest 'header and bytes one by one' => sub {
    my ($edge, $w) = edge(location => 'si_stream_heartbeat 500ms;');
    $edge->start;
    my $link = $w->wait_link;
    my $c = $edge->get('/v1/conversations/c/events');
    my $call = $w->call->stream;
    $c->wait_head;
    is $c->status, 200, 'the header alone';
    $call->data("id: 1.$_\ndata: x\n\n") for 1 .. 30;
    ok $c->wait_body(qr/id: 1.30\ndata: x\n\n/), 'private bytes';
    $call->attach(70, 'c:70');
    $w->feed($link, 70, '1.31', "id: 1.31\ndata: x\n\n");
    ok $c->wait_body(qr/id: 1.31\n/), 'an event';
    $w->end_log($link, 70);
    ok $c->wait_whole, 'the end';
    (my $body = $c->body) =~ s/^:\n\n//mg;
    is $body, join('', map { "id: 1.$_\ndata: x\n\n" } 1 .. 31), 'every byte once';
    $c->close;
    $edge->stop;
};

done_testing;
