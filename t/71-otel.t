# Traces for OpenTelemetry: what spans there are, how they hang together, what they say and never say; and that a collector
# which is down, slow or full costs nobody anything but spans.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use SI::Collector;
use SI::Embed;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $collector = SI::Collector->start;
my $secret = 'the-words-of-the-message';
$model->default(kind => 'tokens', tokens => ["$secret-answered ", 'it ', 'is ']);
my ($at, $to) = ($model->base_url, $collector->endpoint);

sub config {
    my (%o) = @_;
    my $t = join ', ', map { "$_: $o{$_}" } sort keys %o;
    return <<"YAML";
turn: { deadline: 60s }
drain: 20s
gateway: { attempts: 2, restarts: 2, backoff: 20ms, backoff_max: 40ms, wait: 1s, breaker_calls: 1000 }
providers:
  first: { kind: openai, base_url: "$at", api_key: env:SI_TEST_MODEL_KEY }
  second: { kind: openai, base_url: "$at", traceparent: "on" }
models:
  one: { provider: first, upstream: up-one, fallback: [two], max_tokens: 77 }
  two: { provider: second, upstream: up-two, price: { input: 1, output: 10 } }
  vectors: { provider: second, type: embeddings, upstream: up-vec, batch: 2 }
default_model: one
telemetry: { $t }
YAML
}

my %usual = (endpoint => "\"$to\"", interval => '30ms', headers => 'env:SI_T71_HEADERS', service => 'si-test');
my $si = SI::Test->start(model => undef, workers => 1, config => config(%usual), env => { SI_T71_HEADERS => 'x-team=a%20b,x-other=1' });
my $conv = conversation($si);
my $made = 0;

# A context of a client; its trace is a new one each time.
sub caller_context { my $flags = shift // '01'; return sprintf '00-%032x-%016x-%s', ++$made + (1 << 40), $made, $flags }
sub trace_of { return (split /-/, shift)[1] }
# The spans of a trace by "kind name", once there are so many of them.
sub spans_of {
    my ($trace, $n) = @_;
    my @of;
    $collector->wait_spans(sub { @of = grep { $_->{traceId} eq $trace } @_; @of >= $n });
    return sort { $a->{startTimeUnixNano} cmp $b->{startTimeUnixNano} } @of;
}
sub turn { my ($body, $headers) = @_; return $si->stream(POST => "/v1/conversations/$conv/turns", $body, $headers)->until_end }
sub access_log { my $id = shift; return (grep { $_->{request_id} eq $id } map { eval { JSON::PP::decode_json($_) } || () } split /\n/, slurp("$si->{dir}/logs/access.log"))[0] }
sub log_lines { return map { eval { JSON::PP::decode_json($_) } || () } map { split /\n/, slurp($_) } grep { !/access/ } glob "$si->{dir}/logs/*.log" }
sub metric {
    my ($name, $labels) = @_;
    my ($v) = $si->http(GET => '/metrics')->{body} =~ /^\Q$name\E\{[^}]*$labels[^}]*\} (\d+)$/m;
    return $v;
}
# The workers with another configuration. The old ones have left.
sub reconfigure {
    my (%o) = @_;
    my @old = $si->worker_pids;
    open my $fh, '>:raw', "$si->{dir}/overlay.yaml" or die $!;
    print $fh config(%usual, %o);
    close $fh;
    kill HUP => $si->master_pid;
    poll_until { my %now = map { $_ => 1 } $si->worker_pids; %now && !grep { $now{$_} } @old } undef, 'new workers';
    poll_until { $si->http(GET => '/readyz')->{status} == 200 } undef, 'readiness';
}

subtest 'a turn with a fallback' => sub {
    my $context = caller_context();
    my $before = $model->count;
    $model->next([{ kind => 'status', status => 503 }, { kind => 'status', status => 500 }]->@*);
    my @e = turn({ input => $secret }, { traceparent => $context });
    is "$e[-1]{event} $e[-1]{data}{model}", 'turn.completed two', 'the turn was answered by the fallback';
    my ($trace, $caller) = (split /-/, $context)[1, 2];
    my @s = spans_of($trace, 5);
    my ($server, $turn, @calls) = @s;
    is_deeply [map { "$_->{kind} $_->{name}" } @s], ['2 POST /v1/conversations/{id}/turns', '1 invoke_agent default', '3 chat up-one', '3 chat up-one', '3 chat up-two'], 'the spans';
    is $server->{parentSpanId}, $caller, 'the request is under the client';
    is $server->{flags}, 0x301, 'which is somewhere else';
    is $turn->{parentSpanId}, $server->{spanId}, 'the turn under the request';
    is_deeply [map { $_->{parentSpanId} } @calls], [($turn->{spanId}) x 3], 'the calls under the turn';
    is_deeply [map { $_->{flags} } $turn, @calls], [(0x101) x 4], 'all of this process';
    is scalar keys %{ { map { $_->{spanId} => 1 } @s } }, 5, 'ids of their own';
    is_deeply [map { @{ $_->{links} } ? "$_->{links}[0]{spanId} $_->{links}[0]{at}{'si.link'}" : '' } @calls],
        ['', "$calls[0]{spanId} retry", "$calls[1]{spanId} fallback"], 'each later one has a link to the one before';

    is_deeply [@{ $server->{at} }{qw(http.request.method http.route http.response.status_code url.path)}],
        ['POST', '/v1/conversations/{id}/turns', 200, "/v1/conversations/$conv/turns"], 'what the request says';
    is_deeply [map { $_->{status} } $server, $turn, $calls[2]], [undef, undef, undef], 'no error where none was';
    is_deeply [map { $_->{status}{code} } @calls[0, 1]], [2, 2], 'and one where there was';
    is_deeply [map { "$_->{at}{'error.type'} $_->{at}{'http.response.status_code'}" } @calls[0, 1]], ['provider_unavailable 503', 'provider_unavailable 500'], 'its type';
    is_deeply [@{ $turn->{at} }{qw(gen_ai.operation.name gen_ai.agent.name gen_ai.conversation.id gen_ai.provider.name si.turn.id si.turn.state)}],
        ['invoke_agent', 'default', $conv, 'openai', $e[-1]{data}{turn}, 'completed'], 'what the turn says';
    my $c = $calls[2]{at};
    is_deeply [@$c{qw(gen_ai.operation.name gen_ai.provider.name gen_ai.request.model gen_ai.request.stream server.address server.port)}],
        ['chat', 'openai', 'up-two', 1, '127.0.0.1', $model->port], 'what was asked, and where';
    is $calls[0]{at}{'gen_ai.request.max_tokens'}, 77, 'with the bound of the model';
    is_deeply [@$c{qw(si.model si.endpoint si.attempt gen_ai.conversation.id si.turn.id gen_ai.agent.name)}], ['two', 'second', 3, $conv, $e[-1]{data}{turn}, 'default'], 'in whose name';
    is_deeply [@$c{qw(gen_ai.response.model gen_ai.usage.output_tokens)}], ['up-two', 3], 'what came';
    is $c->{'gen_ai.usage.input_tokens'}, $e[-1]{data}{usage}{input_tokens}, 'for how much';
    is_deeply $c->{'gen_ai.response.finish_reasons'}, ['stop'], 'why it ended';
    like $c->{'gen_ai.response.id'}, qr/^chatcmpl-/, 'its id';
    cmp_ok $c->{'gen_ai.response.time_to_first_chunk'}, '>', 0, 'when it began';
    is_deeply [map { join ' ', @{ $_->{events} } } @calls], ['', '', 'si.first_token'], 'the first token';
    is_deeply [@{ $server->{resource} }{qw(service.name)}], ['si-test'], 'of which service';
    like $server->{resource}{'service.instance.id'}, qr{^[^/]+/0\.\d+$}, 'of which worker';

    my $q = $collector->request($server->{request});
    is "$q->{headers}{'x-team'} $q->{headers}{'x-other'}", 'a b 1', 'the collector got the headers';
    is_deeply [map { $model->request($before + $_)->{headers}{traceparent} } 1 .. 3], [undef, undef, "00-$trace-$calls[2]{spanId}-01"], 'traceparent is sent where that is allowed, and nowhere else';
    my ($line) = poll_until { my @l = grep { ($_->{turn} // '') eq $e[-1]{data}{turn} && $_->{msg} eq 'turn ends' } log_lines(); @l && \@l };
    is $line->[0]{trace}, $trace, "the worker's log names the trace";
    my ($logged) = poll_until { access_log($server->{at}{'si.request.id'}) };
    is "$logged->{trace} $logged->{turn}", "$trace $e[-1]{data}{turn}", "and so does nginx's";
};

subtest 'a call of a dialect' => sub {
    my $context = caller_context();
    my $r = $si->json(POST => '/v1/chat/completions', { model => 'two', messages => [{ role => 'user', content => $secret }], temperature => 0.25, top_p => 1,
        max_tokens => 9, seed => 4711, stop => ["$secret-stop"], presence_penalty => -0.5, response_format => { type => 'json_object' } }, { traceparent => $context });
    is $r->{status}, 200, 'answered';
    my @s = spans_of(trace_of($context), 2);
    is_deeply [map { "$_->{kind} $_->{name}" } @s], ['2 POST /v1/chat/completions', '3 chat up-two'], 'the spans';
    is $s[1]{parentSpanId}, $s[0]{spanId}, 'the call is under the request';
    is_deeply [@{ $s[1]{at} }{map { "gen_ai.$_" } qw(request.temperature request.top_p request.max_tokens request.seed request.presence_penalty output.type)}],
        [0.25, 1, 9, 4711, -0.5, 'json'], 'what was asked for';
    is $s[0]{at}{'user.id'} ? 1 : 0, 1, 'who asked';

    $context = caller_context();
    $model->next({ kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" . join '', map { "data: $_\n\n" }
        '{"id":"x","model":"served","choices":[{"index":0,"delta":{"content":"hm"}}]}', '{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}',
        '{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":30,"prompt_tokens_details":{"cached_tokens":64},"completion_tokens_details":{"reasoning_tokens":20}}}', '[DONE]' });
    $si->json(POST => '/v1/messages', { model => 'two', max_tokens => 9, messages => [{ role => 'user', content => $secret }] }, { traceparent => $context });
    my $c = (spans_of(trace_of($context), 2))[1]{at};
    is_deeply [@$c{map { "gen_ai.usage.$_" } qw(input_tokens cache_read.input_tokens output_tokens reasoning.output_tokens)}], [100, 64, 30, 20], 'tokens by kind';
    is $c->{'si.cost_microdollars'}, 400, 'what they cost';
    is_deeply [$c->{'gen_ai.response.model'}, $c->{'gen_ai.response.finish_reasons'}], ['served', ['length']], 'as the provider says';

    $context = caller_context();
    $model->next({ kind => 'cut', after => 2 });
    $si->http(POST => '/v1/chat/completions', $si->auth({ traceparent => $context, 'Content-Type' => 'application/json' }),
        JSON::PP::encode_json({ model => 'two', stream => JSON::PP::true(), messages => [{ role => 'user', content => $secret }] }));
    @s = spans_of(trace_of($context), 2);
    is_deeply [map { "$_->{status}{code} $_->{at}{'error.type'}" } @s], ['2 answer_cut', '2 answer_cut'], 'a stream that broke off is an error, in spite of its 200';
    is $s[0]{at}{'http.response.status_code'}, 200, 'which it has';
    is_deeply $s[1]{events}, ['si.first_token'], 'it had begun';

    $context = caller_context();
    $model->next([({ kind => 'status', status => 500 }) x 2]->@*);
    $si->json(POST => '/v1/chat/completions', { model => 'two', messages => [{ role => 'user', content => $secret }] }, { traceparent => $context });
    @s = spans_of(trace_of($context), 3);
    is_deeply [map { "$_->{status}{code} $_->{at}{'http.response.status_code'} $_->{at}{'error.type'}" } @s], ['2 502 502', ('2 500 provider_unavailable') x 2], 'one that failed before its first byte';
};

subtest 'embeddings' => sub {
    my ($context, $before) = (caller_context(), $model->count);
    $model->next([{ kind => 'status', status => 500 }, ({ kind => 'embed' }) x 2]->@*);
    my $r = $si->json(POST => '/v1/embeddings', { model => 'vectors', input => [map { "$secret-$_" } 1 .. 3] }, { traceparent => $context });
    is $r->{status}, 200, 'made';
    my @s = spans_of(trace_of($context), 4);
    is_deeply [map { "$_->{kind} $_->{name}" } @s], ['2 POST /v1/embeddings', ('3 embeddings up-vec') x 3], 'the spans, one for each try of each batch';
    is_deeply [map { $_->{parentSpanId} } @s[1 .. 3]], [($s[0]{spanId}) x 3], 'all under the request';
    is_deeply [map { $_->{at}{'gen_ai.operation.name'} } @s[1 .. 3]], [('embeddings') x 3], 'what they do';
    is_deeply [sort grep { $_ } map { $_->{at}{'error.type'} } @s], ['provider_unavailable'], 'one failed';
    is scalar(grep { $_->{at}{'gen_ai.usage.input_tokens'} } @s), 2, 'and two have counted';
    is_deeply [sort map { $model->request($before + $_)->{headers}{traceparent} } 1 .. 3], [sort map { '00-' . trace_of($context) . "-$_->{spanId}-01" } @s[1 .. 3]], 'traceparent';
};

subtest 'whose trace it is' => sub {
    my $ask = sub { return $si->json(GET => '/v1/conversations', undef, { @_ }) };
    my $count = scalar $collector->read;
    my %given = (valid => caller_context(), later => '01' . substr(caller_context(), 2) . '-x', none => undef);
    @given{qw(upper zero short version long twice)} = (uc '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', "00-" . '0' x 32 . '-b7ad6b7169203331-01', '00-1234-5678-01',
        'ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x',
        '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01, 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
    for my $which (sort keys %given) {
        $count = scalar $collector->read;
        $ask->(defined $given{$which} ? (traceparent => $given{$which}) : ());
        my @all = $collector->wait_spans(sub { @_ > $count });
        my $s = $all[-1];
        my $line = poll_until { access_log($s->{at}{'si.request.id'}) };
        is $s->{name}, 'GET /v1/conversations', "$which: a span";
        is $s->{traceId}, $which =~ /valid|later/ ? trace_of($given{$which}) : $line->{request_id}, $which =~ /valid|later/ ? 'in the trace that was given' : 'in a trace with the id of the request';
        is $line->{trace}, $s->{traceId}, 'which nginx has in its log';
        is defined $s->{parentSpanId} ? 1 : 0, $which =~ /valid|later/ ? 1 : 0, 'under somebody, or nobody';
    }
    my $quiet = caller_context('00');
    my @e = turn({ input => $secret, model => 'two' }, { traceparent => $quiet });
    my $r = $ask->(traceparent => my $loud = caller_context());
    spans_of(trace_of($loud), 1);
    is scalar(grep { $_->{traceId} eq trace_of($quiet) } $collector->read), 0, 'what is not to be recorded is not';
    is((grep { ($_->{turn} // '') eq $e[-1]{data}{turn} && $_->{msg} eq 'turn ends' } log_lines())[0]{trace}, trace_of($quiet), 'but the log names its trace');
    is $model->request($model->count)->{headers}{traceparent} =~ /^00-(\w+)-\w+-00$/ && $1, trace_of($quiet), 'and whoever may know hears so';
    $count = scalar $collector->read;
    $si->http(GET => '/v1/conversations', { Authorization => 'Bearer nobody' });
    $si->http(GET => '/openapi.json');
    $ask->(traceparent => $loud = caller_context());
    spans_of(trace_of($loud), 1);
    is scalar($collector->read), $count + 1, 'strangers and pages have no spans';
};

subtest 'credentials' => sub {
    my $path = "/v1/conversations/$conv/events";
    my $ticket = $si->json(POST => '/v1/tickets', { path => $path })->{json}{ticket};
    my $context = caller_context();
    my $stream = SI::Test::Stream->new(port => $si->port, path => "$path?ticket=$ticket", headers => { traceparent => $context });
    is $stream->head->{status}, 200, 'a stream by a ticket';
    $stream->close;
    my ($s) = spans_of(trace_of($context), 1);
    is_deeply [map { values %{ $_->{value} } } grep { $_->{key} eq 'url.path' } @{ $s->{attributes} }], [$path], 'its span has the path alone';
    my $all = JSON::PP::encode_json([$collector->read]);
    unlike $all, qr/\Q$_\E/, 'no span has what lets somebody in' for substr($ticket, 6, 40), substr($si->key, 6, 40), 'st_si_', 'sk_si_';
};

subtest 'a collector that fails' => sub {
    my $sent = metric('si_worker_spans_total', 'result="sent"');
    is $sent, scalar($collector->read), 'what was sent is counted';

    $collector->next([{ kind => 'status', status => 429, headers => { 'Retry-After' => 1 } }, { kind => 'status', status => 503 }]->@*);
    my ($context, $began) = (caller_context(), now_ms());
    my $count = $collector->count;
    my @e = turn({ input => $secret, model => 'two' }, { traceparent => $context });
    is $e[-1]{event}, 'turn.completed', 'a turn meanwhile';
    $collector->wait_request($count + 3);
    my @q = map { $collector->request($count + $_) } 1 .. 3;
    is_deeply [map { $_->{body} } @q[1, 2]], [($q[0]{body}) x 2], '429 and 503: the same again';
    cmp_ok $q[1]{at} - $q[0]{at}, '>=', 1000, 'no sooner than it asked';
    $collector->{read} = $count + 2;             # refused ones are not counted
    spans_of(trace_of($context), 3);
    poll_until { metric('si_worker_spans_total', 'result="sent"') == scalar $collector->read } undef, 'the count';

    for my $status (400, 500, 302) {
        $collector->next(kind => 'status', status => $status);
        my $refused = metric('si_worker_spans_total', 'result="refused"');
        $count = $collector->count;
        $si->json(GET => '/v1/conversations');
        poll_until { metric('si_worker_spans_total', 'result="refused"') == $refused + 1 } undef, "the count after $status";
        is $collector->count, $count + 1, "$status: not again";
        $collector->{read} = $count + 1;
    }
    $collector->next(kind => 'status', status => 200, body => '{"partialSuccess":{"rejectedSpans":"1","errorMessage":"no"}}');
    my $refused = metric('si_worker_spans_total', 'result="refused"');
    $si->json(GET => '/v1/conversations');
    poll_until { metric('si_worker_spans_total', 'result="refused"') == $refused + 1 } undef, 'the count of rejected ones';
    pass 'what is rejected in part is counted, too';

    is scalar(grep { $_->{msg} =~ /^the collector of traces/ && $_->{level} eq 'warn' } log_lines()) >= 2, 1, 'the log says so';
    is scalar(grep { "@{[ %$_ ]}" =~ /a b|x-team/ } log_lines()), 0, 'and no headers';
};

subtest 'a collector that is slow, or not there' => sub {
    reconfigure(queue => 20, batch => 10, timeout => '10s');
    $collector->default(kind => 'hang');
    my $count = $collector->count;
    $si->json(GET => '/v1/conversations');
    $collector->wait_request($count + 1);
    for (1 .. 40) {
        my $r = $si->json(GET => '/v1/conversations');
        die "status $r->{status}" if $r->{status} != 200;
    }
    my @e = turn({ input => $secret, model => 'two' });
    is $e[-1]{event}, 'turn.completed', 'a turn while the collector hangs';
    poll_until { metric('si_worker_spans_total', 'result="overflow"') == 23 } undef, 'the count of lost ones';
    like $si->http(GET => '/metrics')->{body}, qr/^si_worker_spans_queued\{[^}]*\} 20$/m, 'the queue is full, the oldest are lost and counted';
    is $collector->count, $count + 1, 'one request at a time';
    my $began = now_ms();
    reconfigure(timeout => '500ms');
    cmp_ok now_ms() - $began, '<', 15000, 'the worker leaves all the same';

    $collector->refuse(1);
    my $context = caller_context();
    @e = turn({ input => $secret, model => 'two' }, { traceparent => $context });
    is $e[-1]{event}, 'turn.completed', 'a turn while nobody is there';
    poll_until { grep { ($_->{reason} // '') =~ /onnection refused/ && $_->{msg} =~ /^the collector/ } log_lines() } undef, 'the line in the log';
    $collector->well;
    $collector->refuse(0);
    $collector->{read} = $collector->count;
    my @s = spans_of(trace_of($context), 3);
    is scalar(@s), 3, 'its spans come when somebody is';
};

subtest 'at the end, and not at all' => sub {
    reconfigure(interval => '10m');
    my $context = caller_context();
    my $count = $collector->count;
    my @e = turn({ input => $secret, model => 'two' }, { traceparent => $context });
    like $si->http(GET => '/metrics')->{body}, qr/^si_worker_spans_queued\{[^}]*\} [23]$/m, 'spans wait';
    is $collector->count, $count, 'for the interval';
    reconfigure(sample => 0, parent => 'ignore');
    my @s = spans_of(trace_of($context), 3);
    is scalar(@s), 3, 'a worker that leaves sends what it has';

    $count = $collector->count;
    @e = turn({ input => $secret, model => 'two' }, { traceparent => $context });
    my ($line) = grep { ($_->{turn} // '') eq $e[-1]{data}{turn} && $_->{msg} eq 'turn ends' } log_lines();
    like $line->{trace}, qr/^[0-9a-f]{32}$/, 'a share of 0: the log names a trace';
    isnt $line->{trace}, trace_of($context), "which is not the client's where that is ignored";
    reconfigure(endpoint => '""');
    @e = turn({ input => $secret, model => 'two' }, { traceparent => $context });
    ($line) = grep { ($_->{turn} // '') eq $e[-1]{data}{turn} && $_->{msg} eq 'turn ends' } log_lines();
    ok !exists $line->{trace}, 'off: no trace';
    is $model->request($model->count)->{headers}{traceparent}, undef, 'nor for a provider';
    reconfigure();
    is $collector->count, $count, 'the collector heard of neither';
};

is index($collector->bodies, $secret), -1, 'no word of a message was ever exported';
cmp_ok length $collector->bodies, '>', 10000, 'of much that was';
done_testing;
