#!/usr/bin/perl
# Clients as they are published (@anthropic-ai/sdk, ai with @ai-sdk/anthropic, openai) against POST /v1/messages, in front of a provider
# that speaks as Anthropic and of one that speaks as OpenAI; and OpenAI's face in front of Anthropic. See anthropic.mjs.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use JSON::PP ();
use Test::More;
use SI::Model;
use SI::Node;
use SI::Test;

SI::Node->need('@anthropic-ai/sdk', '@ai-sdk/anthropic', 'ai', 'openai');

my $json = JSON::PP->new->utf8->canonical;
my $model = SI::Model->start;
my $url = $model->base_url;
my $si = SI::Test->start(workers => 1, config => <<"YAML");
gateway: { attempts: 1, restarts: 0, key_rest: 1ms, cooldown: 1ms, cooldown_max: 1ms, breaker_calls: 10000 }
providers:
  claude: { kind: anthropic, base_url: "$url", api_key: "env:SI_TEST_MODEL_KEY" }
  fake: { kind: openai, base_url: "$url" }
models:
  claude-1: { provider: claude }
  gpt-1: { provider: fake }
YAML

sub raw { return kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" . join '', map { my $d = ref $_ ? $json->encode($_) : $_; (ref $_ && $_->{type} ? "event: $_->{type}\n" : '') . "data: $d\n\n" } @_ }
my @start = ({ type => 'message_start', message => { id => 'msg_up', type => 'message', role => 'assistant', model => 'claude-up', content => [], stop_reason => undef,
    usage => { input_tokens => 7, cache_read_input_tokens => 20, cache_creation_input_tokens => 3, output_tokens => 1 } } });
sub block { my ($i, $block, @deltas) = @_; return { type => 'content_block_start', index => $i, content_block => $block }, (map { { type => 'content_block_delta', index => $i, delta => $_ } } @deltas), { type => 'content_block_stop', index => $i } }
sub text { my ($i, @t) = @_; return block($i, { type => 'text', text => '' }, map { { type => 'text_delta', text => $_ } } @t) }
sub end { return { type => 'message_delta', delta => { stop_reason => $_[0], stop_sequence => undef }, usage => { output_tokens => 9 } }, { type => 'message_stop' } }
sub delta { return { model => 'gpt-up', choices => [{ index => 0, delta => {@_} }] } }
sub done { return { choices => [{ index => 0, delta => {}, finish_reason => $_[0] }] }, { choices => [], usage => { prompt_tokens => 12, completion_tokens => 5, total_tokens => 17 } }, '[DONE]' }
sub status { my ($status, $type) = @_; return kind => 'status', status => $status, body => $json->encode({ type => 'error', error => { type => $type, message => "so says $type" } }) }
my %f = (type => 'tool_use', id => 't1', name => 'weather', input => {});

# What the provider says next.
my %scripts = (
    hello => [raw(@start, { type => 'ping' }, block(0, { type => 'thinking', thinking => '', signature => '' }, { type => 'thinking_delta', thinking => 'hm' }, { type => 'signature_delta', signature => 'sig' }), text(1, 'Hel', 'lo'), end('end_turn'))],
    call => [raw(@start, text(0, 'Let me see.'), block(1, \%f, map { { type => 'input_json_delta', partial_json => $_ } } '{"city":', '"Ulm"}'), end('tool_use'))],
    json => [raw(@start, text(0, '{"city":', '"Ulm"}'), end('end_turn'))],
    'gpt-hello' => [raw(delta(reasoning_content => 'hm'), delta(content => 'Hel'), delta(content => 'lo'), done('stop'))],
    'gpt-call' => [raw(delta(content => 'Let me see.'), delta(tool_calls => [{ index => 0, id => 't1', type => 'function', function => { name => 'weather', arguments => '' } }]),
        delta(tool_calls => [{ index => 0, function => { arguments => '{"city":"Ulm"}' } }]), done('tool_calls'))],
    broken => [raw(@start, text(0, 'half '), { type => 'error', error => { type => 'overloaded_error', message => 'Overloaded' } })],
    (map { $_->[0] => [status(@$_)] } [529, 'overloaded_error'], [429, 'rate_limit_error'], [400, 'invalid_request_error'], [500, 'api_error']),
    step => [kind => 'step'], hang => [kind => 'hang'],
);

SI::Node->drive('sdk/anthropic.mjs', {
    next => sub { $model->next(map { @{ $scripts{$_} or die "no script $_" } } shift) },
    default => sub { $model->default(@{ $scripts{ shift() } }) },
    go => sub { $model->go($model->count, shift) },
    sent => sub { my $re = shift; my $body = $model->request->{body}; die "sent $body" if $body !~ /$re/; return },
    closed => sub { $model->wait_closed($model->count) },
    asked => sub { SI::Model::poll('a request', sub { $model->active }) },
}, "http://127.0.0.1:" . $si->port, $si->key);

done_testing;
