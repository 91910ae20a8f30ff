# Signatures of reasoning and of calls, and hidden reasoning, go back to the provider that made them, and to nobody else: not when
# another one is asked after a failure, nor when the first one is well again.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use SI::Model;
use SI::Test;

my %up = map { $_ => SI::Model->start } qw(claude gem gpt own);
my %at = map { $_ => $up{$_}->base_url } keys %up;
my $json = JSON::PP->new->utf8->canonical;
my $si = SI::Test->start(model => undef, workers => 1, config => <<"YAML");
gateway: { attempts: 1, restarts: 0, key_rest: 1ms, cooldown: 1ms, cooldown_max: 1ms, breaker_calls: 10000 }
providers:
  claude: { kind: anthropic, base_url: "$at{claude}", api_key: env:SI_TEST_MODEL_KEY }
  twin: { kind: anthropic, base_url: "$at{claude}", api_key: env:SI_TEST_MODEL_KEY }
  gem: { kind: gemini, base_url: "$at{gem}", api_key: env:SI_TEST_MODEL_KEY }
  gpt: { kind: openai, base_url: "$at{gpt}", send_reasoning: always }
  own: { kind: openai-responses, base_url: "$at{own}" }
models:
  claude-1: { provider: claude, fallback: [gem-3] }
  twin-1: { provider: twin }
  gem-3: { provider: gem, fallback: [claude-1] }
  gpt-1: { provider: gpt }
  own-1: { provider: own }
YAML

sub raw { return kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" . join '', map { (ref && $_->{type} ? "event: $_->{type}\n" : '') . 'data: ' . (ref $_ ? $json->encode($_) : $_) . "\n\n" } @_ }
sub block { my ($i, $block, @deltas) = @_; return { type => 'content_block_start', index => $i, content_block => $block }, (map { { type => 'content_block_delta', index => $i, delta => $_ } } @deltas), { type => 'content_block_stop', index => $i } }
my @claude = ({ type => 'message_start', message => { id => 'm', type => 'message', role => 'assistant', model => 'c', content => [], usage => { input_tokens => 1, output_tokens => 1 } } },
    block(0, { type => 'thinking', thinking => '', signature => '' }, { type => 'thinking_delta', thinking => 'hm' }, { type => 'signature_delta', signature => 'CS' }),
    block(1, { type => 'redacted_thinking', data => 'CR' }), block(2, { type => 'tool_use', id => 't1', name => 'f', input => {} }),
    { type => 'message_delta', delta => { stop_reason => 'tool_use' }, usage => { output_tokens => 3 } }, { type => 'message_stop' });
my @gem = ({ candidates => [{ content => { role => 'model', parts => [{ text => 'hum', thought => JSON::PP::true, thoughtSignature => 'GT' },
    { functionCall => { name => 'f', id => 't1', args => {} }, thoughtSignature => 'GS' }] }, finishReason => 'STOP' }], usageMetadata => { promptTokenCount => 1, candidatesTokenCount => 2 } });
my $away = { kind => 'status', status => 500 };
my $unseal = 'c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=';      # base64 of skip_thought_signature_validator
my @tools = (tools => [{ name => 'f', input_schema => { type => 'object' } }]);
my @functions = (tools => [{ type => 'function', function => { name => 'f', parameters => { type => 'object' } } }]);

sub message { my ($model, @talk) = @_; return $si->json(POST => '/v1/messages', { model => $model, max_tokens => 100, @tools, messages => [{ role => 'user', content => 'x' }, @talk] })->{json} }
sub chat { my ($model, @talk) = @_; return $si->json(POST => '/v1/chat/completions', { model => $model, @functions, messages => [{ role => 'user', content => 'x' }, @talk] })->{json} }
my $result = { role => 'user', content => [{ type => 'tool_result', tool_use_id => 't1', content => 'r' }] };
# What a provider got in place of the answer that was sent back.
sub sent { my $n = shift; return $up{$n}->request($up{$n}->count)->{json} }
sub to_claude { return [map { $_->{signature} // $_->{data} // $_->{type} } @{ sent('claude')->{messages}[1]{content} }] }
sub to_gem { return [map { { map { $_ => 1 } keys %$_ }->{functionCall} ? "call $_->{thoughtSignature}" : $_->{thoughtSignature} } @{ sent('gem')->{contents}[1]{parts} }] }

$_->default(kind => 'tokens', tokens => 1) for values %up;
$up{claude}->default(raw(@claude));
$up{gem}->default(raw(@gem));

subtest 'made by Anthropic' => sub {
    my $m = message('claude-1');
    is_deeply [map { $_->{signature} // $_->{data} // $_->{type} } @{ $m->{content} }], ['si:claude:CS', 'si:claude:CR', 'tool_use'], 'what it seals is marked';
    my @talk = ({ role => 'assistant', content => $m->{content} }, $result);
    message('claude-1', @talk);
    is_deeply to_claude(), ['CS', 'CR', 'tool_use'], 'it gets it back';
    message('twin-1', @talk);
    is_deeply to_claude(), ['tool_use'], 'another one of its kind does not';
    $up{claude}->next(%$away);
    my $n = message('claude-1', @talk);
    is_deeply to_gem(), ["call $unseal"], 'nor does the one that is asked in its place, of which it is also said that it made no such call';
    is_deeply [map { $_->{signature} // $_->{type} } @{ $n->{content} }[0, -1]], ['si:gem:GT', 'tool_use'], 'its own are marked as well';
    message('claude-1', { role => 'assistant', content => $n->{content} }, $result);
    is_deeply to_claude(), ['tool_use'], 'and stay away from the first one, when that is back';
    message('gem-3', { role => 'assistant', content => [grep { $_->{type} ne 'tool_use' } @{ $n->{content} }] }, { role => 'user', content => 'y' });
    is_deeply to_gem()->[0], 'GT', 'it gets its own';
    message('gem-3', { role => 'assistant', content => [grep { $_->{type} ne 'tool_use' } @{ $m->{content} }] }, { role => 'user', content => 'y' });
    is_deeply [map { $_->{role} } @{ sent('gem')->{contents} }], ['user'], 'a message of which nothing is left is none';
    message('own-1', @talk);
    is_deeply [map { $_->{encrypted_content} // $_->{type} // $_->{role} } @{ sent('own')->{input} }], ['message', 'function_call', 'function_call_output'], 'nothing comes to the Responses API';
    message('gpt-1', @talk);
    is_deeply [@{ sent('gpt')->{messages}[1] }{qw(reasoning_content content)}], ['hm', undef], 'where reasoning is plain text, it goes as such';
};

subtest 'a signature of a call' => sub {
    my $m = chat('gem-3')->{choices}[0]{message};
    is $m->{tool_calls}[0]{extra_content}{google}{thought_signature}, 'si:gem:GS', 'is marked';
    my @talk = ($m, { role => 'tool', tool_call_id => 't1', content => 'r' });
    chat('gem-3', @talk);
    is to_gem()->[-1], 'call GS', 'goes back';
    $up{gem}->next(%$away);
    chat('gem-3', @talk);
    is_deeply [map { $_->{type} } @{ sent('claude')->{messages}[1]{content} }], ['tool_use'], 'and is no obstacle for another one';
    chat('gpt-1', @talk);
    ok !exists sent('gpt')->{messages}[1]{tool_calls}[0]{extra_content}, 'nor does that one get it';
};

subtest 'what has no mark' => sub {
    my @talk = ({ role => 'assistant', content => [{ type => 'thinking', thinking => 'a', signature => 'XS' }, { type => 'thinking', thinking => 'b', signature => '' }, { type => 'text', text => 'c' }] },
        { role => 'user', content => 'y' });
    my $m = message('claude-1', @talk);
    is $m->{type}, 'message', 'is taken';
    is_deeply to_claude(), ['XS', 'text'], 'for its own, but reasoning without a signature is left out, which it would refuse';
};

done_testing;
