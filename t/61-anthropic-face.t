# POST /v1/messages as Anthropic's clients know it, in front of a provider that speaks as Anthropic and of one that speaks as
# OpenAI: messages, events, errors, and what becomes of the provider when the client goes. And OpenAI's face in front of Anthropic.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $url = $model->base_url;
my $si = SI::Test->start(workers => 1, config => <<"YAML");
limits:
  request_max: 256k
turn:
  deadline: 60s
gateway: { attempts: 1, restarts: 0, key_rest: 1ms, cooldown: 1ms, cooldown_max: 1ms, breaker_calls: 10000 }
providers:
  claude:
    kind: anthropic
    base_url: "$url"
    api_key: env:SI_TEST_MODEL_KEY
    beta: some-beta-2026-01-01
  fake:
    kind: openai
    base_url: "$url"
  hasty:
    kind: openai
    base_url: "$url"
    first_byte_timeout: 1s
    idle_timeout: 1s
models:
  claude-1:
    provider: claude
  gpt-1:
    provider: fake
  hasty:
    provider: hasty
agents:
  poet:
    model: claude-1
    prompt: Speak in verse.
YAML
my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $json = JSON::PP->new->utf8->canonical;
my $asked = 0;
sub asked { return $model->wait_request(++$asked) }
my $path = '/v1/messages';
my @hello = ({ role => 'user', content => 'Hello' });
sub request { return { model => 'claude-1', max_tokens => 100, messages => \@hello, @_ } }
sub ask { return $si->json(POST => $path, @_ == 1 ? $_[0] : request(@_)) }
sub stream { return $si->stream(POST => $path, request(stream => $true, @_)) }

# An answer of the provider that speaks as Anthropic.
sub events { return kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" . join '', map { "event: $_->{type}\ndata: " . $json->encode($_) . "\n\n" } @_ }
sub start { return { type => 'message_start', message => { id => 'msg_up', type => 'message', role => 'assistant', model => 'claude-1-2026', content => [], stop_reason => undef,
    usage => { input_tokens => 7, cache_read_input_tokens => 20, cache_creation_input_tokens => 3, output_tokens => 1 } } } }
my $index = 0;
sub block { my ($block, @deltas) = @_; my $i = $index++; return { type => 'content_block_start', index => $i, content_block => $block },
    (map { { type => 'content_block_delta', index => $i, delta => $_ } } @deltas), { type => 'content_block_stop', index => $i } }
sub text { return block({ type => 'text', text => '' }, map { { type => 'text_delta', text => $_ } } @_) }
sub end { my ($reason, %more) = @_; return { type => 'message_delta', delta => { stop_reason => $reason, stop_sequence => undef, %more }, usage => { output_tokens => 9 } }, { type => 'message_stop' } }
my $usage = { input_tokens => 7, cache_read_input_tokens => 20, cache_creation_input_tokens => 3, output_tokens => 9 };

# A test: an error in Anthropic's shape.
sub is_error {
    my ($r, $status, $type, $code, $name) = @_;
    my $e = $r->{json} && $r->{json}{error};
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_deeply [$r->{status}, $r->{headers}{'content-type'}, $r->{json}{type}, $e->{type}, $e->{details}{error_code}], [$status, 'application/json', 'error', $type, $code],
        "$name: $status $code" or diag $r->{body};
    ok length($e->{message} // '') && ($r->{json}{request_id} // 'x') eq ($r->{headers}{'request-id'} // 'y'), "$name: with a message and the id of the request";
    return $e;
}

# A test: events in the order that Anthropic's documentation promises. Returns the message that they make.
sub message_of {
    my ($name, @e) = @_;
    my ($m, $open, @wrong) = (undef, undef);
    for (@e) {
        my $d = $_->{data};
        push @wrong, "$_->{event} is $d->{type}" if $_->{event} ne $d->{type};
        if ($d->{type} eq 'message_start') { push @wrong, 'a second start' if $m; $m = { %{ $d->{message} }, content => [] } }
        elsif ($d->{type} eq 'content_block_start') {
            push @wrong, "block $d->{index} begins in another or out of order" if defined $open || $d->{index} != @{ $m->{content} };
            push @{ $m->{content} }, $d->{content_block};
            $open = $d->{index};
        } elsif ($d->{type} eq 'content_block_delta') {
            push @wrong, "a delta of $d->{index}" if !defined $open || $d->{index} != $open;
            my $b = $m->{content}[-1];
            my ($member) = grep { $_ ne 'type' } keys %{ $d->{delta} };
            $b->{$member} .= $d->{delta}{$member};
        } elsif ($d->{type} eq 'content_block_stop') {
            push @wrong, "the end of $d->{index}" if !defined $open || $d->{index} != $open;
            undef $open;
            my $b = $m->{content}[-1];
            $b->{input} = $json->decode(delete $b->{partial_json}) if defined $b->{partial_json};
        } elsif ($d->{type} eq 'message_delta') { push @wrong, 'an end within a block' if defined $open; %$m = (%$m, %{ $d->{delta} }); $m->{usage} = $d->{usage} }
        elsif ($d->{type} !~ /^(?:ping|message_stop)$/) { push @wrong, "an event $d->{type}" }
    }
    push @wrong, 'no start at first, or no stop at last' if $e[0]{event} ne 'message_start' || $e[-1]{event} ne 'message_stop';
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_deeply \@wrong, [], "$name: events in order";
    return $m;
}

# Asked both ways, the answer is the same message.
sub both {
    my ($name, $how, $want, @request) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $model->next(@$how);
    my $r = ask(@request);
    asked();
    is $r->{status}, 200, "$name: answered" or return diag $r->{body};
    my %whole = %{ $r->{json} };
    like delete $whole{id}, qr/^msg_[0-9a-f]{32}$/, "$name: an id";
    is_deeply \%whole, { type => 'message', role => 'assistant', stop_sequence => undef, %$want }, "$name: one message" or diag $r->{body};
    $model->next(@$how);
    my $s = stream(@request);
    my @e = $s->until_end;
    asked();
    ok $s->complete, "$name: a whole stream";
    my $m = message_of($name, @e);
    like delete $m->{id}, qr/^msg_[0-9a-f]{32}$/, "$name: an id";
    is_deeply $m, \%whole, "$name: makes the same message";
    return @e;
}

subtest 'through Anthropic' => sub {
    my @all = (start(), { type => 'ping' }, block({ type => 'thinking', thinking => '', signature => '' }, { type => 'thinking_delta', thinking => "h\x{fc}m" }, { type => 'signature_delta', signature => 's1' }),
        block({ type => 'thinking', thinking => '', signature => '' }, { type => 'signature_delta', signature => 's2' }), block({ type => 'redacted_thinking', data => 'xyz' }),
        text('Hel', "lo \"\\\n"), block({ type => 'tool_use', id => 't1', name => 'f', input => {} }, map { { type => 'input_json_delta', partial_json => $_ } } '', '{"a":', '[1]}'),
        block({ type => 'tool_use', id => 't2', name => 'g', input => {} }), end('tool_use'));
    $index = 0;
    both('all blocks', [events(@all)], { model => 'claude-1-2026', stop_reason => 'tool_use', usage => $usage, content => [{ type => 'thinking', thinking => "h\x{fc}m", signature => 'si:claude:s1' },
        { type => 'thinking', thinking => '', signature => 'si:claude:s2' }, { type => 'redacted_thinking', data => 'si:claude:xyz' }, { type => 'text', text => "Hello \"\\\n" },
        { type => 'tool_use', id => 't1', name => 'f', input => { a => [1] } }, { type => 'tool_use', id => 't2', name => 'g', input => {} }] });
    my $h = $model->request->{headers};
    is_deeply [@$h{qw(x-api-key anthropic-version anthropic-beta)}], ['test-key', '2023-06-01', 'some-beta-2026-01-01'], 'its own key, version and betas';
    is $model->request->{path}, '/v1/messages', 'its path';

    $index = 0;
    my @e = both('text', [events(start(), text('a', 'b'), end('end_turn'))], { model => 'claude-1-2026', stop_reason => 'end_turn', usage => $usage, content => [{ type => 'text', text => 'ab' }] });
    is_deeply $e[0]{data}{message}{usage}, { %$usage, output_tokens => 0 }, 'the start says how long the prompt is';
    is $e[1]{event}, 'ping', 'a ping';
    both('nothing', [events(start(), end('end_turn'))], { model => 'claude-1-2026', stop_reason => 'end_turn', usage => $usage, content => [] });
    for (['max_tokens'], ['pause_turn'], ['model_context_window_exceeded', 'max_tokens'], ['stop_sequence', 'stop_sequence', '###'], ['refusal', 'refusal', undef, 'I must not.'], ['refusal']) {
        my ($theirs, $ours, $sequence, $why) = @$_;
        $index = 0;
        both($theirs, [events(start(), text('a'), end($theirs, stop_sequence => $sequence, ($why ? (stop_details => { type => 'refusal', explanation => $why }) : ())))],
            { model => 'claude-1-2026', stop_reason => $ours || $theirs, stop_sequence => $sequence, usage => $usage, content => [{ type => 'text', text => 'a' }],
              ($theirs eq 'refusal' ? (stop_details => { type => 'refusal', category => undef, explanation => $why }) : ()) });
    }
};

subtest 'what is sent on' => sub {
    my @cache = (cache_control => { type => 'ephemeral', ttl => '1h' });
    my @tools = ({ name => 'f', description => 'does f', input_schema => { type => 'object', properties => { a => { type => 'array' } } }, strict => $true, @cache },
        { name => 'g', input_schema => { type => 'object' } });
    my @chat = (
        { role => 'user', content => [{ type => 'text', text => 'Look', @cache }, { type => 'image', source => { type => 'base64', media_type => 'image/png', data => 'aGk=' } },
            { type => 'image', source => { type => 'url', url => 'https://x/y.png' } }, { type => 'document', title => 'T', source => { type => 'text', media_type => 'text/plain', data => "plain \x{fc}" } },
            { type => 'document', source => { type => 'base64', media_type => 'application/pdf', data => 'aGk=' } }] },
        { role => 'assistant', content => [{ type => 'thinking', thinking => 'hm', signature => 's1' }, { type => 'redacted_thinking', data => 'xyz' }, { type => 'text', text => 'so' },
            { type => 'tool_use', id => 't1', name => 'f', input => { a => [1, { b => undef }] } }] },
        { role => 'user', content => [{ type => 'tool_result', tool_use_id => 't1', is_error => $true, content => [{ type => 'text', text => 'oops' },
            { type => 'image', source => { type => 'base64', media_type => 'image/png', data => 'aGk=' } }], @cache }, { type => 'text', text => 'and?' }] },
        { role => 'system', content => [{ type => 'text', text => 'In German now.' }] },
    );
    my %all = (system => [{ type => 'text', text => 'Be brief.', @cache }], messages => \@chat, tools => \@tools, tool_choice => { type => 'any', disable_parallel_tool_use => $true },
        temperature => 0.5, top_p => 0.25, top_k => 7, stop_sequences => ['a', 'b'], metadata => { user_id => 'u7' }, thinking => { type => 'enabled', budget_tokens => 1024 },
        output_config => { effort => 'low', format => { type => 'json_schema', schema => { type => 'object' } } }, service_tier => 'standard_only', context_management => { edits => [] });
    $model->next(events(start(), end('end_turn')));
    my $r = ask(%all);
    my $sent = $model->request(asked())->{json};
    is $r->{status}, 200, 'answered' or diag $r->{body};
    is_deeply $sent, { %all, model => 'claude-1', max_tokens => 100, stream => $true }, 'as it came' or diag $json->encode($sent);

    $model->next(events(start(), end('end_turn')));
    $r = ask(system => 'Be brief.', messages => [{ role => 'assistant', content => [{ type => 'text', text => 'so', citations => undef },
        { type => 'tool_use', id => 't', name => 'f', input => {}, caller => { type => 'direct' } }] }, { role => 'user', content => [{ type => 'tool_result', tool_use_id => 't', content => '5' }] },
        { role => 'user', content => 'and?' }], thinking => { type => 'adaptive', display => 'omitted' }, tools => [{ type => 'custom', name => 'f', input_schema => { type => 'object' },
        eager_input_streaming => $true, defer_loading => $false, allowed_callers => ['direct'] }], service_tier => 'auto', top_k => undef, metadata => {}, stop_sequences => []);
    $sent = $model->request(asked())->{json};
    is $r->{status}, 200, 'the short forms, and what says nothing' or diag $r->{body};
    is_deeply $sent, { model => 'claude-1', max_tokens => 100, stream => $true, system => [{ type => 'text', text => 'Be brief.' }], thinking => { type => 'adaptive', display => 'omitted' },
        tools => [{ name => 'f', input_schema => { type => 'object' } }], messages => [{ role => 'assistant', content => [{ type => 'text', text => 'so' }, { type => 'tool_use', id => 't', name => 'f', input => {} }] },
        { role => 'user', content => [{ type => 'tool_result', tool_use_id => 't', content => [{ type => 'text', text => '5' }] }, { type => 'text', text => 'and?' }] }] }, 'are the long ones' or diag $json->encode($sent);

    $model->next(events(start(), end('end_turn')));
    is ask(model => 'poet', thinking => { type => 'disabled' })->{status}, 200, 'an agent is a model';
    $sent = $model->request(asked())->{json};
    is_deeply [@$sent{qw(model system thinking)}], ['claude-1', [{ type => 'text', text => 'Speak in verse.' }], { type => 'disabled' }], 'with its prompt';
};

# Chunks of a provider that speaks as OpenAI.
sub chunks { return kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" . join '', map { 'data: ' . (ref $_ ? $json->encode($_) : $_) . "\n\n" } @_ }
sub delta { return { model => 'gpt-up', choices => [{ index => 0, delta => {@_} }] } }
sub done { my $why = shift; return { choices => [{ index => 0, delta => {}, finish_reason => $why }] }, { choices => [], usage => { prompt_tokens => 12, completion_tokens => 5, total_tokens => 17 } }, '[DONE]' }

subtest 'through OpenAI' => sub {
    my %end = (model => 'gpt-up', usage => { input_tokens => 12, cache_read_input_tokens => 0, cache_creation_input_tokens => 0, output_tokens => 5 });
    both('reasoning and text', [chunks(delta(reasoning_content => 'hm '), delta(reasoning_content => 'so'), delta(content => 'a'), delta(content => 'b'), done('stop'))],
        { %end, stop_reason => 'end_turn', content => [{ type => 'thinking', thinking => 'hm so', signature => '' }, { type => 'text', text => 'ab' }] }, model => 'gpt-1');
    both('a refusal', [chunks(delta(refusal => 'I '), delta(refusal => 'must not.'), done('stop'))],
        { %end, stop_reason => 'refusal', stop_details => { type => 'refusal', category => undef, explanation => 'I must not.' }, content => [] }, model => 'gpt-1');
    for (['length', 'max_tokens'], ['content_filter', 'refusal']) {
        both($_->[0], [chunks(delta(content => 'a'), done($_->[0]))], { %end, stop_reason => $_->[1], content => [{ type => 'text', text => 'a' }],
            ($_->[1] eq 'refusal' ? (stop_details => { type => 'refusal', category => undef, explanation => undef }) : ()) }, model => 'gpt-1');
    }
    my $r = ask(model => 'gpt-1', system => 'Be brief.');
    my $sent = $model->request(asked())->{json};
    is_deeply [$r->{json}{content}, [map { "$_->{role} $_->{content}" } @{ $sent->{messages} }]], [[{ type => 'text', text => 't1 t2 t3 t4 t5 ' }], ['system Be brief.', 'user Hello']], 'the messages go on';
    my $n = $model->count;
    is_error(ask(model => 'gpt-1', @$_), 400, 'invalid_request_error', 'unsupported', "$_->[0], which has no word there")
        for [context_management => { edits => [] }], [thinking => { type => 'adaptive' }];
    is $model->count, $n, 'the provider was not asked';
};

# A piece of a call: index, arguments, and id and name in the first one.
sub piece { my ($i, $args, $id) = @_; return { index => $i, ($id ? (id => $id, type => 'function') : ()), function => { ($id ? (name => "f$i") : ()), arguments => $args } } }
sub called { my ($i, $input) = @_; return { type => 'tool_use', id => "c$i", name => "f$i", input => $input } }

subtest 'calls through OpenAI, however they come' => sub {
    my %end = (model => 'gpt-up', stop_reason => 'tool_use', usage => { input_tokens => 12, cache_read_input_tokens => 0, cache_creation_input_tokens => 0, output_tokens => 5 });
    my @mixed = map { my @p = @$_; delta(tool_calls => [map { piece(@$_) } @p]) } [[0, '', 'c0'], [1, '', 'c1']], [[2, '{"z":[', 'c2']], [[1, '{"b":']], [[0, '{"a":"}']], [[2, '3]}']], [[0, '"}'], [1, '2}']];
    both('mixed pieces', [chunks(@mixed, done('tool_calls'))], { %end, content => [called(0, { a => '}' }), called(1, { b => 2 }), called(2, { z => [3] })] }, model => 'gpt-1');
    both('no arguments', [chunks(delta(tool_calls => [piece(0, '', 'c0'), piece(1, '', 'c1')]), delta(tool_calls => [piece(2, '{"z":1}', 'c2')]), done('tool_calls'))],
        { %end, content => [called(0, {}), called(1, {}), called(2, { z => 1 })] }, model => 'gpt-1');
    both('no arguments, then text', [chunks(delta(tool_calls => [piece(0, '', 'c0')]), delta(content => 'so'), done('tool_calls'))], { %end, content => [called(0, {}), { type => 'text', text => 'so' }] }, model => 'gpt-1');
    both('an end that says stop', [chunks(delta(tool_calls => [piece(0, '{}', 'c0')]), done('stop'))], { %end, content => [called(0, {})] }, model => 'gpt-1');
    both('an end that says nothing', [chunks(delta(tool_calls => [piece(0, '', 'c0')]), (done('stop'))[1, 2])], { %end, content => [called(0, {})] }, model => 'gpt-1');
    both('the limit in the middle', [chunks(delta(tool_calls => [piece(0, '', 'c0'), piece(1, '{"b":1}', 'c1')]), done('length'))], { %end, stop_reason => 'max_tokens', content => [called(0, {}), called(1, { b => 1 })] }, model => 'gpt-1');
    $model->next(chunks(delta(tool_calls => [piece(0, '', 'c0')]), (done('stop'))[1, 2]));
    my $r = $si->json(POST => '/v1/chat/completions', { model => 'gpt-1', messages => \@hello });
    asked();
    is_deeply [@{ $r->{json}{choices}[0] }{qw(finish_reason)}, $r->{json}{choices}[0]{message}{tool_calls}[0]{function}{arguments}], ['tool_calls', '{}'], 'OpenAI\'s face says tool_calls where nothing was said';
    $model->next(chunks({ error => { message => 'Context size has been exceeded.', code => 500 } }));
    is_error(ask(model => 'gpt-1'), 400, 'invalid_request_error', 'context_length', 'a prompt that is too long, told within the stream');
    asked();
};

subtest 'OpenAI\'s face in front of Anthropic' => sub {
    $index = 0;
    $model->next(events(start(), block({ type => 'thinking', thinking => '' }, { type => 'thinking_delta', thinking => 'hm' }, { type => 'signature_delta', signature => 's' }), text('so'),
        block({ type => 'tool_use', id => 't1', name => 'f', input => {} }, { type => 'input_json_delta', partial_json => '{"a":1}' }), end('tool_use')));
    my $r = $si->json(POST => '/v1/chat/completions', { model => 'claude-1', max_tokens => 50, reasoning_effort => 'low', tools => [{ type => 'function', function => { name => 'f', parameters => { type => 'object' } } }],
        tool_choice => 'required', parallel_tool_calls => $false, messages => [{ role => 'system', content => 'Be brief.' }, @hello,
        { role => 'assistant', content => undef, tool_calls => [{ id => 't0', type => 'function', function => { name => 'f', arguments => '{"a":0}' } }] }, { role => 'tool', tool_call_id => 't0', content => '5' }] });
    my $sent = $model->request(asked())->{json};
    is $r->{status}, 200, 'answered' or diag $r->{body};
    my $choice = $r->{json}{choices}[0];
    is_deeply [@$choice{qw(finish_reason message)}], ['tool_calls', { role => 'assistant', content => 'so', refusal => undef, reasoning_content => 'hm',
        tool_calls => [{ id => 't1', type => 'function', function => { name => 'f', arguments => '{"a":1}' } }] }], 'thoughts, text and call' or diag $r->{body};
    is_deeply $r->{json}{usage}, { prompt_tokens => 30, completion_tokens => 9, total_tokens => 39, prompt_tokens_details => { cached_tokens => 20, cache_write_tokens => 3 }, completion_tokens_details => { reasoning_tokens => 0 } }, 'usage';
    is_deeply $sent, { model => 'claude-1', max_tokens => 50, stream => $true, system => [{ type => 'text', text => 'Be brief.' }], output_config => { effort => 'low' },
        tools => [{ name => 'f', input_schema => { type => 'object' } }], tool_choice => { type => 'any', disable_parallel_tool_use => $true },
        messages => [{ role => 'user', content => [{ type => 'text', text => 'Hello' }] }, { role => 'assistant', content => [{ type => 'tool_use', id => 't0', name => 'f', input => { a => 0 } }] },
        { role => 'user', content => [{ type => 'tool_result', tool_use_id => 't0', content => [{ type => 'text', text => '5' }] }] }] }, 'asked as Anthropic is' or diag $json->encode($sent);
    my $n = $model->count;
    for ([seed => 7], [logit_bias => {}], [response_format => { type => 'json_object' }]) {
        is $si->json(POST => '/v1/chat/completions', { model => 'claude-1', messages => \@hello, @$_ })->{json}{error}{code}, 'unsupported', "$_->[0] has no word there";
    }
    is $model->count, $n, 'the provider was not asked';
};

subtest 'only counted' => sub {
    my $count = sub { my %q = (%{ request(@_) }); delete $q{max_tokens}; return $si->json(POST => "$path/count_tokens", \%q) };
    my $says = sub { return kind => 'status', status => $_[0], body => $json->encode($_[1]), headers => { 'Content-Type' => 'application/json' } };
    my $stored = sub { poll_until { $si->http(GET => '/metrics')->{body} =~ /^si_usage_waiting\S* 0$/m } undef, 'the ledger'; return ($si->pg('SELECT count(*) FROM usage'))[0] };
    my $rows = $stored->();
    my %all = (system => 'Be brief.', tools => [{ name => 'f', input_schema => { type => 'object' } }], tool_choice => { type => 'any' }, thinking => { type => 'enabled', budget_tokens => 1024 },
        output_config => { effort => 'low' });
    $model->next($says->(200, { input_tokens => 14 }));
    my $r = $count->(%all, speed => 'fast');
    is_deeply [$r->{status}, $r->{json}], [200, { input_tokens => 14 }], 'Anthropic counts' or diag $r->{body};
    my $q = $model->request(asked());
    is $q->{path}, '/v1/messages/count_tokens', 'where it does so';
    is_deeply [sort keys %{ $q->{json} }], [sort qw(model messages speed), keys %all], 'with what is input, and nothing else';
    is $q->{headers}{'anthropic-version'}, '2023-06-01', 'as its API wants it';
    $model->next($says->(200, { input_tokens => 20 }));
    is $count->(model => 'poet')->{json}{input_tokens}, 20, 'an agent';
    is $model->request(asked())->{json}{system}[0]{text} // '', 'Speak in verse.', 'with its prompt' or diag $model->request($asked)->{body};
    my $long = [{ role => 'user', content => 'x' x 4000 }];
    $r = $count->(model => 'gpt-1', messages => $long);
    is_deeply $r->{json}, { input_tokens => 1000, estimated => $true }, 'of others it is an estimate, which says so';
    is $model->count, $asked, 'and nobody is asked';
    $model->next($says->(400, { type => 'error', error => { type => 'invalid_request_error', message => 'no such thing' } }));
    is_error($count->(), 400, 'invalid_request_error', 'provider_rejected', 'what Anthropic refuses');
    asked();
    $model->next($says->(529, { type => 'error', error => { type => 'overloaded_error', message => 'later' } }));
    is_deeply $count->(messages => $long)->{json}, { input_tokens => 1000, estimated => $true }, 'when it cannot count, an estimate';
    asked();
    $model->next(kind => 'tokens', tokens => 3);
    is_deeply $count->(messages => $long)->{json}, { input_tokens => 1000, estimated => $true }, 'or says something else';
    asked();
    for my $name (qw(max_tokens stream temperature top_k stop_sequences metadata)) {
        $r = $si->json(POST => "$path/count_tokens", { model => 'gpt-1', messages => \@hello, $name => 1 });
        is $r->{status}, 400, "$name has no place there";
        like $r->{json}{error}{message}, qr/$name/, 'by its name';
    }
    is_error($count->(model => 'nobody'), 404, 'not_found_error', 'model_not_found', 'a model that there is not');
    is $si->http(POST => "$path/count_tokens", { 'Content-Type' => 'application/json' }, '{}')->{status}, 401, 'only for callers that are known';
    $model->next(kind => 'hang');
    my $s = $si->stream(POST => "$path/count_tokens", { model => 'claude-1', messages => \@hello });
    my $n = asked();
    $s->close;
    ok $model->wait_closed($n), 'a client that leaves ends it';
    is $stored->(), $rows, 'it is in no ledger';
    is_error($si->json(POST => "$path/batches", {}), 404, 'not_found_error', 'not_found', 'what there is not');
};

subtest 'a turn' => sub {
    $index = 0;
    $model->next(events(start(), block({ type => 'thinking', thinking => '' }, { type => 'thinking_delta', thinking => 'hm' }, { type => 'signature_delta', signature => 's' }), text('Hel', 'lo'), end('end_turn')));
    my @e = $si->stream(POST => '/v1/conversations/' . conversation($si) . '/turns', { input => 'Hello', model => 'claude-1' })->until_end;
    asked();
    is text_of(@e), 'Hello', 'is answered by Anthropic, too';
    is_deeply [@{ $e[-1]{data}{usage} }{qw(input_tokens output_tokens)}], [30, 9], 'and its usage is all of it' or diag $json->encode($e[-1]{data});
};

subtest 'requests that are refused' => sub {
    my $n = $model->count;
    my $u = sub { return [messages => [{ role => 'user', content => [@_] }]] };
    my $a = sub { return [messages => [@hello, { role => 'assistant', content => [@_] }]] };
    my @bad = (
        ['not JSON', '{"model":', 'invalid_json', ''], ['no model', { max_tokens => 1, messages => \@hello }, 'invalid_field', 'model: '],
        ['no limit', { model => 'claude-1', messages => \@hello }, 'invalid_field', 'max_tokens: '], ['no messages', { model => 'claude-1', max_tokens => 1 }, 'invalid_field', 'messages: '],
        map { [$_->[0], request(@{ $_->[1] }), 'invalid_field', "$_->[2]: "] } (
            ['a limit of nothing', [max_tokens => 0], 'max_tokens'], ['a stop', [stop_sequences => 'x'], 'stop_sequences'], ['an empty stop', [stop_sequences => ['']], 'stop_sequences'],
            ['a server of tools', [mcp_servers => []], 'mcp_servers'], ['a container', [container => 'c'], 'container'], ['metadata', [metadata => { x => 1 }], 'metadata.x'],
            ['thoughts without a budget', [thinking => { type => 'enabled' }], 'thinking.budget_tokens'], ['thoughts', [thinking => 5], 'thinking'], ['an effort', [output_config => { effort => 'none' }], 'output_config.effort'],
            ['a shape', [output_config => { format => { type => 'xml' } }], 'output_config.format'], ['a budget of tasks', [output_config => { task_budget => {} }], 'output_config.task_budget'],
            ['a tool of the provider', [tools => [{ type => 'web_search_20250305', name => 'web_search' }]], 'tools[0].type'], ['a tool without a schema', [tools => [{ name => 'f' }]], 'tools[0].input_schema'],
            ['a tool for later', [tools => [{ name => 'f', input_schema => {}, defer_loading => $true }]], 'tools[0].defer_loading'],
            ['a tool for programs', [tools => [{ name => 'f', input_schema => {}, allowed_callers => ['code_execution_20250825'] }]], 'tools[0].allowed_callers'],
            ['a choice', [tool_choice => { type => 'some' }], 'tool_choice.type'], ['a choice of nothing', [tool_choice => { type => 'tool' }], 'tool_choice.name'],
            ['a role', [messages => [{ role => 'king', content => 'x' }]], 'messages[0].role'], ['no content', [messages => [{ role => 'user' }]], 'messages[0].content'],
            ['a block', $u->({ type => 'search_result' }), 'messages[0].content[0].type'], ['thoughts of the user', $u->({ type => 'thinking', thinking => 'x', signature => 'y' }), 'messages[0].content[0].type'],
            ['a picture of the model', $a->({ type => 'image', source => {} }), 'messages[1].content[0].type'], ['what a server did', $a->({ type => 'server_tool_use', id => 's', name => 'x', input => {} }), 'messages[1].content[0].type'],
            ['a file of another house', $u->({ type => 'image', source => { type => 'file', file_id => 'f' } }), 'messages[0].content[0].source.type'],
            ['a picture from a disk', $u->({ type => 'image', source => { type => 'url', url => 'file:///etc/passwd' } }), 'messages[0].content[0].source.url'],
            ['citations', $u->({ type => 'document', citations => { enabled => $true }, source => { type => 'url', url => 'https://x/y' } }), 'messages[0].content[0].citations'],
            ['a cache', $u->({ type => 'text', text => 'x', cache_control => { type => 'eternal' } }), 'messages[0].content[0].cache_control'],
            ['a cache for a week', $u->({ type => 'text', text => 'x', cache_control => { type => 'ephemeral', ttl => '7d' } }), 'messages[0].content[0].cache_control.ttl'],
            ['a call by a program', $a->({ type => 'tool_use', id => 't', name => 'f', input => {}, caller => { type => 'code_execution_20250825', tool_id => 's' } }), 'messages[1].content[0].caller'],
            ['a call without input', $a->({ type => 'tool_use', id => 't', name => 'f' }), 'messages[1].content[0].input'],
            ['a result in a result', $u->({ type => 'tool_result', tool_use_id => 't', content => [{ type => 'tool_result', tool_use_id => 't' }] }), 'messages[0].content[0].content[0].type'],
            ['a system that is a picture', [system => [{ type => 'image', source => {} }]], 'system[0].type'],
        ),
    );
    for (@bad) {
        my $e = is_error(ask($_->[1]), 400, 'invalid_request_error', $_->[2], $_->[0]);
        is substr($e->{message}, 0, length $_->[3]), $_->[3], "$_->[0]: names the member";
    }
    is_error(ask(messages => [{ role => 'user', content => 'x' x 300_000 }]), 413, 'request_too_large', 'body_too_large', 'too long');
    is_error(ask(model => 'claude-none'), 404, 'not_found_error', 'model_not_found', 'a model that is not there');
    is_error($si->json(GET => $path), 405, 'invalid_request_error', 'method_not_allowed', 'another method');
    my $r = $si->http(POST => $path, { 'Content-Type' => 'application/json' }, '{}');
    $r->{json} = eval { $json->decode($r->{body}) };
    is_error($r, 401, 'authentication_error', 'unauthorized', 'without a key');
    is $model->count, $n, 'the provider was not asked';
};

subtest 'who calls' => sub {
    my $body = $json->encode(request(model => 'gpt-1'));
    is $si->http(POST => "$path?beta=true", { 'Content-Type' => 'application/json', 'X-Api-Key' => $si->key, 'anthropic-version' => '2023-06-01', 'anthropic-beta' => 'x' }, $body)->{status}, 200, 'by X-Api-Key';
    asked();
};

subtest 'faults of the provider' => sub {
    my $fault = sub { my ($status, $type) = @_; return [kind => 'status', status => $status, body => $json->encode({ type => 'error', error => { type => $type, message => 'that is why' } })] };
    my @faults = (
        ['500', $fault->(500, 'api_error'), 502, 'api_error', 'provider_unavailable'], ['529', $fault->(529, 'overloaded_error'), 529, 'overloaded_error', 'provider_unavailable'],
        ['503', $fault->(503, 'api_error'), 529, 'overloaded_error', 'provider_unavailable'], ['401', $fault->(401, 'authentication_error'), 502, 'api_error', 'credentials_exhausted'],
        ['429', $fault->(429, 'rate_limit_error'), 429, 'rate_limit_error', 'provider_rate_limited'], ['400', $fault->(400, 'invalid_request_error'), 400, 'invalid_request_error', 'provider_rejected'],
        ['404', $fault->(404, 'not_found_error'), 404, 'not_found_error', 'provider_rejected'], ['413', $fault->(413, 'request_too_large'), 413, 'request_too_large', 'provider_rejected'],
        ['silence', [kind => 'hang'], 504, 'timeout_error', 'provider_timeout', 'hasty'],
        ['an error at once', [events({ type => 'error', error => { type => 'overloaded_error', message => 'Overloaded' } })], 529, 'overloaded_error', 'provider_unavailable'],
        ['a cut before the first block', [events(start())], 502, 'api_error', 'answer_cut'],
    );
    for (@faults) {
        my ($what, $how, $status, $type, $code, $name) = @$_;
        for my $streamed ($false, $true) {
            key_rested();
            $model->default(@$how);
            is_error(ask(model => $name || 'claude-1', stream => $streamed), $status, $type, $code, "$what, " . ($streamed ? 'streamed' : 'whole'));
        }
    }
    $index = 0;
    for (['a cut', [events(start(), text('half '))], 'api_error', 'answer_cut'], ['an error', [events(start(), text('half '), { type => 'error', error => { type => 'overloaded_error', message => 'Overloaded' } })], 'overloaded_error', 'provider_unavailable'],
        ['another answer', [events(start(), text('half '), start(), text('no'), end('end_turn'))], 'api_error', 'answer_cut'])
    {
        my ($what, $how, $type, $code) = @$_;
        key_rested();
        $model->default(@$how);
        my @e = stream()->until_end;
        is join('', map { $_->{data}{delta}{text} // '' } @e), 'half ', "$what in the middle: what was said";
        is_deeply [$e[-1]{event}, $e[-1]{data}{type}, @{ $e[-1]{data}{error} }{'type'}, $e[-1]{data}{error}{details}{error_code}], ['error', 'error', $type, $code], "$what: then an error";
        is scalar(grep { $_->{event} =~ /^message_(?:stop|delta)$/ } @e), 0, "$what: nothing looks finished";
        key_rested();
        is_error(ask(), $type eq 'api_error' ? 502 : 529, $type, $code, "$what: no half message");
    }
    $model->default(kind => 'tokens', tokens => 5);
    $asked = $model->count;
};

# From the client's close to the close that the provider sees. The median, because the machine has other work.
for my $phase (['waiting for headers', 'hang', $true], ['mid-stream', 'step', $true, 1], ['no stream, waiting for headers', 'hang', $false], ['no stream, in the middle', 'step', $false, 1]) {
    my ($what, $kind, $streamed, $speak) = @$phase;
    my @ms;
    for (1 .. 5) {
        $model->next(kind => $kind);
        my $s = $si->stream(POST => $path, request(model => 'gpt-1', stream => $streamed));
        my $n = asked();
        if ($speak) {
            $model->go($n, 'word');
            $s->next_event if $streamed;
        }
        my $from = now_ms();
        $s->close;
        push @ms, $model->wait_closed($n) - $from;
    }
    my ($median) = (sort { $a <=> $b } @ms)[2];
    cmp_ok $median, '<=', 100, "$what: a client that goes closes the provider's connection within 100 ms (@ms)";
}

done_testing;
