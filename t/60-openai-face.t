# POST /v1/chat/completions and GET /v1/models as OpenAI's clients know them: answers, streams, errors, and what becomes of the
# provider when the client goes.
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
  answer_max: 4m
turn:
  deadline: 60s
gateway: { attempts: 1, restarts: 0, key_rest: 1ms, cooldown: 1ms, cooldown_max: 1ms, breaker_calls: 10000 }
providers:
  fake:
    kind: openai
    base_url: "$url"
    api_key: env:SI_TEST_MODEL_KEY
  hasty:
    kind: openai
    base_url: "$url"
    first_byte_timeout: 1s
    first_token_timeout: 1s
    idle_timeout: 1s
models:
  fake-1:
    provider: fake
  vendor/hasty:
    provider: hasty
    upstream: fake-1
tasks:
  code: {models: [fake-1]}
agents:
  poet:
    model: fake-1
    prompt: Speak in verse.
YAML
my $asked = 0;
sub asked { return $model->wait_request(++$asked) }
my $path = '/v1/chat/completions';
my @hello = ({ role => 'user', content => 'Hello' });
sub request { return { model => 'fake-1', messages => \@hello, @_ } }
sub chat { return $si->json(POST => $path, @_ == 1 ? $_[0] : request(@_)) }
sub stream { return $si->stream(POST => $path, request(stream => JSON::PP::true, @_)) }

# A test: an error in OpenAI's shape.
sub is_error {
    my ($r, $status, $type, $code, $param, $name) = @_;
    my $e = $r->{json} && $r->{json}{error};
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_deeply [$r->{status}, $r->{headers}{'content-type'}, map { $e->{$_} } qw(type code param)], [$status, 'application/json', $type, $code, $param],
        "$name: $status $code" or diag $r->{body};
    ok length($e->{message} // '') && keys %{ $r->{json} } == 1, "$name: with a message";
    return $e;
}

sub deltas { my $m = shift; return join '', map { $_->{data}{choices}[0]{delta}{$m} // '' } grep { ref $_->{data} && @{ $_->{data}{choices} || [] } } @_ }

subtest 'a whole answer' => sub {
    my $r = chat(temperature => 0.5);
    my $n = asked();
    is $r->{status}, 200, 'answered';
    is $r->{headers}{'content-type'}, 'application/json', 'as JSON';
    like $r->{headers}{'x-request-id'}, qr/^[0-9a-f]{32}$/, 'with the id of the request';
    my $j = $r->{json};
    like $j->{id}, qr/^chatcmpl-[0-9a-f]{32}$/, 'id';
    cmp_ok abs($j->{created} - time), '<', 60, 'created';
    is_deeply [@$j{qw(object model)}], ['chat.completion', 'fake-1'], 'object and model';
    is_deeply $j->{choices}, [{ index => 0, logprobs => undef, finish_reason => 'stop',
        message => { role => 'assistant', content => 't1 t2 t3 t4 t5 ', refusal => undef } }], 'the message';
    is_deeply $j->{usage}, { prompt_tokens => 2, completion_tokens => 5, total_tokens => 7, prompt_tokens_details => { cached_tokens => 0 },
        completion_tokens_details => { reasoning_tokens => 0 } }, 'usage';
    is_deeply [map { "$_->{role} $_->{content}" } @{ $model->request($n)->{json}{messages} }], ['user Hello'], 'the provider got the messages and nothing more';
    is $model->request($n)->{headers}{authorization}, 'Bearer test-key', 'and its own key';
};

subtest 'a stream' => sub {
    for my $usage (0, 1) {
        my $s = stream($usage ? (stream_options => { include_usage => JSON::PP::true }) : ());
        my @e = $s->until_end;
        asked();
        is $s->status, 200, 'answered';
        like $s->headers->{'content-type'}, qr{^text/event-stream}, 'as a stream';
        ok $s->complete, 'whole';
        is pop(@e)->{text}, '[DONE]', 'its last event';
        is scalar(grep { $_->{data}{object} ne 'chat.completion.chunk' || $_->{data}{id} ne $e[0]{data}{id} || $_->{data}{created} ne $e[0]{data}{created}
            || $_->{data}{model} ne 'fake-1' } @e), 0, 'all are chunks of one answer';
        if ($usage) {
            my $last = pop @e;
            is_deeply $last->{data}{choices}, [], 'usage comes last, alone';
            is_deeply [@{ $last->{data}{usage} }{qw(prompt_tokens completion_tokens total_tokens)}], [2, 5, 7], 'and is right';
            is scalar(grep { !exists $_->{data}{usage} || defined $_->{data}{usage} } @e), 0, 'all others say that they have none';
        } else {
            is scalar(grep { exists $_->{data}{usage} } @e), 0, 'nobody asked for usage';
        }
        is_deeply $e[0]{data}{choices}, [{ index => 0, delta => { role => 'assistant', content => '', refusal => undef }, logprobs => undef, finish_reason => undef }], 'the role comes first';
        is_deeply $e[-1]{data}{choices}, [{ index => 0, delta => {}, logprobs => undef, finish_reason => 'stop' }], 'the finish at the end';
        is scalar(grep { exists $_->{data}{choices}[0]{delta}{role} } @e), 1, 'the role comes once';
        is deltas('content', @e), 't1 t2 t3 t4 t5 ', 'the text';
        is scalar(grep { defined $_->{event} && $_->{event} ne 'message' || defined $_->{id} } @e), 0, 'no event has a name or an id';
    }
};

subtest 'each piece at once' => sub {
    $model->next(kind => 'step');
    my $s = stream();
    my $n = asked();
    for my $word ("Gr\x{fc}\x{df} ", "\"\\\n\x{1F600}", 'end') {
        $model->go($n, $word);
        is $s->wait_for(sub { length($_->{data}{choices}[0]{delta}{content} // '') && !$_->{seen}++ })->{data}{choices}[0]{delta}{content}, $word, 'as it is said';
    }
    $model->finish($n);
    is +($s->until_end)[-1]{text}, '[DONE]', 'whole';
};

subtest 'finish' => sub {
    for (['length', 'length'], ['content_filter', 'content_filter'], ['tool_calls', 'tool_calls'], ['stop', 'stop']) {
        my ($theirs, $ours) = @$_;
        $model->next(kind => 'tokens', tokens => 1, finish_reason => $theirs);
        is chat()->{json}{choices}[0]{finish_reason}, $ours, "$theirs is $ours";
        asked();
    }
};

sub raw { return kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" . join '', map { "data: $_\n\n" } @_ }
my $stop = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}';

subtest 'reasoning and refusal' => sub {
    my @say = ('{"model":"r-2026","choices":[{"index":0,"delta":{"reasoning_content":"hm "}}]}', '{"choices":[{"index":0,"delta":{"reasoning":"so"}}]}',
        '{"choices":[{"index":0,"delta":{"content":"a"}}]}', '{"choices":[{"index":0,"delta":{"refusal":"no"}}]}', $stop,
        '{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":8,"total_tokens":17}}', '[DONE]');
    $model->next(raw(@say));
    my $r = chat();
    asked();
    is_deeply $r->{json}{choices}[0]{message}, { role => 'assistant', content => 'a', refusal => 'no', reasoning_content => 'hm so' }, 'in one body';
    is $r->{json}{model}, 'r-2026', 'the model is named as its provider names it';
    $model->next(raw(@say));
    my @e = stream()->until_end;
    asked();
    is_deeply [map { deltas($_, @e[0 .. $#e - 1]) } qw(reasoning_content content refusal)], ['hm so', 'a', 'no'], 'in a stream';
    is $e[0]{data}{choices}[0]{delta}{content}, undef, 'which begins without text';
};

subtest 'calls of tools' => sub {
    my @say = ('{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}}]}',
        (map { '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"' . $_ . '"}}]}}]}' } '{\\"x\\":', '\\"\\u00fc\\"}'),
        '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"g","arguments":"{}"},"extra_content":{"google":{"thought_signature":"S"}}}]}}]}',
        '{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,"completion_tokens":8,"total_tokens":17,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}}',
        '[DONE]');
    my @calls = ({ id => 'c1', type => 'function', function => { name => 'f', arguments => "{\"x\":\"\x{fc}\"}" } },
        { id => 'c2', type => 'function', function => { name => 'g', arguments => '{}' }, extra_content => { google => { thought_signature => 'si:fake:S' } } });
    $model->next(raw(@say));
    my $r = chat()->{json};
    asked();
    is_deeply $r->{choices}[0], { index => 0, logprobs => undef, finish_reason => 'tool_calls', message => { role => 'assistant', content => undef, refusal => undef, tool_calls => \@calls } }, 'in one body';
    is_deeply [$r->{usage}{prompt_tokens_details}{cached_tokens}, $r->{usage}{completion_tokens_details}{reasoning_tokens}], [4, 3], 'with what was cached and thought';
    $model->next(raw(@say));
    my @e = stream()->until_end;
    asked();
    my @got;
    for my $t (map { @{ $_->{data}{choices}[0]{delta}{tool_calls} || [] } } grep { ref $_->{data} } @e) {
        my $c = $got[ $t->{index} ] ||= { function => { name => '', arguments => '' } };
        $c->{$_} = $t->{$_} for grep { exists $t->{$_} } qw(id type extra_content);
        $c->{function}{$_} .= $t->{function}{$_} // '' for qw(name arguments);
    }
    is_deeply \@got, \@calls, 'in a stream';
    is scalar(grep { !defined $_->{function}{arguments} } map { @{ $_->{data}{choices}[0]{delta}{tool_calls} || [] } } grep { ref $_->{data} } @e), 0, 'every piece is one of a function, which some clients insist on';
    is $e[-2]{data}{choices}[0]{finish_reason}, 'tool_calls', 'with its finish';
};

subtest 'what the provider gets' => sub {
    my $tools = [{ type => 'function', function => { name => 'f', description => 'does', parameters => { type => 'object', properties => {} }, strict => JSON::PP::true } }];
    my $format = { type => 'json_schema', json_schema => { name => 'n', schema => { type => 'object' }, strict => JSON::PP::true } };
    my @parts = ({ type => 'text', text => 'look' }, { type => 'image_url', image_url => { url => 'data:image/png;base64,QQ==', detail => 'low' } },
        { type => 'image_url', image_url => { url => 'https://x/y.png' } }, { type => 'file', file => { file_data => 'data:application/pdf;base64,QQ==', filename => 'a.pdf' } });
    my @calls = map { { id => "c$_", type => 'function', function => { name => 'f', arguments => '{}' } } } 1, 2;
    my @talk = ({ role => 'system', content => 'Be brief.' }, { role => 'user', content => \@parts }, { role => 'assistant', content => undef, tool_calls => \@calls },
        (map { { role => 'tool', tool_call_id => "c$_", content => "r$_" } } 1, 2), { role => 'user', content => 'go on' });
    my %same = (temperature => 0.5, top_p => 0.25, frequency_penalty => 1, presence_penalty => -1, seed => 7, stop => ['a', 'b'], reasoning_effort => 'low', user => 'u-1',
        max_tokens => 50, tools => $tools, tool_choice => { type => 'function', function => { name => 'f' } }, parallel_tool_calls => JSON::PP::false, response_format => $format,
        logit_bias => { 50256 => -100 }, metadata => { a => 'b' }, prompt_cache_key => 'k', verbosity => 'low', service_tier => 'flex', store => JSON::PP::true, min_p => 0.1);
    is chat(messages => \@talk, %same)->{status}, 200, 'a request with everything';
    my $sent = $model->request(asked())->{json};
    is_deeply $sent, { %same, model => 'fake-1', messages => \@talk, stream => JSON::PP::true, stream_options => { include_usage => JSON::PP::true } }, 'is there as it was sent';
    $same{tool_choice} = { type => 'allowed_tools', allowed_tools => { mode => 'auto', tools => [] } };
    $same{response_format}{json_schema}{description} = 'd';
    is chat(%same)->{status}, 200, 'what has no neutral form';
    is_deeply [@{ $model->request(asked())->{json} }{qw(tool_choice response_format)}], [@same{qw(tool_choice response_format)}], 'goes on as it is';
    is chat(tools => [{ function => $tools->[0]{function} }], tool_choice => 'any', messages => [{ role => 'assistant', content => 'so', prefix => JSON::PP::false }, { role => 'user', content => [{ type => 'image_url', image_url => 'https://x/y.png' }] }])->{status}, 200, "what Mistral's clients send";
    $sent = $model->request(asked())->{json};
    is_deeply [@$sent{qw(tools tool_choice messages)}], [$tools, 'required', [{ role => 'assistant', content => 'so' }, { role => 'user', content => [{ type => 'image_url', image_url => { url => 'https://x/y.png' } }] }]], 'goes on in words that all know';
};

subtest 'agents and models' => sub {
    my $r = chat(model => 'poet', messages => [{ role => 'developer', content => 'Be brief.' }, @hello]);
    my $n = asked();
    is $r->{status}, 200, 'an agent is a model';
    is_deeply [map { "$_->{role} $_->{content}" } @{ $model->request($n)->{json}{messages} }], ['system Speak in verse.', 'system Be brief.', 'user Hello'], 'with its prompt';
    is_error(chat(model => 'gpt-none'), 404, 'invalid_request_error', 'model_not_found', 'model', 'a model that is not there');
    my $l = $si->json(GET => '/v1/models');
    is_deeply [map { "$_->{id} $_->{object} $_->{owned_by}" } @{ $l->{json}{data} }],
        ['offline model offline', 'lexical model lexical', 'fake-1 model fake', 'vendor/hasty model hasty', 'default model agents', 'poet model agents', 'code model tasks', 'embeddings model tasks'], 'all that can be named' or diag $l->{body};
    is_deeply [@{ $l->{json} }{qw(first_id last_id)}], ['offline', 'embeddings'], 'with its ends, as Anthropic has them';
    is_deeply [$l->{json}{object}, scalar grep { !defined $_->{created} } @{ $l->{json}{data} }], ['list', 0], 'as a list';
    for my $name ('poet', 'vendor/hasty', 'vendor%2Fhasty') {
        my $m = $si->json(GET => "/v1/models/$name");
        is $m->{json}{id}, $name =~ s/%2F/\//r, "GET /v1/models/$name";
    }
    is_error($si->json(GET => '/v1/models/none'), 404, 'invalid_request_error', 'model_not_found', 'model', 'no such model');
    is chat(model => 'offline')->{json}{model}, 'offline', 'the offline answerer, too';
    is chat(model => 'code')->{status}, 200, 'and a task';
    asked();
};

subtest 'requests that are refused' => sub {
    my $n = $model->count;
    my @bad = (
        ['not JSON', '{"model":', 'invalid_json', undef], ['no object', '[1]', 'invalid_field', undef],
        ['no model', { messages => \@hello }, 'invalid_field', 'model'],
        ['a model that is a number', request(model => 5), 'invalid_field', 'model'],
        ['no messages', { model => 'fake-1' }, 'invalid_field', 'messages'],
        map { [$_->[0], request(@{ $_->[1] }), 'invalid_field', $_->[2]] } (
            ['two answers', [n => 2], 'n'], ['probabilities', [logprobs => JSON::PP::true], 'logprobs'], ['the top ones', [top_logprobs => 3], 'top_logprobs'],
            ['functions', [functions => []], 'functions'], ['sound', [modalities => ['text', 'audio']], 'modalities'], ['a voice', [audio => {}], 'audio'],
            ['a search', [web_search_options => {}], 'web_search_options'], ['a warm word', [temperature => 'warm'], 'temperature'],
            ['no tokens', [max_tokens => 0], 'max_tokens'], ['half a token', [max_completion_tokens => 1.5], 'max_completion_tokens'],
            ['two limits', [max_tokens => 5, max_completion_tokens => 6], 'max_tokens'], ['a stop that is a number', [stop => [1]], 'stop'],
            ['an effort', [reasoning_effort => 'heroic'], 'reasoning_effort'], ['options without a stream', [stream_options => {}], 'stream_options'],
            ['unknown options', [stream => JSON::PP::true, stream_options => { x => 1 }], 'stream_options.x'],
            ['a tool of another kind', [tools => [{ type => 'custom', custom => {} }]], 'tools[0].type'],
            ['a tool without a name', [tools => [{ type => 'function', function => {} }]], 'tools[0].function.name'],
            ['a schema that is none', [tools => [{ type => 'function', function => { name => 'f', parameters => [] } }]], 'tools[0].function.parameters'],
            ['a choice', [tool_choice => 'perhaps'], 'tool_choice'], ['a shape without schema', [response_format => { type => 'json_schema', json_schema => { name => 'x' } }], 'response_format.json_schema.schema'],
            ['a role', [messages => [{ role => 'king', content => 'x' }]], 'messages[0].role'], ['no content', [messages => [{ role => 'user' }]], 'messages[0].content'],
            ['a message of no parts', [messages => [@hello, { role => 'user', content => [] }]], 'messages[1].content'],
            ['a participant without a name', [messages => [{ role => 'user', name => [], content => 'x' }]], 'messages[0].name'],
            ['sound in a message', [messages => [@hello, { role => 'user', content => [{ type => 'input_audio', input_audio => {} }] }]], 'messages[1].content[0].input_audio'],
            ['a file of another house', [messages => [{ role => 'user', content => [{ type => 'file', file => { file_id => 'f-1' } }] }]], 'messages[0].content[0].file.file_id'],
            ['an answer that is begun', [messages => [{ role => 'assistant', content => 'so', prefix => JSON::PP::true }]], 'messages[0].prefix'],
            ['a picture from a disk', [messages => [{ role => 'user', content => [{ type => 'image_url', image_url => { url => 'file:///etc/passwd' } }] }]], 'messages[0].content[0].image_url.url'],
            ['a result of nothing', [messages => [@hello, { role => 'tool', content => 'x' }]], 'messages[1].tool_call_id'],
            ['a call without a name', [messages => [{ role => 'assistant', tool_calls => [{ id => 'c', type => 'function', function => { arguments => '{}' } }] }]], 'messages[0].tool_calls[0].function.name'],
            ['an answer without anything', [messages => [{ role => 'assistant' }]], 'messages[0].content'],
        ),
    );
    is_error(chat($_->[1]), 400, 'invalid_request_error', $_->[2], $_->[3], $_->[0]) for @bad;
    is_error(chat(messages => [{ role => 'user', content => 'x' x 300_000 }]), 413, 'invalid_request_error', 'body_too_large', undef, 'too long');
    is $model->count, $n, 'the provider was not asked';
};

subtest 'what means nothing is no obstacle' => sub {
    my $r = chat(n => 1, logprobs => JSON::PP::false, top_logprobs => 0, modalities => ['text'], store => JSON::PP::false, service_tier => 'auto', functions => undef,
        tools => undef, stop => undef, seed => undef, response_format => { type => 'text' }, stream => JSON::PP::false, stream_options => undef, web_search_options => undef);
    is $r->{status}, 200, 'defaults and nulls' or diag $r->{body};
    my $sent = $model->request(asked())->{json};
    is_deeply [sort keys %$sent], [qw(messages model stream stream_options)], 'are not sent on';
};

subtest 'who may not call' => sub {
    my $r = $si->http(POST => $path, { 'Content-Type' => 'application/json' }, '{}');
    $r->{json} = eval { JSON::PP->new->decode($r->{body}) };
    is_error($r, 401, 'authentication_error', 'unauthorized', undef, 'without a key');
    like $r->{headers}{'www-authenticate'}, qr/^Bearer/, 'says how';
    is_error($si->json(GET => $path), 405, 'invalid_request_error', 'method_not_allowed', undef, 'another method');
};

subtest 'faults of the provider' => sub {
    my @faults = (
        ['status 500', [kind => 'status', status => 500], 502, 'server_error', 'provider_unavailable'],
        ['status 503', [kind => 'status', status => 503], 503, 'server_error', 'provider_unavailable'],
        ['status 401', [kind => 'status', status => 401], 502, 'server_error', 'credentials_exhausted'],
        ['status 429', [kind => 'status', status => 429], 429, 'rate_limit_error', 'provider_rate_limited'],
        ['status 400', [kind => 'status', status => 400, body => '{"error":{"message":"too long for this model"}}'], 400, 'invalid_request_error', 'provider_rejected'],
        ['a long prompt', [kind => 'status', status => 400, body => '{"error":{"code":"context_length_exceeded"}}'], 400, 'invalid_request_error', 'context_length_exceeded'],
        (map { ["status $_", [kind => 'status', status => $_], 504, 'server_error', 'provider_unavailable'] } 408, 504),
        ['status 409', [kind => 'status', status => 409], 409, 'invalid_request_error', 'provider_rejected'],
        ['silence', [kind => 'hang'], 504, 'server_error', 'provider_timeout', 'vendor/hasty'],
        ['silence before the first token', [kind => 'stall', after => 0], 504, 'server_error', 'provider_timeout', 'vendor/hasty'],
        ['a cut before the first token', [kind => 'cut', after => 0], 502, 'server_error', 'answer_cut'],
        ['garbage', [raw('{"choices":[')], 502, 'server_error', 'provider_protocol'],
    );
    for (@faults) {
        my ($what, $how, $status, $type, $code, $name) = @$_;
        for my $streamed (JSON::PP::false, JSON::PP::true) {
            key_rested();
            $model->next(@$how);
            is_error(chat(model => $name || 'fake-1', stream => $streamed), $status, $type, $code, undef, "$what, " . ($streamed ? 'streamed' : 'whole'));
            asked();
        }
    }
    for (['a cut', [kind => 'cut', after => 2], 'answer_cut'], ['a stall', [kind => 'stall', after => 2], 'provider_timeout', 'vendor/hasty'],
        ['garbage', [kind => 'malformed', after => 2], 'provider_protocol'], ['an end without a finish', [raw('{"choices":[{"delta":{"content":"t1 t2 "}}]}')], 'answer_cut'])
    {
        my ($what, $how, $code, $name) = @$_;
        key_rested();
        $model->next(@$how);
        my $s = stream(model => $name || 'fake-1');
        my @e = $s->until_end;
        asked();
        is deltas('content', @e), 't1 t2 ', "$what in the middle: what was said";
        is_deeply [keys %{ $e[-1]{data} }], ['error'], "$what: then an error, and no [DONE]";
        is_deeply [@{ $e[-1]{data}{error} }{qw(type code)}], ['server_error', $code], "$what: which";
        is scalar(grep { $_->{text} eq '[DONE]' || (ref $_->{data} && $_->{data}{choices} && defined $_->{data}{choices}[0]{finish_reason}) } @e), 0, "$what: nothing looks finished";
        key_rested();
        $model->next(@$how);
        is_error(chat(model => $name || 'fake-1'), $code eq 'provider_timeout' ? 504 : 502, 'server_error', $code, undef, "$what: no half body");
        asked();
    }
};

subtest 'a reader that does not read holds its provider, and nobody else' => sub {
    $model->next(kind => 'step');
    my $slow = $si->stream(POST => $path, request(stream => JSON::PP::true), {}, decode => 0);     # parsing it all takes too long
    my $n = asked();
    $model->go($n, "\x01" x 1000, 2000);        # 12 MB as JSON: more than the sockets between hold
    is chat()->{status}, 200, 'others are answered';
    asked();
    ok !$model->request($n)->{closed}, 'its call goes on';
    cmp_ok $model->pending($n), '>', 1_000_000, 'most of the answer waits at the provider';
    $model->finish($n);
    my $bytes = 0;
    while (my $e = $slow->next_event) {
        last if $e->{text} eq '[DONE]';
        $bytes += () = $e->{text} =~ /\\u0001/g;
    }
    is $bytes, 2_000_000, 'and it gets every byte';
};

# From the client's close to the close that the provider sees. The median, because the machine has other work.
for my $phase (['waiting for headers', 'hang', 1], ['waiting for the first token', 'step', 1], ['mid-stream', 'step', 1, 1], ['no stream, waiting for headers', 'hang', 0],
    ['no stream, in the middle', 'step', 0, 1])
{
    my ($what, $kind, $streamed, $speak) = @$phase;
    my @ms;
    for (1 .. 5) {
        $model->next(kind => $kind);
        my $s = $si->stream(POST => $path, request(stream => $streamed ? JSON::PP::true : JSON::PP::false));
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

subtest 'a worker that dies' => sub {
    $model->next(kind => 'step');
    my $s = stream();
    my $n = asked();
    $model->go($n, 'half');
    $s->next_event;
    $si->kill9(($si->worker_pids)[0]);
    my @e = $s->until_end;
    ok !$s->complete, 'its stream is cut, not ended';
    is scalar(grep { $_->{text} eq '[DONE]' } @e), 0, 'and has no [DONE]';
};

subtest 'what a tenant may not use' => sub {
    my ($tenant) = $si->pg('SELECT tenant_id FROM api_key LIMIT 1');
    open my $fh, '>>', $si->dir . '/overlay.yaml' or die $!;
    print $fh "tenants:\n  $tenant: {models: [offline]}\n";
    close $fh;
    kill HUP => $si->master_pid;
    my $names = sub { return join ' ', map { $_->{id} } @{ $si->json(GET => '/v1/models')->{json}{data} || [] } };
    poll_until { $names->() !~ /fake/ };
    is $names->(), 'offline default', 'is not listed';
    is_error(chat(), 404, 'invalid_request_error', 'model_not_found', 'model', 'and not found');
    is_error($si->json(GET => '/v1/models/fake-1'), 404, 'invalid_request_error', 'model_not_found', 'model', 'nor shown');
    is chat(model => 'offline')->{status}, 200, 'what it may use answers';
};

done_testing;
