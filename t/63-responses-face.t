# POST /v1/responses as OpenAI's clients know it, but for its memory: answers, the sequence of events, what is translated, handed on
# and refused, in front of a provider of the same dialect and of others.
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
turn:
  deadline: 60s
gateway: { attempts: 1, restarts: 0, key_rest: 1ms, cooldown: 1ms, cooldown_max: 1ms, breaker_calls: 10000 }
providers:
  chat: { kind: openai, base_url: "$url" }
  own: { kind: openai-responses, base_url: "$url" }
models:
  fake-1: { provider: chat }
  own-1: { provider: own }
agents:
  poet: { model: fake-1, prompt: Speak in verse. }
YAML
my $asked = 0;
sub asked { return $model->wait_request(++$asked) }
sub sent { return $model->request(asked())->{json} }
my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $json = JSON::PP->new->utf8->canonical;
sub request { return { model => 'fake-1', input => 'Hello', @_ } }
sub respond { return $si->json(POST => '/v1/responses', request(@_)) }
sub stream { return $si->stream(POST => '/v1/responses', request(stream => $true, @_)) }
sub events { return kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" . join '', map { 'data: ' . (ref $_ ? $json->encode($_) : $_) . "\n\n" } @_ }
sub delta { return { choices => [{ index => 0, delta => {@_} }] } }
my @end = ({ choices => [{ index => 0, delta => {}, finish_reason => 'stop' }] },
    { choices => [], usage => { prompt_tokens => 9, completion_tokens => 8, total_tokens => 17, prompt_tokens_details => { cached_tokens => 4 }, completion_tokens_details => { reasoning_tokens => 3 } } }, '[DONE]');
my $usage = { input_tokens => 9, input_tokens_details => { cached_tokens => 4, cache_write_tokens => 0 }, output_tokens => 8, output_tokens_details => { reasoning_tokens => 3 }, total_tokens => 17 };
sub text_part { return { type => 'output_text', text => $_[0], annotations => [], logprobs => [] } }
# Without ids.
sub bare { my %v = %{ $_[0] }; delete $v{id}; return \%v }

sub is_error {
    my ($r, $status, $code, $param, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_deeply [$r->{status}, map { $r->{json}{error}{$_} } qw(code param)], [$status, $code, $param], "$name: $status $code" or diag $r->{body};
}

subtest 'a whole answer' => sub {
    my $r = respond(instructions => 'Be brief.', temperature => 0.5, metadata => { a => 'b' });
    my $j = $r->{json};
    is $r->{status}, 200, 'answered' or diag $r->{body};
    like $j->{id}, qr/^resp_[0-9a-f]{32}$/, 'id';
    is_deeply [@$j{qw(object status model store error incomplete_details previous_response_id)}], ['response', 'completed', 'fake-1', $false, undef, undef, undef], 'what it is';
    cmp_ok abs($j->{created_at} - time), '<', 60, 'created';
    like $j->{output}[0]{id}, qr/^msg_[0-9a-f]+$/, 'its item has an id';
    is_deeply [map { bare($_) } @{ $j->{output} }], [{ type => 'message', status => 'completed', role => 'assistant', content => [text_part('t1 t2 t3 t4 t5 ')] }], 'the message';
    is_deeply [@$j{qw(instructions temperature metadata tools tool_choice parallel_tool_calls text)}], ['Be brief.', 0.5, { a => 'b' }, [], 'auto', $true, { format => { type => 'text' } }], 'what was asked, and what held';
    is_deeply [@{ $j->{usage} }{qw(input_tokens output_tokens total_tokens)}], [5, 5, 10], 'usage';
    is_deeply [map { "$_->{role} $_->{content}" } @{ sent()->{messages} }], ['system Be brief.', 'user Hello'], 'the provider got instructions and input';
};

my @say = (delta(reasoning_content => 'hm'), delta(content => 'Hel'), delta(content => "lo \x{fc}"), delta(refusal => 'no'),
    delta(tool_calls => [{ index => 0, id => 'c1', type => 'function', function => { name => 'f', arguments => '{"x":' } }]),
    delta(tool_calls => [{ index => 1, id => 'c2', type => 'function', function => { name => 'g', arguments => '{}' } }]),
    delta(tool_calls => [{ index => 0, function => { arguments => '1}' } }]), @end);
my @items = ({ type => 'reasoning', summary => [{ type => 'summary_text', text => 'hm' }] },
    { type => 'message', status => 'completed', role => 'assistant', content => [text_part("Hello \x{fc}")] },
    { type => 'message', status => 'completed', role => 'assistant', content => [{ type => 'refusal', refusal => 'no' }] },
    { type => 'function_call', status => 'completed', call_id => 'c1', name => 'f', arguments => '{"x":1}' },
    { type => 'function_call', status => 'completed', call_id => 'c2', name => 'g', arguments => '{}' });

subtest 'all that an answer can hold' => sub {
    $model->next(events(@say));
    my $j = respond()->{json};
    asked();
    is_deeply [map { bare($_) } @{ $j->{output} }], \@items, 'in one body';
    is_deeply $j->{usage}, $usage, 'usage with its details';
};

subtest 'the sequence of events' => sub {
    $model->next(events(@say));
    my $s = stream();
    my @e = $s->until_end;
    asked();
    ok $s->complete, 'whole';
    my $last = '';       # what came in one read is one delta
    is_deeply [grep { my $new = $_ ne $last || !/text\.delta$/; $last = $_; $new } map { $_->{event} } @e], [qw(response.created response.in_progress
        response.output_item.added response.reasoning_summary_part.added response.reasoning_summary_text.delta response.reasoning_summary_text.done
        response.reasoning_summary_part.done response.output_item.done
        response.output_item.added response.content_part.added response.output_text.delta response.output_text.done response.content_part.done response.output_item.done
        response.output_item.added response.content_part.added response.refusal.delta response.refusal.done response.content_part.done response.output_item.done
        response.output_item.added response.function_call_arguments.delta response.output_item.added response.function_call_arguments.delta response.function_call_arguments.delta
        response.function_call_arguments.done response.output_item.done response.function_call_arguments.done response.output_item.done
        response.completed)], 'as OpenAI sends them';
    is_deeply [map { $_->{data}{sequence_number} } @e], [0 .. $#e], 'numbered';
    is scalar(grep { $_->{data}{type} ne $_->{event} } @e), 0, 'each says twice what it is';
    is_deeply [map { $_->{data}{response}{status} } @e[0, 1]], ['in_progress', 'in_progress'], 'it begins';
    my $done = $e[-1]{data}{response};
    is_deeply [map { bare($_) } @{ $done->{output} }], \@items, 'the last one has all of it';
    is_deeply [$done->{status}, $done->{usage}], ['completed', $usage], 'with status and usage';
    is $done->{id}, $e[0]{data}{response}{id}, 'of one response';
    my @finished = map { $_->{data} } grep { $_->{event} eq 'response.output_item.done' } @e;
    is_deeply [map { $_->{item} } sort { $a->{output_index} <=> $b->{output_index} } @finished], $done->{output}, 'as had the items when they ended';
    my %delta;
    $delta{ $_->{output_index} } .= $_->{delta} for map { $_->{data} } grep { $_->{event} =~ /\.delta$/ } @e;
    is_deeply \%delta, { 0 => 'hm', 1 => "Hello \x{fc}", 2 => 'no', 3 => '{"x":1}', 4 => '{}' }, 'and the deltas together';
    is scalar(grep { my $d = $_->{data}; defined $d->{item_id} && $d->{item_id} ne $done->{output}[ $d->{output_index} ]{id} } @e), 0, 'items keep their ids';
};

subtest 'each piece at once' => sub {
    $model->next(kind => 'step');
    my $s = stream();
    my $n = asked();
    for my $word ("Gr\x{fc}\x{df} ", "\"\\\n\x{1F600}") {
        $model->go($n, $word);
        is $s->wait_for(sub { length($_->{data}{delta} // '') && !$_->{seen}++ })->{data}{delta}, $word, 'as it is said';
    }
    $model->finish($n);
    is +($s->until_end)[-1]{event}, 'response.completed', 'whole';
};

subtest 'ends' => sub {
    for (['length', 'max_output_tokens'], ['content_filter', 'content_filter']) {
        my ($theirs, $ours) = @$_;
        $model->next(kind => 'tokens', tokens => 1, finish_reason => $theirs) for 1, 2;
        my $j = respond()->{json};
        asked();
        is_deeply [@$j{qw(status incomplete_details)}, $j->{output}[0]{status}], ['incomplete', { reason => $ours }, 'incomplete'], "$theirs, in one body";
        my @e = stream()->until_end;
        asked();
        is_deeply [$e[-1]{event}, @{ $e[-1]{data}{response} }{qw(status incomplete_details)}], ['response.incomplete', 'incomplete', { reason => $ours }], 'in a stream';
    }
    $model->next(kind => 'cut', after => 2);
    my @e = stream()->until_end;
    asked();
    is_deeply [map { $_->{event} } @e[-2, -1]], ['error', 'response.failed'], 'a cut: an error, and the response has failed';
    is_deeply [$e[-2]{data}{code}, @{ $e[-1]{data}{response} }{qw(status usage)}, $e[-1]{data}{response}{error}{code}], ['answer_cut', 'failed', undef, 'server_error'], 'as they say';
    is scalar(grep { $_->{event} =~ /completed|incomplete|\.done$/ } @e), 0, 'nothing looks finished';
    $model->next(kind => 'cut', after => 2);
    is_error(respond(), 502, 'answer_cut', undef, 'a cut in one body');
    asked();
    $model->next(kind => 'status', status => 429);
    is_error(respond(stream => $true), 429, 'provider_rate_limited', undef, 'a limit before the first event');
    asked();
};

my $schema = { type => 'object', properties => { x => { type => 'integer' } } };
my @talk = ({ role => 'developer', content => 'Be brief.' },
    { role => 'user', content => [{ type => 'input_text', text => 'look' }, { type => 'input_image', image_url => 'data:image/png;base64,QQ==', detail => 'low' },
        { type => 'input_file', file_data => 'data:application/pdf;base64,QQ==', filename => 'a.pdf' }] },
    { type => 'reasoning', id => 'rs_1', summary => [{ type => 'summary_text', text => 'hm' }], encrypted_content => 'SEAL' },
    { type => 'reasoning', id => 'rs_2', summary => [], encrypted_content => 'BLIND' },
    { type => 'message', id => 'msg_1', status => 'completed', role => 'assistant', content => [{ type => 'output_text', text => 'I look', annotations => [], logprobs => [] }] },
    { type => 'function_call', id => 'fc_1', call_id => 'c1', name => 'f', arguments => '{"x":1}', status => 'completed' },
    { type => 'function_call', call_id => 'c2', name => 'f', arguments => '{}' },
    { type => 'function_call_output', call_id => 'c1', output => 'r1' }, { type => 'function_call_output', call_id => 'c2', output => [{ type => 'input_text', text => 'r2' }] },
    { type => 'message', role => 'user', content => 'go on' });
my %all = (temperature => 0.5, top_p => 0.25, max_output_tokens => 50, tools => [{ type => 'function', name => 'f', description => 'does', parameters => $schema, strict => $true }],
    tool_choice => { type => 'function', name => 'f' }, parallel_tool_calls => $false, safety_identifier => 'u-1', include => ['reasoning.encrypted_content'],
    text => { format => { type => 'json_schema', name => 'n', schema => $schema, strict => $true } }, reasoning => { effort => 'low', summary => 'auto' }, store => $false);

subtest 'before a provider of chat completions' => sub {
    my @mine = grep { ($_->{encrypted_content} // '') eq '' } @talk;
    is respond(input => \@mine, %all)->{status}, 200, 'a request with everything';
    my $s = sent();
    is_deeply $s->{messages}, [{ role => 'system', content => 'Be brief.' },
        { role => 'user', content => [{ type => 'text', text => 'look' }, { type => 'image_url', image_url => { url => 'data:image/png;base64,QQ==', detail => 'low' } },
            { type => 'file', file => { file_data => 'data:application/pdf;base64,QQ==', filename => 'a.pdf' } }] },
        { role => 'assistant', content => 'I look', tool_calls => [{ id => 'c1', type => 'function', function => { name => 'f', arguments => '{"x":1}' } }, { id => 'c2', type => 'function', function => { name => 'f', arguments => '{}' } }] },
        { role => 'tool', tool_call_id => 'c1', content => 'r1' }, { role => 'tool', tool_call_id => 'c2', content => 'r2' }, { role => 'user', content => 'go on' }], 'all of the input'
        or diag explain $s->{messages};
    is_deeply [@$s{qw(temperature top_p max_tokens parallel_tool_calls reasoning_effort user)}], [0.5, 0.25, 50, $false, 'low', 'u-1'], 'numbers and words';
    is_deeply $s->{tools}, [{ type => 'function', function => { name => 'f', description => 'does', parameters => $schema, strict => $true } }], 'tools';
    is_deeply $s->{response_format}, { type => 'json_schema', json_schema => { name => 'n', schema => $schema, strict => $true } }, 'the shape';
    is_error(respond(prompt_cache_key => 'k'), 400, 'unsupported', undef, 'what only the same dialect has a word for');
};

subtest 'before a provider of the same dialect' => sub {
    my @own = ({ type => 'response.created', response => { id => 'r1', model => 'own-2026', status => 'in_progress' } },
        { type => 'response.output_item.done', output_index => 0, item => { type => 'reasoning', summary => [{ type => 'summary_text', text => 'hm' }], encrypted_content => 'SEAL' } },
        { type => 'response.output_item.done', output_index => 1, item => { type => 'reasoning', summary => [], encrypted_content => 'BLIND' } },
        { type => 'response.output_text.delta', output_index => 2, delta => 'so' },
        { type => 'response.completed', response => { status => 'completed', usage => { %$usage, input_tokens_details => { cached_tokens => 4, cache_write_tokens => 2 } } } });
    my %extra = (prompt_cache_key => 'k', truncation => 'auto', service_tier => 'flex', max_tool_calls => 3);
    $model->next(events(@own));
    my $r = respond(model => 'own-1', input => \@talk, %all, %extra, text => { %{ $all{text} }, verbosity => 'low' }, reasoning => { effort => 'low', summary => 'detailed' });
    is $r->{status}, 200, 'answered' or diag $r->{body};
    my $s = sent();
    is_deeply [grep { !exists $_->{content} } @{ $s->{input} }], [
        { type => 'reasoning', summary => [{ type => 'summary_text', text => 'hm' }], encrypted_content => 'SEAL' }, { type => 'reasoning', summary => [], encrypted_content => 'BLIND' },
        (map { my %v = %$_; delete @v{qw(id status)}; \%v } @talk[5, 6]), $talk[7], { type => 'function_call_output', call_id => 'c2', output => 'r2' }], 'the items are as they were' or diag explain $s->{input};
    is_deeply { map { $_ => $s->{$_} } keys %extra }, \%extra, 'what has no neutral form goes on as it is';
    is_deeply [@$s{qw(text reasoning store stream include instructions)}], [{ %{ $all{text} }, verbosity => 'low' }, { effort => 'low', summary => 'detailed' }, $false, $true, ['reasoning.encrypted_content'], 'Be brief.'], 'also within members';
    is_deeply [map { bare($_) } @{ $r->{json}{output} }], [{ type => 'reasoning', summary => [{ type => 'summary_text', text => 'hm' }], encrypted_content => 'si:own:SEAL' },
        { type => 'reasoning', summary => [], encrypted_content => 'si:own:BLIND' }, { type => 'message', status => 'completed', role => 'assistant', content => [text_part('so')] }], 'sealed reasoning comes back';
    is $r->{json}{model}, 'own-2026', 'named as its provider names it';
    $model->next(events(@own));
    my @e = stream(model => 'own-1', input => $r->{json}{output})->until_end;
    is_deeply [map { $_->{encrypted_content} // $_->{type} } @{ sent()->{input} }], ['SEAL', 'BLIND', 'message'], 'and can be sent back as it came';
    is_deeply [map { bare($_) } @{ $e[-1]{data}{response}{output} }], [map { bare($_) } @{ $r->{json}{output} }], 'streamed, it is the same';
};

subtest 'agents' => sub {
    is respond(model => 'poet', instructions => 'Be brief.')->{status}, 200, 'an agent is a model';
    is_deeply [map { "$_->{role} $_->{content}" } @{ sent()->{messages} }], ['system Speak in verse.', 'system Be brief.', 'user Hello'], 'with its prompt';
};

subtest 'requests that are refused' => sub {
    my $n = $model->count;
    my $item = sub { return [input => [{ role => 'user', content => 'x' }, @_]] };
    for (['a response that was stored', [previous_response_id => 'resp_1'], 'previous_response_id'], ['to be stored', [store => $true], 'store'],
        ['in the background', [background => $true], 'background'], ['a conversation', [conversation => 'conv_1'], 'conversation'], ['a prompt', [prompt => { id => 'p' }], 'prompt'],
        ['probabilities', [top_logprobs => 2], 'top_logprobs'], ['sources', [include => ['web_search_call.results']], 'include[0]'], ['no model', [model => undef], 'model'],
        ['no input', [input => undef], 'input'], ['empty input', [input => []], 'input'], ['a search', [tools => [{ type => 'web_search' }]], 'tools[0].type'],
        ['a tool without a name', [tools => [{ type => 'function' }]], 'tools[0].name'], ['a choice', [tool_choice => 'perhaps'], 'tool_choice'],
        ['a warm word', [temperature => 'warm'], 'temperature'], ['an effort', [reasoning => { effort => 'heroic' }], 'reasoning.effort'],
        ['a format', [text => { format => { type => 'grammar' } }], 'text.format.type'], ['a shape without schema', [text => { format => { type => 'json_schema', name => 'x' } }], 'text.format.schema'],
        ['padding', [stream => $true, stream_options => { include_obfuscation => $true }], 'stream_options.include_obfuscation'],
        ['a reference', $item->({ type => 'item_reference', id => 'msg_1' }), 'input[1].type'], ['an item of another kind', $item->({ type => 'web_search_call' }), 'input[1].type'],
        ['a role', $item->({ role => 'king', content => 'x' }), 'input[1].role'], ['no content', $item->({ role => 'user' }), 'input[1].content'],
        ['a file of another house', $item->({ role => 'user', content => [{ type => 'input_file', file_id => 'f' }] }), 'input[1].content[0].file_id'],
        ['a picture of the model', $item->({ role => 'assistant', content => [{ type => 'input_image', image_url => 'https://x/y' }] }), 'input[1].content[0].type'],
        ['a picture from a disk', $item->({ role => 'user', content => [{ type => 'input_image', image_url => 'file:///x' }] }), 'input[1].content[0].image_url'],
        ['a call of nothing', $item->({ type => 'function_call', call_id => 'c', arguments => '{}' }), 'input[1].name'],
        ['a result of nothing', $item->({ type => 'function_call_output', output => 'x' }), 'input[1].call_id'])
    {
        is_error(respond(@{ $_->[1] }), 400, 'invalid_field', $_->[2], $_->[0]);
    }
    is_error(respond(model => 'none'), 404, 'model_not_found', 'model', 'no such model');
    is $model->count, $n, 'the provider was not asked';
};

subtest 'what is not stored' => sub {
    for (['GET', '/resp_1'], ['DELETE', '/resp_1'], ['POST', '/resp_1/cancel'], ['GET', '/resp_1/input_items'], ['POST', '/compact']) {
        my ($method, $below) = @$_;
        my $r = $si->json($method => "/v1/responses$below", $method eq 'POST' ? {} : undef);
        is "$r->{status} $r->{json}{error}{type} $r->{json}{error}{code}", '404 invalid_request_error not_found', "$method $below";
        like $r->{json}{error}{message}, qr/nothing is stored here/, 'says why' if $method ne 'DELETE' || $r->{body};
    }
};

subtest 'what means nothing is no obstacle' => sub {
    is respond(store => undef, previous_response_id => undef, background => $false, truncation => 'disabled', service_tier => 'auto', include => [], tools => [], text => { verbosity => 'medium' },
        reasoning => {}, metadata => {})->{status}, 200, 'defaults and nulls';
    is_deeply [sort keys %{ sent() }], [qw(messages model stream stream_options)], 'are not sent on';
};

# Each of 20,000 was copied once more for each that follows: 600 MB.
subtest 'a reasoning of many parts' => sub {
    my ($pid) = $si->worker_pids;
    my $peak = sub { SI::Test::slurp("/proc/$pid/status") =~ /^VmHWM:\s+(\d+)/m ? $1 / 1024 : die 'no VmHWM' };
    my $before = $peak->();
    my @parts = ({ text => 'a' }) x 20_000;
    is respond(input => [{ role => 'user', content => 'x' }, { type => 'reasoning', summary => [], content => \@parts }, { role => 'user', content => 'y' }])->{status}, 200, 'is taken';
    sent();
    cmp_ok $peak->() - $before, '<', 200, 'and each part once';
};

subtest 'a client that goes' => sub {
    $model->next(kind => 'step');
    my $s = stream();
    my $n = asked();
    $model->go($n, 'word');
    $s->wait_for(sub { length($_->{data}{delta} // '') });
    $s->close;
    ok defined $model->wait_closed($n), 'the call of the provider is closed';
};

done_testing;
