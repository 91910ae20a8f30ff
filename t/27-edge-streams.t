# The edge alone: limits of streams at once. Right over processes, after one was killed, over a reload, whatever the key.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use SI::Edge;
use Test::More;

my $json = JSON::PP->new->utf8;

# An nginx whose second port spreads connections over the processes and says which one answers.
sub edge {
    my ($zones, $location, %o) = @_;
    my $edge = SI::Edge->new(%o);
    my $port = $edge->{port};
    $port = SI::Edge::free_port() while $port == $edge->{port} || $port == $edge->{h2};
    $edge->{http} = "$zones server { listen 127.0.0.1:$port reuseport; add_header X-Pid \$pid always; location / { si_pass main; $location } }";
    $edge->{worker} = $edge->worker(0);
    $edge->start;
    ($edge->{main_port}, $edge->{port}) = ($edge->{port}, $port);
    $edge->{worker}->wait_link($o{nginx_workers} || 1);
    return $edge;
}

my $SSE = "Accept: text/html, Text/Event-Stream;q=0.9\r\n";

# A stream of that key, or its refusal. Options: head => header fields, method, answer => sub of the call.
sub open_stream {
    my ($edge, $key, %o) = @_;
    my $body = $o{method} ? "Content-Length: 2\r\n\r\n{}" : "\r\n";
    my $c = $edge->client(($o{method} // 'GET') . " /v1/x HTTP/1.1\r\nHost: t\r\nX-K: $key\r\n" . ($o{head} // $SSE) . $body);
    my $w = $edge->{worker};
    SI::Edge::wait_for(sub { $w->has('OPEN') || $c->{in} =~ /\r\n\r\n/ || $c->{eof} }, 'a call, or its refusal');
    if ($w->has('OPEN')) { ($o{answer} // sub { shift->stream })->($c->{call} = $w->call) }
    $c->wait_head;
    ($c->{pid}) = $c->header =~ /^X-Pid: (\d+)\r$/m;
    return $c;
}

sub problem {
    my ($c, $what) = @_;
    $c->wait_whole;
    is $c->status, 429, $what;
    is $json->decode($c->body)->{code}, 'too_many_streams', 'its code';
    like $c->header, qr/^Retry-After: \d+\r$/m, 'when to come back';
    $c->close;
    return;
}

sub status { my ($edge, $key, %o) = @_; my $c = open_stream($edge, $key, %o); my $s = $c->status; $c->close; return $s }

# A place is free again: what asked before it was refused.
sub wait_place {
    my ($edge, $key) = @_;
    my $got;
    SI::Edge::wait_for(sub { my $c = open_stream($edge, $key); return $got = $c if $c->status == 200; $c->close; 0 }, 'a place');
    return $got;
}

sub limits {
    my ($edge, $zone) = @_;
    local $edge->{port} = $edge->{main_port};
    my $c = $edge->get('/status');
    $edge->{worker}->call->json('{}');
    $c->wait_whole;
    my $s = $json->decode($c->body)->{edge}{limits}{$zone};
    $c->close;
    return $s;
}

sub wait_keys { my ($edge, $zone, $n) = @_; return SI::Edge::wait_for(sub { limits($edge, $zone)->{keys} == $n }, "$n keys") }

# So many streams in each process.
sub open_in_each {
    my ($edge, $key, $n, @pids) = @_;
    my %of = map { $_ => [] } @pids;
    SI::Edge::wait_for(sub {
        my $c = open_stream($edge, $key);
        if ($c->status == 200 && @{ $of{ $c->{pid} } } < $n) { push @{ $of{ $c->{pid} } }, $c } else { $c->close }
        return !grep { @$_ < $n } values %of;
    }, 'streams in each process');
    return \%of;
}

subtest 'over two processes, and when one is killed' => sub {
    my $edge = edge('si_limit_zone $http_x_k zone=s:64k streams=6;', 'si_limit_streams zone=s;', nginx_workers => 2);
    my ($one, $two) = my @pids = $edge->nginx_pids;
    my $of = open_in_each($edge, 'a', 3, @pids);
    # what was opened in the wrong process has gone when a seventh is refused for good
    my %refused;
    SI::Edge::wait_for(sub { my $c = open_stream($edge, 'a'); $refused{ $c->{pid} }++ if $c->status == 429; $c->close; keys %refused == 2 }, 'a refusal of each process');
    problem(open_stream($edge, 'a'), 'a seventh is refused by both');
    is status($edge, 'b'), 200, 'another key has its own';
    is status($edge, ''), 200, 'none is not limited';
    $of->{$one}[0]->close;
    my $again = wait_place($edge, 'a');
    problem(open_stream($edge, 'a'), 'one that ended made place for one');

    $edge->{expected} = qr/exited on signal 9/;
    my @gone = (@{ $of->{$two} }, $again->{pid} == $two ? $again : ());
    kill KILL => $two;
    $_->wait_eof for @gone;
    SI::Edge::wait_for(sub { my @p = $edge->nginx_pids; @p == 2 && !grep { $_ == $two } @p }, 'a new process');
    my @new;
    for (1 .. @gone) { push @new, wait_place($edge, 'a') }
    is scalar(grep { $_->status == 200 } @new), scalar @gone, 'a killed process held nothing any more';
    problem(open_stream($edge, 'a'), 'the others are still counted');
    $_->close for map({ @$_ } values %$of), $again, @new;
    wait_keys($edge, 's', 0);
    pass 'nothing stays counted';
    $edge->stop;
};

subtest 'a reload' => sub {
    my $edge = edge('si_limit_zone $http_x_k zone=s:64k streams=2;', 'si_limit_streams zone=s; si_stream_drain 1h;');
    my @old = map { open_stream($edge, 'a') } 1, 2;
    my ($pid) = $edge->nginx_pids;
    $edge->reload;
    SI::Edge::wait_for(sub { grep { $_ != $pid } $edge->nginx_pids }, 'a new process');
    SI::Edge::wait_for(sub { my $c = open_stream($edge, 'b'); my $p = $c->{pid}; $c->close; $p != $pid }, 'it to answer');
    problem(open_stream($edge, 'a'), 'streams of the old process count');
    $old[0]->close;
    my $c = wait_place($edge, 'a');
    problem(open_stream($edge, 'a'), 'a place that it gave back is taken again');
    $_->close for $old[1], $c;
    wait_keys($edge, 's', 0);
    $edge->stop;
};

subtest 'what is a stream' => sub {
    my $edge = edge('si_limit_zone $http_x_k zone=s:64k streams=1; si_limit_zone $http_x_k zone=r:64k rate=1000r/s burst=100;', 'si_limit_streams zone=s; si_limit zone=r;');
    my $w = $edge->{worker};
    my $json_answer = sub { shift->json('{}') };
    my $held = open_stream($edge, 'a');
    my $c = open_stream($edge, 'a');
    is $c->{call}, undef, 'no worker hears of one that asks for a stream too many';
    like $c->header, qr/^RateLimit: "r";r=\d+;t=\d+\r$/m, 'the budget of requests is told';
    problem($c, 'refused');
    is status($edge, 'a', head => '', answer => $json_answer), 200, 'an answer that is no stream';
    $c = open_stream($edge, 'a', head => '', answer => sub { shift->stream(headers => ['X-Worker' => 'w']) });
    ok $w->frame('CANCEL', $c->{call}{id}), 'a stream that was not asked for is found when it comes';
    unlike $c->header, qr/X-Worker/, 'with none of its fields';
    problem($c, 'refused');
    $c = open_stream($edge, 'a', head => '', method => 'POST', answer => sub { shift->stream(turn => 't1') });
    is $c->status, 200, 'but that of a turn just begun is let through';
    $c->close;
    is status($edge, 'a', head => '', method => 'POST', answer => sub { shift->stream }), 429, 'another is not';
    $held->close;
    wait_place($edge, 'a')->close;
    wait_keys($edge, 's', 0);

    my $ws = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    my $up = sub { shift->head(101, headers => [Upgrade => 'websocket']) };
    my $socket = open_stream($edge, 'a', head => $ws, answer => $up);
    is $socket->status, 101, 'a WebSocket';
    problem(open_stream($edge, 'a'), 'counts as one');
    problem(open_stream($edge, 'a', head => $ws, answer => $up), 'and so does another');
    $socket->close;
    wait_keys($edge, 's', 0);

    # an answer without a stream gives its place back, also on a connection that lives on
    $c = open_stream($edge, 'a', answer => $json_answer);
    $c->wait_whole;
    $c->{in} = '';
    SI::Edge::write_all($c, "GET /v1/x HTTP/1.1\r\nHost: t\r\nX-K: a\r\n$SSE\r\n");
    $w->call->stream;
    $c->wait_head;
    is $c->status, 200, 'a second request of a connection';
    $c->close;
    wait_keys($edge, 's', 0);
    $edge->stop;
};

subtest 'a key that the answer tells' => sub {
    my $edge = edge('si_limit_zone $si_user zone=user:64k streams=2; si_limit_zone $http_x_k zone=key:64k streams=3;', 'si_limit_streams zone=user; si_limit_streams zone=key;');
    my $of = sub { my $user = shift; return sub { shift->stream(user => $user) } };
    my @c = map { open_stream($edge, $_, answer => $of->('u')) } 'a', 'a';
    is join(' ', map { $_->status } @c), '200 200', 'two streams of a user';
    problem(open_stream($edge, 'b', answer => $of->('u')), 'a third by another key');
    push @c, open_stream($edge, 'a', answer => $of->('v'));
    is $c[2]->status, 200, 'another user by the first key';
    problem(open_stream($edge, 'a', answer => $of->('w')), 'which has three then');
    is limits($edge, 'user')->{keys}, 2, 'what one zone refused, the other does not hold';
    $_->close for @c;
    wait_keys($edge, $_, 0) for 'user', 'key';
    $edge->stop;
};

subtest 'dry run, and a full zone' => sub {
    my $edge = edge('si_limit_zone $http_x_k zone=dry:64k streams=1; si_limit_zone $http_x_k zone=small:32k streams=1;', 'si_limit_streams zone=dry dry_run; si_limit_streams zone=small;');
    my @c = open_stream($edge, 'a');
    is status($edge, 'a'), 429, 'the other zone refuses';
    my $s = limits($edge, 'dry');
    is "$s->{passed} $s->{dry_run} $s->{limited}", '1 1 0', 'a dry run only counts';
    like $edge->log, qr/\[warn\][^\n]*si limit "dry" would refuse the request/, 'and logs';
    for my $k (1 .. 600) {
        push @c, $edge->get('/v1/x', head => "X-K: $k\r\n$SSE");
        $edge->{worker}->call;
    }
    $s = limits($edge, 'small');
    cmp_ok $s->{no_room}, '>', 0, 'streams for which there is no room';
    is $s->{no_room} + $s->{keys}, 601, 'are let in uncounted';
    is status($edge, '1'), 429, 'the others are counted';
    $_->close for @c;
    wait_keys($edge, $_, 0) for 'small', 'dry';
    is status($edge, '1'), 200, 'and leave';
    $edge->stop;
};

done_testing;
