# What an answer that was there before leaves behind: a row without cost, a span, a mark in its turn; sums of ledger and counters stay
# equal. And the trace of a turn, which goes on when another worker takes it over.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use SI::Collector;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my ($model, $collector) = (SI::Model->start, SI::Collector->start);
my ($url, $to) = ($model->base_url, $collector->endpoint);
my $si = SI::Test->start(workers => 1, config => <<"YAML");
gateway: { attempts: 1, restarts: 0, breaker_calls: 10000, cache_ttl: 1h, budget_output: 10 }
telemetry: { endpoint: "$to", interval: 30ms }
providers:
  fake: { kind: openai, base_url: "$url" }
models:
  m: { provider: fake, upstream: up, price: { input: 1, output: 1 } }
filters:
  words: { words: [forbidden] }
  pii: { ready: [email], action: redact, direction: input }
agents:
  teller: { model: m }
  wary: { model: m, filters: [words, pii] }
default_model: m
budgets:
  teller: { per: all, agent: teller, period: total, calls: 100, dollars: 1 }
  all: { per: all, period: total, calls: 100 }
YAML
my $made = 0;
sub caller_context { return sprintf '00-%032x-%016x-01', ++$made + (1 << 40), $made }
sub trace_of { return (split /-/, shift)[1] }
# The spans of a trace, once there are those that are wanted.
sub spans_of { my ($context, $want) = @_; my @of; $collector->wait_spans(sub { @of = grep { $_->{traceId} eq trace_of($context) } @_; $want->(@of) }); return @of }
sub one { my $re = shift; return grep { $_->{name} =~ $re } @_ }
sub metric { my ($name) = @_; my $sum = 0; $sum += $_ for $si->http(GET => '/metrics')->{body} =~ /^\Q$name\E\b[^}\n]*\} (\d+)$/mg; return $sum }
sub hits { my ($n) = $si->http(GET => '/metrics')->{body} =~ /^si_cache_answers_total\{[^}]*outcome="hit"[^}]*\} (\d+)/m; return $n // 0 }
sub rows { return ($si->pg("SELECT count(*) FROM usage WHERE $_[0]"))[0] }
sub used { my ($key) = grep { !/rate/ } split /\n/, $si->redis(KEYS => "si:{budget}:$_[0]:calls*"); return $si->redis(HGET => $key // 'none', 'used') || 0 }
sub ask { return { input => $_[0], agent => 'teller' } }

my %faces = (
    '/v1/chat/completions' => { model => 'teller', messages => [{ role => 'user', content => 'chat' }] },
    '/v1/messages' => { model => 'teller', max_tokens => 9, messages => [{ role => 'user', content => 'messages' }] },
    '/v1/responses' => { model => 'teller', input => 'responses' },
);

subtest 'a turn' => sub {
    my @t = map { my $t = run_turn($si, conversation($si), ask('Hello')); poll_until { metric('si_cache_answers_total') >= 2 } if !$_; $t } 0, 1;
    ok !$t[0]{usage}{cached_answer}, 'the first one asks the model';
    cmp_ok $t[0]{usage}{cost_micros}, '>', 0, 'and costs something';
    ok $t[1]{usage}{cached_answer}, 'the second one says that it did not';
    is $t[1]{usage}{cost_micros}, 0, 'and cost nothing';
    is $t[1]{usage}{output_tokens}, $t[0]{usage}{output_tokens}, 'with the tokens of the answer';
    is $t[1]{output}, $t[0]{output}, 'which is the same';
    poll_until { rows("turn_id = '$t[1]{id}'") };
    is_deeply [$si->pg("SELECT source || ' ' || model || ' ' || provider || ' ' || outcome || ' ' || cost_micros || ' ' || input_tokens + output_tokens FROM usage WHERE turn_id = '$t[1]{id}'")],
        ['turn m fake cached 0 0'], 'its row is of nothing';
};

subtest 'a stream, and from Postgres' => sub {
    my ($c, $context) = (conversation($si), caller_context());
    my @e = $si->stream(POST => "/v1/conversations/$c/turns", ask('Hello'), { traceparent => $context })->until_end;
    ok $e[-1]{data}{usage}{cached_answer}, 'turn.completed says it';
    my @s = spans_of($context, sub { one(qr/^invoke_agent/, @_) && one(qr/^chat/, @_) });
    my ($turn, $chat) = (one(qr/^invoke_agent/, @s), one(qr/^chat/, @s));
    is $chat->{parentSpanId}, $turn->{spanId}, 'there is a span of it in the turn';
    is $chat->{at}{'si.cache'}, 'hit', 'which says so';
    is $chat->{at}{'gen_ai.usage.output_tokens'}, undef, 'and counts no tokens again';
    my ($old) = $si->worker_pids;
    $si->kill9($old);
    poll_until { my @p = $si->worker_pids; @p && $p[0] != $old && eval { $si->json(GET => "/v1/conversations/$c")->{status} == 200 } } 30, 'the next worker';
    my $s = $si->stream(GET => "/v1/conversations/$c/events?from=start");
    is $s->wait_event('turn.completed')->{raw}, $e[-1]{raw}, 'read from Postgres it is the same';
    $s->close;
};

subtest 'dialects, and sums' => sub {
    my $before = hits();
    for my $path (sort keys %faces) {
        $si->json(POST => $path, $faces{$path});
        my $r;
        poll_until { $r = $si->json(POST => $path, $faces{$path}); ($r->{headers}{'cache-status'} // '') =~ /hit/ } undef, "$path: a hit";
    }
    my $hits = hits() - $before;
    is $hits, 3, 'each had a hit';
    poll_until { rows("outcome = 'cached' AND source <> 'turn'") == 3 } undef, 'their rows';
    pass 'each has a row';
    poll_until { rows("outcome = 'ok'") == 4 && used('all') == 4 };
    is used('teller'), 4, 'budgets count calls of the model only';
    my $u = $si->json(GET => '/v1/usage')->{json}{total};
    is_deeply [@$u{qw(calls failed cached_answers)}], [4, 0, 5], 'GET /v1/usage tells them apart';
    my ($tokens) = $si->pg('SELECT sum(input_tokens + output_tokens) FROM usage');
    is $u->{input_tokens} + $u->{output_tokens}, $tokens, 'tokens are those of the ledger';
    # Redis forgets: the counter is summed up from the ledger, where hits are none.
    $si->redis('FLUSHALL');
    run_turn($si, conversation($si), ask('Something else'));
    poll_until { used('all') == 5 };
    pass 'and a counter that is summed up anew is the same';
};

subtest 'what filters did' => sub {
    my ($c, $context) = (conversation($si), caller_context());
    $model->next(kind => 'tokens', tokens => ['so it is for', 'bidden']);
    $si->stream(POST => "/v1/conversations/$c/turns", { input => 'I am ann@example.org, or bob@example.org', agent => 'wary' }, { traceparent => $context })->until_end;
    my ($turn) = one(qr/^invoke_agent/, spans_of($context, sub { one(qr/^invoke_agent/, @_) }));
    is_deeply [map { "$_->{'si.filter.rule'} $_->{'si.filter.direction'} $_->{'si.filter.action'}" } grep { $_->{'si.filter.rule'} } @{ $turn->{event_at} }],
        ['pii/email input redact', 'words/words output block'], 'is in the span of the turn, once each';
    $context = caller_context();
    $si->json(POST => '/v1/chat/completions', { model => 'wary', messages => [{ role => 'user', content => 'forbidden' }] }, { traceparent => $context });
    my ($request) = one(qr/^POST/, spans_of($context, sub { one(qr/^POST/, @_) }));
    is_deeply [$request->{events}, $request->{event_at}[0]{'si.filter.rule'}], [['si.filter'], 'words/words'], 'of a request that was refused, too';
    unlike $collector->{bodies}, qr/forbidden|example\.org/, 'without the text';
};

subtest 'a turn that is taken over' => sub {
    my ($c, $context) = (conversation($si), caller_context());
    $model->next(kind => 'hang');
    my $before = $model->count;
    my $s = $si->stream(POST => "/v1/conversations/$c/turns", ask('Survive this'), { traceparent => $context });
    my $id = $s->wait_event('turn.accepted')->{data}{turn};
    $model->wait_request($before + 1);
    $si->kill9($si->worker_pids);
    $s->wait_event('turn.completed');
    my @s = spans_of($context, sub { one(qr/^invoke_agent/, @_) && one(qr/^chat/, @_) });
    my ($turn, $chat) = (one(qr/^invoke_agent/, @s), one(qr/^chat/, @s));
    is $turn->{at}{'si.turn.id'}, $id, 'its span is in the trace of the request that began it';
    is $turn->{at}{'si.turn.attempt'}, 1, 'as the second attempt';
    is $turn->{parentSpanId}, (split /-/, ($si->pg("SELECT traceparent FROM turn WHERE turn_id = '$id'"))[0])[2], 'under the span of that request';
    is $chat->{parentSpanId}, $turn->{spanId}, 'and the call of the model in it';
};

done_testing;
