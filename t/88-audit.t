# What a client is told and what its provider gets, where one dialect has a word that another has not: cache points and what was
# written to a prompt cache, and the one place that two dialects share.
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
gateway: { attempts: 1, wait: 0s, cooldown_max: 30s, breaker_calls: 3 }
providers:
  frail: { kind: openai, base_url: "$url" }
  busy: { kind: openai, base_url: "$url" }
  metered: { kind: openai, base_url: "$url" }
  claude: { kind: anthropic, base_url: "$url" }
  router: { kind: openai, base_url: "$url", cache_control: "on" }
  plain: { kind: openai, base_url: "$url" }
models:
  claude: { provider: claude }
  router: { provider: router }
  plain: { provider: plain }
  frail: { provider: frail }
  busy: { provider: busy }
  metered: { provider: metered }
  relieved: { provider: metered, upstream: metered, fallback: [plain] }
agents:
  nightly: { model: plain }
  weekly: { model: plain }
rates:
  metered: { per: all, provider: metered, requests: 2 }
budgets:
  background: { per: agent, period: total, calls: 1 }
YAML
my $true = JSON::PP::true;
my $json = JSON::PP->new->utf8->canonical;
my $asked = 0;
sub sent { return $model->request($model->wait_request(++$asked))->{json} }
sub chat { return $si->json(POST => '/v1/chat/completions', { messages => [{ role => 'user', content => 'x' }], @_ }) }
sub message { return $si->json(POST => '/v1/messages', { max_tokens => 9, messages => [{ role => 'user', content => 'x' }], @_ }) }

sub claude {
    my @e = ({ type => 'message_start', message => { id => 'm', type => 'message', role => 'assistant', model => 'c', content => [], usage => { input_tokens => 7,
        cache_read_input_tokens => 20, cache_creation_input_tokens => 3, output_tokens => 1 } } }, { type => 'content_block_start', index => 0, content_block => { type => 'text', text => '' } },
        { type => 'content_block_delta', index => 0, delta => { type => 'text_delta', text => 'a' } }, { type => 'content_block_stop', index => 0 },
        { type => 'message_delta', delta => { stop_reason => 'end_turn' }, usage => { output_tokens => 9 } }, { type => 'message_stop' });
    return kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" . join '', map { "event: $_->{type}\ndata: " . $json->encode($_) . "\n\n" } @e;
}

subtest 'what was written to a prompt cache' => sub {
    my %usage = (prompt_tokens => 30, completion_tokens => 9, total_tokens => 39, prompt_tokens_details => { cached_tokens => 20, cache_write_tokens => 3 },
        completion_tokens_details => { reasoning_tokens => 0 });
    $model->next(claude());
    is_deeply chat(model => 'claude')->{json}{usage}, \%usage, 'is told with a whole answer';
    sent();
    $model->next(claude());
    my @e = $si->stream(POST => '/v1/chat/completions', { model => 'claude', messages => [{ role => 'user', content => 'x' }], stream => $true, stream_options => { include_usage => $true } })->until_end;
    is_deeply $e[-2]{data}{usage}, \%usage, 'and at the end of a stream';
    sent();
};

subtest 'where a prompt cache should begin' => sub {
    my $point = { type => 'ephemeral' };
    my @parts = ({ type => 'text', text => 'long', cache_control => $point }, { type => 'text', text => 'short' });
    my %said = (role => 'user', content => \@parts);
    chat(model => 'router', messages => [\%said]);
    is_deeply sent()->{messages}, [\%said], 'by a client of OpenAI, to a server that takes it';
    chat(model => 'plain', messages => [\%said]);
    is_deeply sent()->{messages}, [{ role => 'user', content => "long\nshort" }], 'to another one it is not said';
    message(model => 'router', system => [{ type => 'text', text => 'S', cache_control => { type => 'ephemeral', ttl => '1h' } }], messages => [\%said],
        tools => [{ name => 'f', input_schema => { type => 'object' }, cache_control => $point }]);
    my $got = sent();
    is_deeply $got->{messages}, [{ role => 'system', content => [{ type => 'text', text => 'S', cache_control => { type => 'ephemeral', ttl => '1h' } }] }, \%said], 'by a client of Anthropic';
    is_deeply $got->{tools}, [{ type => 'function', function => { name => 'f', parameters => { type => 'object' } }, cache_control => $point }], 'behind its tools, too';
};

subtest 'when to come back' => sub {
    $model->next(kind => 'status', status => 429, headers => { 'Retry-After' => 'Wed, 21 Oct 2099 07:28:00 GMT' });
    my $r = chat(model => 'busy');
    sent();
    is "$r->{status} $r->{headers}{'retry-after'}", '429 30', 'no later than the provider is asked again';
    $r = chat(model => 'busy');
    ok $r->{status} == 429 && $r->{headers}{'retry-after'} <= 30, 'and so as long as its key rests';
    for (1 .. 3) {
        $model->next(kind => 'status', status => 500);
        chat(model => 'frail');
        sent();
    }
    for (chat(model => 'frail'), message(model => 'frail')) {
        my $status = $_->{json}{type} ? 529 : 503;
        ok $_->{status} == $status && $_->{headers}{'retry-after'} >= 1, "nobody is asked while the breaker is open: $status" or diag $_->{status}, $_->{body};
    }
};

subtest 'a limit of a provider' => sub {
    is_deeply [map { chat(model => 'relieved')->{status}, sent()->{model} } 1 .. 4], [200, 'metered', 200, 'metered', 200, 'plain', 200, 'plain'], 'past it the next model is asked';
    my $r = chat(model => 'metered');
    is "$r->{status} $r->{json}{error}{type} $r->{json}{error}{code}", '429 rate_limit_error rate_limited', 'and where there is none it is told';
    ok $r->{headers}{'retry-after'} >= 1 && $r->{headers}{'retry-after'} <= 60, 'with the time to wait';
};

subtest 'a budget of each agent' => sub {
    is_deeply [map { chat(model => $_)->{status} } qw(nightly nightly weekly weekly)], [200, 429, 200, 429], 'which is its own';
    sent() for 1, 2;
    is chat(model => 'plain')->{status}, 200, 'who asks for a model has none';
    sent();
};

subtest 'who of several participants speaks' => sub {
    my @talk = ({ role => 'user', name => 'Ann', content => 'x' }, { role => 'assistant', name => 'bot', content => 'y' }, { role => 'user', name => 'Bob', content => [{ type => 'text', text => 'z' }] });
    chat(model => 'plain', messages => \@talk);
    is_deeply [map { $_->{name} } @{ sent()->{messages} }], [qw(Ann bot Bob)], 'is told where there is a word for it';
    my $r = chat(model => 'claude', messages => \@talk);
    is_deeply [$r->{status}, $r->{json}{error}{code}, $r->{json}{error}{message}], [400, 'unsupported', 'a provider of kind anthropic cannot be asked for the name of a participant'], 'elsewhere it is refused';
    is $model->count, $asked, 'and nobody asked';
};

subtest 'a message without parts' => sub {
    my $r = message(model => 'plain', messages => [{ role => 'user', content => 'x' }, { role => 'assistant', content => [] }, { role => 'user', content => [] }]);
    is "$r->{status} $r->{json}{error}{message}", '400 messages[2].content: must have a block', 'is refused and not left out';
};

subtest 'models, asked for in another dialect' => sub {
    my $none = $si->json(GET => '/v1/models/none', undef, { 'anthropic-version' => '2023-06-01' });
    is_deeply [$none->{status}, @{ $none->{json} }{qw(type)}, $none->{json}{error}{type}], [404, 'error', 'not_found_error'], 'an error in its words';
    my $list = $si->json(GET => '/v1/models', undef, { 'anthropic-version' => '2023-06-01' })->{json};
    is_deeply [@$list{qw(first_id last_id)}], [map { $_->{id} } @{ $list->{data} }[0, -1]], 'a list with its ends';
};
done_testing;
