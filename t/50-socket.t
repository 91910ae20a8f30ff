# The WebSocket: its handshake, turns, cancels and resumes, what breaks the protocol, silence, slow clients, reloads and deaths.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;
use SI::Test::Socket;

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model, workers => 2, http2 => 1, nginx => 'si_stream_drain 1s;si_stream_stall 1s',
    config => "limits:\n  input_max: 16k\n");
my $asked = 0;
sub asked { return $model->wait_request(++$asked) }
sub socket_open { return SI::Test::Socket->new(port => $si->port, key => $si->key, @_) }
sub ids { return join ' ', map { $_->{id} } @_ }
sub sockets { my $n = 0; $n += $_->{sockets} // 0 for @{ $si->status->{workers} }; return $n }

my %upgrade = (Upgrade => 'websocket', Connection => 'keep-alive, Upgrade', 'Sec-WebSocket-Version' => 13,
    'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ==', %{ $si->auth });
sub head_of { my ($text, %h) = @_; return join "\r\n", $text, 'Host: a', (map { "$_: $h{$_}" } grep { defined $h{$_} } sort keys %h), '', '' }

subtest 'handshake' => sub {
    my $w = socket_open(raw_request => head_of('GET /v1/socket HTTP/1.1', %upgrade), wait => 0);
    my $h = $w->head;
    is $h->{status}, 101, 'the example of RFC 6455, section 1.3, with more options in Connection';
    is $h->{headers}{'sec-websocket-accept'}, 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=', 'its answer';
    is lc "$h->{headers}{upgrade} $h->{headers}{connection}", 'websocket upgrade', 'Upgrade and Connection';
    ok !(grep { exists $h->{headers}{$_} } qw(content-length transfer-encoding sec-websocket-extensions sec-websocket-protocol)), 'nothing else is agreed';
    my $refused = sub {
        my ($status, $what, $line, %more) = @_;
        my $r = $si->raw(head_of($line || 'GET /v1/socket HTTP/1.1', %upgrade, Connection => 'Upgrade, close', %more));
        is $r->{status}, $status, "$what: $status";
        return $r;
    };
    my $r = $refused->(426, 'no Upgrade', undef, Upgrade => undef);
    is $r->{headers}{upgrade}, 'websocket', 'which says what is wanted';
    like $r->{headers}{connection}, qr/upgrade/, 'hop by hop';
    is JSON::PP::decode_json($r->{body})->{code}, 'upgrade_required', 'and as a problem';
    $refused->(426, 'another protocol', undef, Upgrade => 'h2c');
    $refused->(426, 'no Connection: Upgrade', undef, Connection => 'close');
    $refused->(426, 'HTTP/1.0', 'GET /v1/socket HTTP/1.0');
    is $refused->(426, 'an old version', undef, 'Sec-WebSocket-Version' => 8)->{headers}{'sec-websocket-version'}, 13, 'which names the one that is spoken';
    $refused->(400, 'no key', undef, 'Sec-WebSocket-Key' => undef);
    $refused->(400, 'a short key', undef, 'Sec-WebSocket-Key' => 'c2hvcnQ=');
    $refused->(401, 'nobody', undef, Authorization => undef);
    $refused->(405, 'POST', 'POST /v1/socket HTTP/1.1', 'Content-Length' => 0);
    $refused->(200, 'another route does not mind', 'GET /v1/conversations HTTP/1.1');
    my ($rc, $out) = SI::Test::run({}, 'curl', '-sik', '--http2-prior-knowledge', '-H', 'Authorization: Bearer ' . $si->key, $si->http2_url . '/v1/socket');
    like $out, qr{^HTTP/2 426 .*upgrade_required}s, 'HTTP/2: 426';
    unlike $out, qr/^upgrade:/mi, 'without the header that HTTP/2 has not';
    my $b = socket_open(key => undef, headers => { 'Sec-WebSocket-Protocol' => 'si, si.bearer.' . $si->key, Origin => 'https://app.example' });
    is $b->{response_headers}{'sec-websocket-protocol'}, 'si', 'a browser gives its key as a subprotocol';
    is $b->say({ type => 'ping', ref => 'x' })->reply('x')->{status}, 200, 'and is let in';
    ok !eval { socket_open(key => undef, headers => { 'Sec-WebSocket-Protocol' => 'si, si.bearer.sk_si_nobody' }) }, 'a wrong one is not';
    like $@, qr/ 401 /, 'but answered 401';
    my $early = socket_open(raw_request => head_of('GET /v1/socket HTTP/1.1', %upgrade) . SI::Test::Socket::encode(1, '{"type":"ping","ref":"early"}'), wait => 0);
    is $early->reply('early')->{status}, 200, 'what comes together with the request is not lost';
};

my ($c, $d) = (conversation($si), conversation($si));
my $first;

subtest 'a turn' => sub {
    my $w = socket_open();
    is_deeply $w->subscribe($c)->{body}, { conversation => $c, last_event_id => '0.0' }, 'subscribed';
    my $sse = $si->stream(GET => "/v1/conversations/$c/events");
    $sse->head;
    $model->next(kind => 'step');
    $w->say({ type => 'turn', conversation => uc $c, ref => 'r1', idempotency_key => 'k1', input => "Gr\x{fc}\x{df}e \x{1F600}" });
    my $n = asked();
    $model->go($n, "to \x{1F600} ");
    $model->go($n, 'you');
    $model->finish($n);
    my @e = $w->event('turn.completed');
    $sse->wait_event('turn.completed');
    is_deeply [map { +{ %$_ } } @e], [map { +{ id => $_->{id}, event => $_->{event}, conversation => $c, data => $_->{data} } } $sse->seen],
        'the events of the stream, one message each';
    my $r = $w->reply('r1');
    is "$r->{status} $r->{body}{id}", "202 $e[0]{data}{turn}", 'the turn was accepted';
    $w->say({ type => 'turn', conversation => $c, ref => 'r2', idempotency_key => 'k1', input => "Gr\x{fc}\x{df}e \x{1F600}" });
    my $again = $w->reply('r2');
    is_deeply [@{ $again->{body} }{qw(id state)}], [$r->{body}{id}, 'completed'], 'the same key finds the same turn';
    $first = \@e;
};

subtest 'resume' => sub {
    run_turn($si, $c, "turn $_"), asked() for 2 .. 5;
    my $all = socket_open();
    $all->subscribe($c, from => 'start');
    my @all = map { scalar $all->event('turn.completed') } 1 .. 5;
    is ids(@all), join(' ', map { "$_->{data}{turn}" ? $_->{id} : () } @all), 'from the start';
    my $w = socket_open();
    is $w->subscribe($c, last_event_id => $first->[2]{id})->{body}{last_event_id}, $first->[2]{id}, 'behind an event of the first turn';
    my @got = map { $w->event('turn.completed') } 1 .. 5;
    is $got[0]{id}, $first->[-1]{id}, 'its end comes first, from the store';
    my %seen;
    ok !(grep { $seen{ $_->{id} }++ } @got), 'no event twice';
    is join(' ', map { (split /\./, $_->{id})[0] } grep { $_->{event} eq 'turn.completed' } @got), '1 2 3 4 5', 'no turn is missing';
    is $w->subscribe($c, last_event_id => $got[-1]{id}, from => undef)->{status}, 200, 'subscribed again, behind the last';
    $w->subscribe($d);
    my $six = run_turn($si, $c, 'six')->{id};
    asked();
    my @six = grep { $_->{id} =~ /^6\./ } $w->event_of($six, 'turn.completed');
    is ids(@six), join(' ', map { "6.$_" } 1 .. @six), 'what comes live follows, each event once';
    is $w->subscribe($c, last_event_id => '999.1')->{status}, 400, 'an id of the future';
    is $w->subscribe($c, from => 'now')->{body}{last_event_id}, $six[-1]{id}, 'from now';
};

subtest 'two conversations' => sub {
    my $w = socket_open();
    $w->subscribe($_, from => 'now') for $c, $d;
    $w->say({ type => 'turn', conversation => $_, ref => $_, input => 'hello' }) for $c, $d;
    my %turn = map { $_ => $w->reply($_)->{body}{id} } $c, $d;
    asked() for 1, 2;
    $w->event_of($turn{$c}, 'turn.completed');
    $w->event_of($turn{$d}, 'turn.completed') if !grep { $_->{event} eq 'turn.completed' && $_->{data}{turn} eq $turn{$d} } @{ $w->{seen} };
    for my $conv ($c, $d) {
        my @e = grep { $_->{data}{turn} eq $turn{$conv} } @{ $w->{seen} };
        is $e[-1]{event}, 'turn.completed', 'a whole turn';
        is scalar(grep { $_->{conversation} ne $conv } @e), 0, 'each event names its conversation';
        is ids(@e), join(' ', map { (split /\./, $e[0]{id})[0] . ".$_" } 1 .. @e), 'in order';
    }
    $w->say({ type => 'unsubscribe', conversation => $c, ref => 'u' });
    is $w->reply('u')->{status}, 200, 'unsubscribed';
    my $unheard = run_turn($si, $c, 'more')->{id};
    my $heard = run_turn($si, $d, 'more')->{id};
    asked() for 1, 2;
    $w->event_of($heard, 'turn.completed');
    is scalar(grep { ($_->{data}{turn} // '') eq $unheard } @{ $w->{seen} }, @{ $w->{messages} }), 0, 'then only the other one is heard';
    $w->say({ type => 'unsubscribe', conversation => $c, ref => 'u2' });
    is $w->reply('u2')->{status}, 404, 'and cannot be left twice';
};

subtest 'everything' => sub {
    my $w = socket_open();
    is $w->subscribe('*', from => 'now')->{status}, 200, 'all conversations at once';
    my $sse = $si->stream(GET => '/v1/events?from=now');
    $sse->head;
    my $new = conversation($si);
    my %turn = map { $_ => run_turn($si, $_, 'for all')->{id} } $c, $d, $new;
    asked() for 1 .. 3;
    my $all_over = sub {
        my $w = shift;
        my %left = map { $_ => 1 } values %turn;
        delete $left{ $_->{data}{turn} } for grep { $_->{event} eq 'turn.completed' } @{ $w->{seen} };
        delete $left{ $w->event('turn.completed')->{data}{turn} } while %left;
    };
    $all_over->($w);
    my @e = @{ $w->{seen} };
    for my $id (values %turn) {
        $sse->wait_for(sub { $_->{event} eq 'turn.completed' && $_->{data}{turn} eq $id });
    }
    # A turn that was over before its worker was followed comes as its first and its last event.
    my $plain = JSON::PP->new->canonical;
    my $ends = sub { return [sort map { $plain->encode($_) } grep { $_->{event} =~ /^turn\.(accepted|completed)$/ } @_] };
    is_deeply $ends->(map { my %m = %$_; delete $m{id}; \%m } @e),
        $ends->(map { +{ event => $_->{event}, subscription => '*', data => $_->{data} } } $sse->seen), 'the events of /v1/events, one message each';
    my $r = socket_open();
    is $r->subscribe('*', last_event_id => $e[0]{id})->{body}{last_event_id}, $e[0]{id}, 'resumed behind the first event';
    $all_over->($r);
    my %got;
    $got{"$_->{event} $_->{data}{turn}"}++ for grep { $_->{event} =~ /^turn\.(accepted|completed)$/ } @{ $r->{seen} };
    is_deeply \%got, { map { ("turn.completed $_" => 1, ($_ eq $e[0]{data}{turn} ? () : ("turn.accepted $_" => 1))) } values %turn },
        'what is missing comes from the store';
    is $r->subscribe('*', last_event_id => '9999')->{status}, 400, 'an id of the future';
    is $r->subscribe('*', last_event_id => '1.2')->{status}, 400, 'an id of a conversation';
    $r->say({ type => 'turn', conversation => '*', ref => 't', input => 'x' });
    is $r->reply('t')->{status}, 404, 'a turn goes to one conversation';
    $w->say({ type => 'unsubscribe', conversation => '*', ref => 'u' });
    is $w->reply('u')->{status}, 200, 'unsubscribed';
};

subtest 'cancel' => sub {
    my $w = socket_open();
    $w->subscribe($c);
    $model->next(kind => 'step');
    $w->say({ type => 'turn', conversation => $c, ref => 't', input => 'long' });
    my $turn = $w->reply('t')->{body}{id};
    my $n = asked();
    $model->go($n, 'So far');
    $w->event('delta');
    $w->say({ type => 'cancel', turn => $turn, ref => 'c' });
    my $r = $w->reply('c');
    is_deeply [$r->{status}, @{ $r->{body} }{qw(id state output)}], [200, $turn, 'cancelled', 'So far'], 'the finished turn';
    is $w->event(qr/^turn\./)->{event}, 'turn.cancelled', 'and the event';
    ok $model->wait_closed($n), 'the model is not read any more';
};

subtest 'commands that are wrong' => sub {
    my $w = socket_open();
    my $problem = sub {
        my ($command, $status, $code, $what) = @_;
        ref $command ? $w->say({ ref => 'w', %$command }) : $w->frame(1, $command);
        my $r = $w->reply(ref $command && !exists $command->{ref} ? 'w' : '');
        is "$r->{status} $r->{body}{status} $r->{body}{code}", "$status $status $code", $what;
    };
    $problem->('{', 400, 'invalid_json', 'no JSON');
    $problem->('[]', 422, 'invalid_field', 'no object');
    $problem->({}, 422, 'invalid_field', 'no type');
    $problem->({ type => 'dance' }, 422, 'invalid_field', 'an unknown type');
    $problem->({ type => 'ping', ref => 5 }, 422, 'invalid_field', 'a ref that is no string');
    $problem->({ type => 'ping', more => 1 }, 422, 'invalid_field', 'a member too many');
    $problem->({ type => 'subscribe' }, 422, 'invalid_field', 'no conversation');
    $problem->({ type => 'subscribe', conversation => 'x' }, 404, 'not_found', 'none of that id');
    $problem->({ type => 'subscribe', conversation => '0190aaaa-0000-7000-8000-000000000001' }, 404, 'not_found', 'or an unknown one');
    $problem->({ type => 'subscribe', conversation => $c, from => 'here' }, 422, 'invalid_field', 'a wrong from');
    $problem->({ type => 'subscribe', conversation => $c, last_event_id => 'x' }, 400, 'invalid_event_id', 'no id');
    $problem->({ type => 'turn', conversation => $c }, 422, 'invalid_field', 'a turn without input');
    $problem->({ type => 'turn', conversation => $c, input => 'x', colour => 'red' }, 422, 'invalid_field', 'with a field that POST does not know');
    $problem->({ type => 'turn', conversation => $c, input => 'x' x 16385 }, 422, 'invalid_field', 'too long an input');
    $problem->({ type => 'cancel', turn => '0190aaaa-0000-7000-8000-000000000001' }, 404, 'not_found', 'a turn that is not there');
    my $stranger = create_key($si, 'default', 'stranger');
    my $other = SI::Test::Socket->new(port => $si->port, key => $stranger);
    is $other->subscribe($c)->{status}, 404, 'another\'s conversation is not there';
    my @many = map { conversation($si) } 1 .. 33;
    $w->say({ type => 'subscribe', conversation => $_, ref => $_ }) for @many;
    is join(' ', map { $w->reply($_)->{status} } @many), join(' ', (200) x 32, 409), 'more subscriptions than are allowed';
    is $w->say({ type => 'ping', ref => 'alive' })->reply('alive')->{status}, 200, 'the socket bears all of it';
};

subtest 'broken frames' => sub {
    my $breaks = sub {
        my ($code, $what, @frames) = @_;
        my $w = socket_open();
        $w->frame(@$_) for @frames;
        is $w->close_code, $code, "$what: $code";
        ok length $w->{reason}, 'with a reason' if $code != 1000;
        poll_until { $w->pump(0.1); $w->{ended} } undef, 'the end';
    };
    my $ping = '{"type":"ping","ref":"p"}';
    $breaks->(1002, 'not masked', [1, $ping, mask => 0]);
    $breaks->(1002, 'a reserved bit', [1, $ping, rsv => 0x40]);
    $breaks->(1003, 'binary', [2, 'x']);
    $breaks->(1002, 'an unknown opcode', [5, 'x']);
    $breaks->(1002, 'a long ping', [9, 'x' x 126]);
    $breaks->(1002, 'a ping in parts', [9, 'x', fin => 0]);
    $breaks->(1002, 'a continuation of nothing', [0, 'x']);
    $breaks->(1002, 'a message in a message', [1, 'x', fin => 0], [1, 'y']);
    $breaks->(1007, 'text that is not UTF-8', [1, "\xff"]);
    $breaks->(1009, 'a message too long', [1, 'x' x (6 * 16384 + 8193)]);
    $breaks->(1009, 'in parts, too', map { [$_ ? 0 : 1, 'x' x 60000, fin => 0] } 0 .. 1);
    $breaks->(1007, 'in parts, too', [1, "\xc3", fin => 0], [0, 'x']);
    $breaks->(1002, 'a close with a code that may not be sent', [8, pack 'n', 1005]);
    $breaks->(1002, 'a close with half a code', [8, "\x03"]);
    $breaks->(1007, 'a close with a reason that is not UTF-8', [8, pack('n', 1000) . "\xff"]);
    my $w = socket_open();
    $w->frame(8, pack('n', 4001) . 'bye');
    is $w->close_code, 4001, 'a close is answered with its code';
    $w = socket_open();
    $w->frame(8, '');
    is $w->close_code, 1005, 'one without a code without';
    $w = socket_open();
    $w->frame(1, substr($ping, 0, 5), fin => 0);
    $w->frame(9, 'inside');
    $w->frame(0, '', fin => 0);
    $w->send_all($_) for split //, SI::Test::Socket::encode(0, substr $ping, 5);
    is $w->reply('p')->{status}, 200, 'a message in parts, and byte by byte';
    is_deeply $w->{pongs}, ['inside'], 'with a ping between them, which is answered';
    $w->frame(1, qq({"type":"ping","ref":"\xc3), fin => 0);
    $w->frame(0, qq(\xbc"}));
    is $w->reply("\xfc")->{status}, 200, 'a character in two parts';
    is $w->say({ type => 'ping', ref => 'big', map { ("pad$_" => 1) } 1 .. 20 })->reply('big')->{status}, 422, 'it goes on';
};

subtest 'a client that leaves' => sub {
    my @w = map { socket_open() } 1 .. 5;
    is sockets(), 5, '/status counts sockets' or diag explain $si->status;
    $_->subscribe($c) for @w;
    $model->next(kind => 'step');
    $w[0]->say({ type => 'turn', conversation => $c, ref => 't', input => 'alone' });
    my $turn = $w[0]->reply('t')->{body}{id};
    my $n = asked();
    $w[0]->rst;
    close $_->{sock} for @w[1 .. 4];
    poll_until { sockets() == 0 } undef, 'no socket is left';
    pass 'none is left';
    $model->go($n, 'but heard');
    $model->finish($n);
    is wait_turn($si, $turn)->{output}, 'but heard', 'the turn goes on';
};

subtest 'a client that does not read' => sub {
    my ($slow, $good) = (socket_open(rcvbuf => 4096), socket_open());
    $_->subscribe($d, from => 'now') for $slow, $good;
    my $before = $si->status->{edge}{closed}{stall};
    my ($turns, @e) = 0;
    # What the kernel buffers is several MB; then nothing moves.
    while ($turns++ < 20 && $si->status->{edge}{closed}{stall} == $before) {
        $model->next(kind => 'tokens', tokens => [map { 'x' x 2000 } 1 .. 400]);
        $good->say({ type => 'turn', conversation => $d, ref => "t$turns", input => 'much' });
        my $good_turn = $good->reply("t$turns")->{body}{id};
        asked();
        @e = $good->event_of($good_turn, 'turn.completed');
        is length(join '', map { $_->{event} eq 'delta' ? $_->{data}{text} : '' } @e), 800000, 'the others get all of it';
    }
    poll_until { $si->status->{edge}{closed}{stall} > $before } undef, 'the slow one to be closed';
    poll_until { sockets() == 1 } undef, 'its worker to know';
    pass 'the slow one is closed';
    my $again = socket_open();
    $again->subscribe($d, last_event_id => $e[0]{id});
    is ids($again->event('turn.completed')), ids(@e[1 .. $#e]), 'it may come again and loses nothing';
    ok 48 <= scalar(grep { $_->[0] == 0x00 } @{ $again->{frames} }), 'a long message comes in many frames';
};

subtest 'silence' => sub {
    my $quick = SI::Test->start(workers => 1, config => "websocket:\n  ping: 2s\n");
    my ($alive, $dead) = map { SI::Test::Socket->new(port => $quick->port, key => $quick->key, pong => $_) } 1, 0;
    poll_until { $_->pump(0.02) for $alive, $dead; $dead->{code} && ($alive->{pings} || 0) > 1 } undef, 'pings, and the end of one';
    is "$dead->{code} $dead->{pings}", '1008 1', 'a client that does not answer a ping is closed';
    is $alive->say({ type => 'ping', ref => 'p' })->reply('p')->{status}, 200, 'one that answers them stays';
    $quick->stop;
};

# --- what dies ---

# A socket at the worker that owns the conversation, or not, and a turn that is half said there.
sub half_said {
    my $w = socket_open();
    $w->subscribe($c, from => 'now');
    $model->next(kind => 'step');
    $w->say({ type => 'turn', conversation => $c, ref => 'half', input => 'half' });
    my $turn = $w->reply('half')->{body}{id};
    my $n = asked();
    $model->go($n, 'half ');
    my @e = grep { $_->{data}{turn} eq $turn } $w->event_of($turn, 'delta');
    return ($w, $n, $turn, @e);
}

# Goes on in a new socket behind the last of these events, to the end of the turn: no gap, none twice.
sub goes_on {
    my ($what, $turn, $n, $text, @e) = @_;
    my $w = socket_open();
    is $w->subscribe($c, last_event_id => $e[-1]{id})->{status}, 200, "$what: subscribed again";
    push @e, $w->event('turn.restarted') if $text eq 'anew';
    $model->go($n, $text =~ s/^half //r);
    $model->finish($n);
    push @e, $w->event('turn.completed');
    ok ids_grow(@e), "$what: no event twice, in order";
    is scalar(grep { $_->{data}{turn} ne $turn } @e), 0, "$what: all of this turn";
    is $e[-1]{data}{message}{content}, $text, "$what: the whole answer";
    return @e;
}

subtest 'reload of nginx' => sub {
    my ($w, $n, $turn, @e) = half_said();
    my @quiet = map { socket_open() } 1 .. 5;
    my @old = $si->reload_nginx;
    is $_->close_code, 1012, 'closed with 1012' for $w, @quiet;
    poll_until { $w->pump(0.1); $w->{ended} } undef, 'the end';
    like $w->{ended}, qr/closed/, 'and not by a reset';
    @e = goes_on('reload', $turn, $n, 'half and whole', @e);
    is text_of(@e), 'half and whole', 'reload: no delta is missing';
    poll_until { !grep { SI::Test::alive($_) } @old } 60, 'the old processes to leave';
    pass 'the old processes have gone';
};

# The pid of the worker whose socket this one is, told by who is left when all others have gone.
sub worker_of_only_socket {
    my @w = grep { $_->{sockets} } @{ $si->status->{workers} };
    die 'not one worker has sockets: ' . @w if @w != 1;
    return $w[0]{worker} =~ /\.(\d+)$/;
}

sub owner_pid { my ($owner) = $si->pg("SELECT owner FROM claim WHERE conversation_id = '$c'"); return $owner =~ /\.(\d+)$/ ? $1 : 0 }

subtest 'kill -9 of its worker, and of the owner' => sub {
    my %done;
    for my $round (1 .. 20) {
        last if keys %done == 2;
        poll_until { sockets() == 0 } undef, 'no sockets';
        my ($w, $n, $turn, @e) = half_said();
        my ($mine) = worker_of_only_socket();
        my $case = owner_pid() == $mine ? 'its own worker' : 'the owner elsewhere';
        if ($done{$case}++) {
            $model->finish($n);
            $w->event('turn.completed');
            $w->frame(8, '');
            $w->close_code;
            next;
        }
        $model->next(kind => 'step');           # the second attempt
        if ($case eq 'its own worker') {
            $si->kill9($mine);
            is $w->close_code, 1012, "$case: closed with 1012";
            @e = goes_on($case, $turn, asked(), 'anew', @e);
            is scalar(grep { $_->{event} eq 'turn.restarted' } @e), 1, "$case: begun anew once";
        } else {
            $si->kill9(owner_pid());
            push @e, $w->event('turn.restarted');
            $n = asked();
            $model->go($n, 'anew');
            $model->finish($n);
            push @e, $w->event('turn.completed');
            ok ids_grow(@e), "$case: the socket stays, events go on in order";
            is $e[-1]{data}{message}{content}, 'anew', "$case: to the end";
            $w->frame(8, '');
            is $w->close_code, 1005, "$case: and it is there still";
        }
        poll_until { my @p = $si->worker_pids; @p == 2 && @{ $si->status->{workers} } == 2 } undef, 'two workers again';
    }
    is_deeply [sort keys %done], ['its own worker', 'the owner elsewhere'], 'both were seen';
};

subtest 'reload of the workers' => sub {
    my ($w, $n, $turn, @e) = half_said();
    kill HUP => $si->master_pid;
    is $w->close_code, 1012, 'closed with 1012';
    goes_on('workers', $turn, $n, 'half and whole', @e);
};

done_testing;
