# Every door by which a caller's text gets to a model, and a model's calls of tools to a client, is watched by filters: in the dialects
# of OpenAI (both) and Anthropic, each in front of a provider of its own, and in turns.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use MIME::Base64 qw(encode_base64 decode_base64);
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $url = $model->base_url;
my $si = SI::Test->start(workers => 1, config => <<"YAML");
gateway: { attempts: 1, restarts: 0, key_rest: 1ms, cooldown: 1ms, cooldown_max: 1ms, breaker_calls: 10000, filters: [words, pii] }
filters:
  words: { words: [forbidden] }
  pii: { ready: [email], action: redact, replacement: "[pii]" }
providers:
  fake: { kind: openai, base_url: "$url" }
  claude: { kind: anthropic, base_url: "$url", api_key: env:SI_TEST_MODEL_KEY }
  modern: { kind: openai-responses, base_url: "$url" }
models:
  chat: { provider: fake }
  messages: { provider: claude }
  responses: { provider: modern }
default_model: chat
YAML
my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $json = JSON::PP->new->utf8->canonical;
sub plain { return encode_base64($_[0], '') }

# A request that says nothing, and each door: what of it the text is put into.
my $schema = sub { return { type => 'object', properties => $_[0], additionalProperties => $false } };
my @schemas = (
    ['a description in a schema', sub { $schema->({ a => { type => 'string', description => $_[0] } }) }],
    ['a name in a schema', sub { $schema->({ $_[0] => { type => 'string' } }) }],
    ['a value in a schema', sub { $schema->({ a => { type => 'string', enum => ['x', { y => [$_[0]] }] } }) }],
);
sub tool_call { my ($id, $name, $args) = @_; return { id => $id, type => 'function', function => { name => $name, arguments => $json->encode($args) } } }
sub asks_openai { my @m = @_; return sub { my $m = shift; return (messages => [map { ref $_ eq 'CODE' ? $_->($m) : $_ } @m]) } }
my %user = (role => 'user', content => 'Hello');
my %faces = (
    chat => ['/v1/chat/completions', { model => 'chat', messages => [\%user] }, sub { join ' ', @{ $_[0]{error} }{qw(type code)} }, 'invalid_request_error content_filter',
        ['a message', sub { (messages => [{ role => 'user', content => $_[0] }]) }], ['the system', sub { (messages => [{ role => 'system', content => $_[0] }, \%user]) }],
        ['an earlier answer', sub { (messages => [\%user, { role => 'assistant', content => $_[0] }, \%user]) }], ['a participant', sub { (messages => [{ %user, name => $_[0] }]) }],
        ['arguments', sub { (messages => [\%user, { role => 'assistant', tool_calls => [tool_call('c', 'f', { a => [{ b => $_[0] }] })] }, { role => 'tool', tool_call_id => 'c', content => 'x' }]) }],
        ['a result', sub { (messages => [\%user, { role => 'assistant', tool_calls => [tool_call('c', 'f', {})] }, { role => 'tool', tool_call_id => 'c', content => $_[0] }]) }],
        ['a result in parts', sub { (messages => [\%user, { role => 'assistant', tool_calls => [tool_call('c', 'f', {})] }, { role => 'tool', tool_call_id => 'c', content => [{ type => 'text', text => $_[0] }] }]) }],
        ['the name of a call', sub { (messages => [\%user, { role => 'assistant', tool_calls => [tool_call('c', $_[0], {})] }, { role => 'tool', tool_call_id => 'c', content => 'x' }]) }],
        ['the id of a call', sub { (messages => [\%user, { role => 'assistant', tool_calls => [tool_call($_[0], 'f', {})] }, { role => 'tool', tool_call_id => $_[0], content => 'x' }]) }],
        ['the address of a picture', sub { (messages => [{ role => 'user', content => [{ type => 'image_url', image_url => { url => "https://x.test/$_[0]/y" } }] }]) }],
        ['the name of a file', sub { (messages => [{ role => 'user', content => [{ type => 'file', file => { filename => "$_[0].pdf", file_data => 'data:application/pdf;base64,AAAA' } }] }]) }],
        (map { my $media = $_; ["a file of $media", sub { (messages => [{ role => 'user', content => [{ type => 'file', file => { filename => 'x', file_data => "data:$media;base64," . plain("so $_[0] it is") } }] }]) }] }
            qw(text/plain text/csv application/json application/vnd.x+json)),
        ['a tool', sub { (tools => [{ type => 'function', function => { name => 'f', description => $_[0] } }]) }],
        (map { my ($n, $s) = @$_; ["$n of a tool", sub { (tools => [{ type => 'function', function => { name => 'f', parameters => $s->($_[0]) } }]) }] } @schemas),
        (map { my ($n, $s) = @$_; ["$n of an answer", sub { (response_format => { type => 'json_schema', json_schema => { name => 'x', schema => $s->($_[0]) } }) }] } @schemas),
        ['what an answer is for', sub { (response_format => { type => 'json_schema', json_schema => { name => 'x', description => $_[0], schema => { type => 'object' } } }) }],
        ['a stop sequence', sub { (stop => ['x', $_[0]]) }], ['the end user', sub { (user => $_[0]) }],
        ['a member of OpenAI', sub { (metadata => { a => $_[0] }) }], ['its name', sub { (metadata => { $_[0] => 'a' }) }], ['another one', sub { (prediction => { type => 'content', content => [{ type => 'text', text => $_[0] }] }) }]],
    messages => ['/v1/messages', { model => 'messages', max_tokens => 9, messages => [\%user] }, sub { join ' ', $_[0]{error}{type}, $_[0]{error}{details}{error_code} // '' }, 'invalid_request_error content_filter',
        ['a message', sub { (messages => [{ role => 'user', content => [{ type => 'text', text => $_[0] }] }]) }], ['the system', sub { (system => $_[0]) }],
        ['arguments', sub { (messages => [\%user, { role => 'assistant', content => [{ type => 'tool_use', id => 'c', name => 'f', input => { a => $_[0] } }] }, { role => 'user', content => [{ type => 'tool_result', tool_use_id => 'c', content => 'x' }] }]) }],
        ['a result', sub { (messages => [\%user, { role => 'assistant', content => [{ type => 'tool_use', id => 'c', name => 'f', input => {} }] }, { role => 'user', content => [{ type => 'tool_result', tool_use_id => 'c', content => $_[0] }] }]) }],
        ['a result in parts', sub { (messages => [\%user, { role => 'assistant', content => [{ type => 'tool_use', id => 'c', name => 'f', input => {} }] }, { role => 'user', content => [{ type => 'tool_result', tool_use_id => 'c', content => [{ type => 'text', text => $_[0] }] }] }]) }],
        ['a file of text', sub { (messages => [{ role => 'user', content => [{ type => 'document', source => { type => 'text', media_type => 'text/plain', data => $_[0] } }] }]) }],
        ['the title of a file', sub { (messages => [{ role => 'user', content => [{ type => 'document', title => $_[0], source => { type => 'base64', media_type => 'application/pdf', data => 'AAAA' } }] }]) }],
        ['the address of a file', sub { (messages => [{ role => 'user', content => [{ type => 'document', source => { type => 'url', url => "https://x.test/$_[0]/y" } }] }]) }],
        ['a tool', sub { (tools => [{ name => 'f', description => $_[0], input_schema => { type => 'object' } }]) }],
        (map { my ($n, $s) = @$_; ["$n of a tool", sub { (tools => [{ name => 'f', input_schema => $s->($_[0]) }]) }] } @schemas),
        (map { my ($n, $s) = @$_; ["$n of an answer", sub { (output_config => { format => { type => 'json_schema', schema => $s->($_[0]) } }) }] } @schemas),
        ['a stop sequence', sub { (stop_sequences => [$_[0]]) }], ['the end user', sub { (metadata => { user_id => $_[0] }) }], ['a member of Anthropic', sub { (context_management => { edits => [{ type => $_[0] }] }) }]],
    responses => ['/v1/responses', { model => 'responses', input => 'Hello' }, sub { join ' ', @{ $_[0]{error} }{qw(type code)} }, 'invalid_request_error content_filter',
        ['a message', sub { (input => $_[0]) }], ['the instructions', sub { (instructions => $_[0]) }],
        ['arguments', sub { (input => [\%user, { type => 'function_call', call_id => 'c', name => 'f', arguments => $json->encode({ a => $_[0] }) }, { type => 'function_call_output', call_id => 'c', output => 'x' }]) }],
        ['a result', sub { (input => [\%user, { type => 'function_call', call_id => 'c', name => 'f', arguments => '{}' }, { type => 'function_call_output', call_id => 'c', output => $_[0] }]) }],
        ['the name of a file', sub { (input => [{ role => 'user', content => [{ type => 'input_file', filename => $_[0], file_data => 'data:application/pdf;base64,AAAA' }] }]) }],
        ['a file of text', sub { (input => [{ role => 'user', content => [{ type => 'input_file', filename => 'x', file_data => 'data:text/plain;base64,' . plain($_[0]) }] }]) }],
        ['the address of a file', sub { (input => [{ role => 'user', content => [{ type => 'input_file', file_url => "https://x.test/$_[0]/y" }] }]) }],
        ['a tool', sub { (tools => [{ type => 'function', name => 'f', description => $_[0], parameters => { type => 'object' } }]) }],
        (map { my ($n, $s) = @$_; ["$n of a tool", sub { (tools => [{ type => 'function', name => 'f', parameters => $s->($_[0]) }]) }] } @schemas),
        (map { my ($n, $s) = @$_; ["$n of an answer", sub { (text => { format => { type => 'json_schema', name => 'x', schema => $s->($_[0]) } }) }] } @schemas),
        ['what an answer is for', sub { (text => { format => { type => 'json_schema', name => 'x', description => $_[0], schema => { type => 'object' } } }) }],
        ['the end user', sub { (user => $_[0]) }], ['a member of OpenAI', sub { (prompt_cache_key => $_[0]) }]],
);

# What went to the model, with what is in base64 read.
sub went { my $body = $model->request($model->count)->{body}; return join ' ', $body, map { decode_base64($_) } $body =~ m{base64,([A-Za-z0-9+/]+=*)}g }

$model->default(kind => 'status', status => 400, body => '{}');    # what it says does not matter
for my $face (sort keys %faces) {
    my ($path, $base, $error, $refused, @doors) = @{ $faces{$face} };
    subtest "$face, on the way in" => sub {
        for my $door (@doors) {
            my ($name, $put) = @$door;
            for my $mark ('forbidden', 'ann@example.org') {
                my $before = $model->count;
                my $r = $si->json(POST => $path, { %$base, $put->($mark) });
                if ($model->count == $before) {
                    is $error->($r->{json}), $refused, "$name: $mark is refused" or diag $r->{body};
                } else {
                    my $went = went();
                    unlike $went, qr/\Q$mark\E/, "$name: $mark does not get through";
                    like $went, $mark =~ /@/ ? qr/\[pii\]/ : qr/\[removed\]/, "$name: what stands for $mark does";
                }
            }
            my $before = $model->count;
            $si->json(POST => $path, { %$base, $put->('harmless') });
            is $model->count, $before + 1, "$name: what is harmless gets there" or next;
            like went(), qr/harmless/, "$name: as it is";
        }
    };
}

subtest 'a turn' => sub {
    my $turn = run_turn($si, conversation($si), 'this is forbidden');
    is "$turn->{state} $turn->{error}{code}", 'failed content_filtered', 'is refused';
    run_turn($si, conversation($si), 'I am ann@example.org');
    like went(), qr/I am \[pii\]/, 'or redacted';
};

subtest 'a file that cannot be read' => sub {
    my $before = $model->count;
    my $r = $si->json(POST => '/v1/chat/completions', { model => 'chat', messages => [{ role => 'user', content => [{ type => 'file', file => { filename => 'x', file_data => 'data:text/plain;base64,' . plain("f\xf6rbidden") } }] }] });
    is "$r->{json}{error}{code} " . ($model->count - $before), 'content_filter 0', 'is refused';
};

# --- on the way out: a provider that speaks as OpenAI, the arguments cut everywhere ---

sub chunks { return kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" . join '', map { 'data: ' . (ref $_ ? $json->encode($_) : $_) . "\n\n" } @_, '[DONE]' }
sub calls {
    my ($name, @pieces) = @_;
    my $c = sub { return { choices => [{ index => 0, @_ }] } };
    return chunks($c->(delta => { tool_calls => [{ index => 0, id => 'c0', type => 'function', function => { name => $name, arguments => '' } }] }),
        (map { $c->(delta => { tool_calls => [{ index => 0, function => { arguments => $_ } }] }) } @pieces), $c->(delta => {}, finish_reason => 'tool_calls'));
}
my @tool = (f => { type => 'object' });
my %ask = (
    chat => [{ model => 'chat', messages => [\%user], tools => [{ type => 'function', function => { name => 'f', parameters => {} } }] }],
    messages => [{ model => 'chat', max_tokens => 9, messages => [\%user], tools => [{ name => 'f', input_schema => { type => 'object' } }] }],
    responses => [{ model => 'chat', input => 'Hello', tools => [{ type => 'function', name => 'f', parameters => {} }] }],
);
# What a client can see of an answer: all texts in it, one after the other, pieces of arguments joined.
sub seen {
    my ($v) = @_;
    return ref $v eq 'HASH' ? join('', map { seen($v->{$_}) } sort keys %$v) : ref $v eq 'ARRAY' ? join('', map { seen($_) } @$v) : $v // '';
}
sub pieces { return map { ref $_->{data} ? grep { defined } $_->{data}{delta}, ref $_->{data}{delta} ? $_->{data}{delta}{partial_json} : (), map { map { $_->{function}{arguments} } @{ $_->{delta}{tool_calls} || [] } } @{ $_->{data}{choices} || [] } : () } @_ }

for my $face (sort keys %ask) {
    subtest "$face, on the way out" => sub {
        for my $stream ($false, $true) {
            for my $mark ('forbidden', 'ann@example.org') {
                my $args = qq({"a":{"b":["so $mark it is"]}});
                for my $cut ([$args], [split //, $args], [$args =~ s/n/\\u006e/r =~ /(.{1,7})/gs]) {
                    my $how = "$mark, " . scalar(@$cut) . ($stream ? ' pieces, streamed' : ' pieces');
                    $model->next(calls('f', @$cut));
                    my $s = $si->stream(POST => $faces{$face}[0], { %{ $ask{$face}[0] }, stream => $stream });
                    my @e = $stream ? $s->until_end : ();
                    my $all = $stream ? join('', map { $_->{raw} } @e) . join('', grep { !ref } pieces(@e)) : seen($json->decode($s->body)) . $s->body;
                    $all =~ s/\\+u006e/n/g;
                    unlike $all, qr/\Q$mark\E/, $how;
                    like $all, $mark =~ /@/ ? qr/\[pii\]/ : qr/content_filter|refusal/, "$how: what comes instead" or diag $all;
                }
            }
            $model->next(calls('forbidden', '{}'));
            my $s = $si->stream(POST => $faces{$face}[0], { %{ $ask{$face}[0] }, stream => $stream });
            my $all = $stream ? join '', map { $_->{raw} } $s->until_end : $s->body;
            unlike $all, qr/forbidden/, 'the name of a tool';
        }
    };
}

done_testing;
