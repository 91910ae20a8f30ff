# Answers of before for equal requests: in turns and in three dialects, streamed and not; what is kept and what is not; whose it is; what the
# client may say; and that nothing is late or lost without Redis.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use SI::Model;
use SI::Test;
use SI::Test::Api;

my ($model, $second) = (SI::Model->start, SI::Model->start(name => 'second'));
my ($url, $url2) = ($model->base_url, $second->base_url);
my $si = SI::Test->start(workers => 1, config => <<"YAML");
turn: { deadline: 60s }
gateway: { attempts: 1, restarts: 1, key_rest: 1ms, cooldown: 1ms, cooldown_max: 1ms, breaker_calls: 10000, cache_ttl: 1h, cache_max: 4k, filters: [words] }
filters: { words: { words: [forbidden], direction: output } }
providers:
  fake: { kind: openai, base_url: "$url" }
  two: { kind: openai, base_url: "$url2" }
models:
  m: { provider: fake }
  pair: { provider: fake, upstream: m, fallback: [m2] }
  m2: { provider: two, upstream: m }
  never: { provider: fake, upstream: m, cache_ttl: 0s }
  brief: { provider: fake, upstream: m, cache_ttl: 1s }
agents:
  plain: { model: m }
  wary: { model: m, cache_ttl: 0s }
default_model: m
YAML
my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $json = JSON::PP->new->utf8->canonical;
$model->default(kind => 'tokens', tokens => 4, unique => 1);
my $serial = 0;
sub once { return 'question ' . ++$serial }
sub chat { my ($q, $headers, %more) = @_; return $si->json(POST => '/v1/chat/completions', { model => 'm', messages => [{ role => 'user', content => $q }], %more }, $headers) }
sub said { return $_[0]{json}{choices}[0]{message}{content} }
sub status { return $_[0]{headers}{'cache-status'} }
sub metric { my ($n) = $si->http(GET => '/metrics')->{body} =~ /^si_cache_answers_total\{[^}]*outcome="$_[0]"[^}]*\} (\d+)/m; return $n // 0 }
# After an answer was given that is to be kept: until it is there.
sub kept { my $n = shift; poll_until { metric('kept') >= $n } undef, 'an answer to be kept' }
my $kept = 0;

my %faces = (
    openai => ['/v1/chat/completions', sub { { model => 'm', messages => [{ role => 'user', content => $_[0] }] } }, sub { $_[0]{choices}[0]{message}{content} },
        sub { join '', map { $_->{choices}[0]{delta}{content} // '' } @_ }],
    anthropic => ['/v1/messages', sub { { model => 'm', max_tokens => 50, messages => [{ role => 'user', content => $_[0] }] } }, sub { $_[0]{content}[0]{text} },
        sub { join '', map { $_->{delta}{text} // '' } @_ }],
    responses => ['/v1/responses', sub { { model => 'm', input => $_[0] } }, sub { $_[0]{output}[0]{content}[0]{text} },
        sub { join '', map { $_->{type} eq 'response.output_text.delta' ? $_->{delta} : '' } @_ }],
);

subtest 'every dialect, streamed and not' => sub {
    for my $face (sort keys %faces) {
        my ($path, $ask, $whole, $streamed) = @{ $faces{$face} };
        my $q = once();
        my $before = $model->count;
        my $first = $si->json(POST => $path, $ask->($q));
        is status($first), 'si; fwd=miss', "$face: nobody has asked this";
        kept(++$kept);
        my $again = $si->json(POST => $path, $ask->($q));
        like status($again), qr/^si; hit; ttl=3[56]\d\d$/, "$face: now it is known";
        is $whole->($again->{json}), $whole->($first->{json}), "$face: the same answer";
        is_deeply $again->{json}{usage}, $first->{json}{usage}, "$face: with its usage";
        isnt $again->{json}{id}, $first->{json}{id}, "$face: an id of its own";
        my $s = $si->stream(POST => $path, { %{ $ask->($q) }, stream => $true });
        my @e = grep { ref } map { $_->{data} } $s->until_end;
        ok $s->complete, "$face: a whole stream";
        like $s->headers->{'cache-status'}, qr/^si; hit/, "$face: known there, too";
        is $streamed->(@e), $whole->($first->{json}), "$face: in pieces";
        is $model->count, $before + 1, "$face: the model was asked once";
    }
};

subtest 'a stream is kept as well' => sub {
    my $q = once();
    my $s = $si->stream(POST => '/v1/chat/completions', { %{ $faces{openai}[1]->($q) }, stream => $true });
    my $text = $faces{openai}[3]->(grep { ref } map { $_->{data} } $s->until_end);
    kept(++$kept);
    my $r = chat($q);
    like status($r), qr/hit/, 'known';
    is said($r), $text, 'the same';
};

subtest 'turns' => sub {
    my $q = once();
    my $before = $model->count;
    my @t = map { my $t = run_turn($si, conversation($si), { input => $q, agent => 'plain' }); kept(++$kept) if !$_; $t } 0, 1;
    is $t[0]{output}, $t[1]{output}, 'two conversations that begin alike get one answer';
    is $model->count, $before + 1, 'and the model was asked once';
    is_deeply $t[1]{usage}{output_tokens}, $t[0]{usage}{output_tokens}, 'its usage is told';
    my $r = chat($q);
    is said($r), $t[0]{output}, 'a dialect asks the same question';
};

subtest 'tools' => sub {
    my @tools = (tools => [{ type => 'function', function => { name => 'f', parameters => { type => 'object' } } }]);
    my $q = once();
    my @c = ({ choices => [{ index => 0, delta => { tool_calls => [{ index => 0, id => 'c1', type => 'function', function => { name => 'f', arguments => '{"a":' } }] } }] },
        { choices => [{ index => 0, delta => { tool_calls => [{ index => 0, function => { arguments => '1}' } }] } }] }, { choices => [{ index => 0, delta => {}, finish_reason => 'tool_calls' }] });
    $model->next(kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" . join '', map { "data: $_\n\n" } (map { $json->encode($_) } @c), '[DONE]');
    my $first = chat($q, undef, @tools);
    kept(++$kept);
    my $again = chat($q, undef, @tools);
    like status($again), qr/hit/, 'an answer that calls a tool';
    is_deeply $again->{json}{choices}, $first->{json}{choices}, 'is the same';
    is $again->{json}{choices}[0]{message}{tool_calls}[0]{function}{arguments}, '{"a":1}', 'with its arguments';
};

subtest 'what makes a request another one' => sub {
    my $q = once();
    chat($q, undef, temperature => 0.7);
    kept(++$kept);
    like status(chat($q, undef, temperature => 0.7, user => 'ann')), qr/hit/, 'not who the end user is, and a temperature is no obstacle';
    for ([temperature => 0.8], [], [max_tokens => 5], [seed => 1], [stop => ['x']], [top_p => 0.5], [model => 'pair'], [logit_bias => { 5 => 1 }], [reasoning_effort => 'low']) {
        is status(chat($q, undef, @$_)), 'si; fwd=miss', "but @{[$_->[0] // 'no temperature']}";
        kept(++$kept);
    }
    is status($si->json(POST => '/v1/chat/completions', { model => 'm', temperature => 0.7, messages => [{ role => 'system', content => 'x' }, { role => 'user', content => $q }] })), 'si; fwd=miss', 'and another message';
    kept(++$kept);
};

subtest 'what is not kept' => sub {
    my $n = metric('unfit');
    my @unfit = (['cut by its length', [kind => 'tokens', tokens => 3, finish_reason => 'length']], ['stopped by the model\'s filter', [kind => 'tokens', tokens => 3, finish_reason => 'content_filter']],
        ['blocked by a filter', [kind => 'tokens', tokens => ['so it is forbidden, ', 'yes']]], ['too large', [kind => 'tokens', tokens => ['x' x 5000]]]);
    for (@unfit) {
        my ($what, $how) = @$_;
        my $q = once();
        for (1, 2) {
            $model->next(@$how);
            is status(chat($q)), 'si; fwd=miss', "$what, time $_";
        }
    }
    is metric('unfit'), $n + 2 * @unfit, 'all were told apart';
    my $q = once();
    for (1, 2) {
        $model->next(kind => 'cut', after => 2);
        is chat($q)->{status}, 502, "a failure, time $_";
    }
    $q = once();
    for (1, 2) {
        $model->next(kind => 'status', status => 500);
        is status(chat($q, undef, model => 'pair')), 'si; fwd=miss', "the answer of another model than the one that was meant, time $_";
    }
    is status(chat(once(), undef, model => $_)), undef, "$_, which has no cache, says nothing of it" for 'never', 'wary';
    is metric('kept'), $kept, 'nothing was kept';
};

subtest 'what the client says' => sub {
    my $q = once();
    my $first = chat($q);
    kept(++$kept);
    my $fresh = chat($q, { 'Cache-Control' => 'no-cache' });
    is status($fresh), 'si; fwd=request', 'no-cache: a new answer';
    isnt said($fresh), said($first), 'it is one';
    kept(++$kept);
    is said(chat($q)), said($fresh), 'which is kept';
    my $none = chat($q, { 'Cache-Control' => 'max-age=60, No-Store' });
    is status($none), 'si; fwd=request', 'no-store: a new answer';
    isnt said($none), said($fresh), 'it is one';
    is said(chat($q)), said($fresh), 'which is not kept';
    like status(chat($q, { 'Cache-Control' => 'max-age=600' })), qr/hit/, 'max-age: young enough';
    is status(chat($q, { 'Cache-Control' => 'max-age=0' })), 'si; fwd=stale', 'too old';
    kept(++$kept);
    $q = once();
    chat($q, undef, model => 'brief');
    kept(++$kept);
    poll_until { status(chat($q, undef, model => 'brief')) =~ /fwd/ } undef, 'an answer to grow old';
    kept(++$kept);
    pass 'a model may have a time of its own';
};

subtest 'two tenants' => sub {
    my $q = once();
    my $ours = chat($q);
    kept(++$kept);
    my $them = member($si, create_key($si, 'others', 'ann'));
    my $r = $them->json(POST => '/v1/chat/completions', $faces{openai}[1]->($q));
    is status($r), 'si; fwd=miss', 'what one has asked the other one has not';
    isnt said($r), said($ours), 'and it gets an answer of its own';
    kept(++$kept);
    is said($them->json(POST => '/v1/chat/completions', $faces{openai}[1]->($q))), said($r), 'again';
    is said(chat($q)), said($ours), 'as the first one does';
    my $colleague = member($si, create_key($si, 'others', 'bob'));
    is said($colleague->json(POST => '/v1/chat/completions', $faces{openai}[1]->($q))), said($r), 'users of a tenant share';
};

subtest 'filters' => sub {
    my $q = once();
    chat($q);
    kept(++$kept);
    my $yaml = slurp($si->dir . '/overlay.yaml') =~ s/\[forbidden\]/[forbidden, other]/r;
    open my $fh, '>', $si->dir . '/overlay.yaml' or die $!;
    print $fh $yaml;
    close $fh;
    my @old = $si->worker_pids;
    kill HUP => $si->master_pid;
    poll_until { !grep { my $p = $_; grep { $_ == $p } @old } $si->worker_pids };
    poll_until { (status(chat($q)) // '') eq 'si; fwd=miss' } undef, 'the new filters';
    pass 'with other filters it is another answer';
};

subtest 'without Redis' => sub {
    my $q = once();
    chat($q);
    $si->kill_redis;
    poll_until { status(chat($q)) eq 'si; fwd=miss' };
    my ($fastest) = sort { $a <=> $b } map { my $from = now_ms(); is chat($q)->{status}, 200, 'answered'; now_ms() - $from } 1 .. 5;
    cmp_ok $fastest, '<', 1000, "at once ($fastest ms)";
    $si->start_redis;
};

done_testing;
