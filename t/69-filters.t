# Filters on what goes to models and comes from them, in turns and in three dialects, streamed and not: what is blocked never leaves, what is
# redacted leaves as its replacement, whoever answers; another tenant has other filters; nothing of the text is in the log.
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
gateway: { attempts: 1, restarts: 1, key_rest: 1ms, cooldown: 1ms, cooldown_max: 1ms, breaker_calls: 10000, filters: [words, pii] }
filters:
  words: { words: [forbidden, "top secret"] }
  pii: { ready: [email, card], action: redact, replacement: "[pii]" }
  theirs: { words: [xyzzy] }
  counted: { patterns: ['\\d{3}-\\d{3}'], action: report }
providers:
  fake: { kind: openai, base_url: "$url" }
  two: { kind: openai, base_url: "$url2" }
models:
  gpt-1: { provider: fake, fallback: [gpt-2] }
  gpt-2: { provider: two }
  alone: { provider: fake, upstream: gpt-1 }
  vectors: { provider: fake, type: embeddings }
agents:
  counter: { model: alone, filters: [counted], prompt: never say forbidden }
default_model: alone
YAML
my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $json = JSON::PP->new->utf8->canonical;
my $asked = 0;
sub asked { return $model->wait_request(++$asked) }
sub answers { $model->next(kind => 'tokens', tokens => [@_]) }
sub sent { return $model->request(asked())->{json}{messages}[-1]{content} }
sub chunks { return kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" . join '', map { 'data: ' . (ref $_ ? $json->encode($_) : $_) . "\n\n" } @_ }
sub delta { return { choices => [{ index => 0, delta => {@_} }] } }
sub done { return { choices => [{ index => 0, delta => {}, finish_reason => $_[0] }] }, '[DONE]' }

# What events say, but for [DONE].
sub data { return grep { ref $_ } map { $_->{data} } @_ }

# The dialects: where, a request of this text, and text and end of an answer, whole and streamed, and of an error.
my %faces = (
    openai => {
        path => '/v1/chat/completions', ends => ['stop', 'content_filter'],
        ask => sub { return { model => 'alone', messages => [{ role => 'user', content => $_[0] }] } },
        whole => sub { my $c = $_[0]{choices}[0]; return ($c->{message}{content} // '', $c->{finish_reason}) },
        streamed => sub { my @d = map { $_->{choices}[0] || {} } data(@_); return (join('', map { $_->{delta}{content} // '' } @d), (grep { defined } map { $_->{finish_reason} } @d)[0]) },
        error => sub { return join ' ', @{ $_[0]{error} }{qw(type code)} }, refused => 'invalid_request_error content_filter',
    },
    anthropic => {
        path => '/v1/messages', ends => ['end_turn', 'refusal'],
        ask => sub { return { model => 'alone', max_tokens => 50, messages => [{ role => 'user', content => $_[0] }] } },
        whole => sub { return (join('', map { $_->{text} // '' } @{ $_[0]{content} }), $_[0]{stop_reason}) },
        streamed => sub { my @d = map { $_->{delta} || {} } data(@_); return (join('', map { $_->{text} // '' } @d), (grep { defined } map { $_->{stop_reason} } @d)[0]) },
        error => sub { return join ' ', $_[0]{error}{type}, $_[0]{error}{details}{error_code} }, refused => 'invalid_request_error content_filter',
    },
    responses => {
        path => '/v1/responses', ends => ['completed', 'incomplete content_filter'],
        ask => sub { return { model => 'alone', input => $_[0] } },
        whole => sub { my $r = shift; return (join('', map { $_->{text} } map { @{ $_->{content} || [] } } @{ $r->{output} }), join ' ', $r->{status}, grep { defined } ($r->{incomplete_details} || {})->{reason}) },
        streamed => sub {
            my $r = (data(@_))[-1]{response};
            return (join('', map { $_->{data}{delta} } grep { $_->{event} eq 'response.output_text.delta' } @_), join ' ', $r->{status}, grep { defined } ($r->{incomplete_details} || {})->{reason});
        },
        error => sub { return join ' ', @{ $_[0]{error} }{qw(type code)} }, refused => 'invalid_request_error content_filter',
    },
);

# A test in all dialects, both ways: what the model says, what comes, and whether it was blocked.
sub comes {
    my ($name, $said, $text, $blocked) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    for my $face (sort keys %faces) {
        my $f = $faces{$face};
        for my $stream ($false, $true) {
            answers(@$said);
            my $s = $si->stream(POST => $f->{path}, { %{ $f->{ask}->('Hello') }, stream => $stream });
            my @e = $stream ? $s->until_end : ();
            my ($got, $end) = $stream ? $f->{streamed}->(@e) : $f->{whole}->($json->decode($s->body));
            asked();
            is "$got|$end", "$text|$f->{ends}[$blocked ? 1 : 0]", "$name: $face, " . ($stream ? 'streamed' : 'whole');
        }
    }
    answers(@$said);
    my @e = $si->stream(POST => '/v1/conversations/' . conversation($si) . '/turns', { input => 'Hello' })->until_end;
    asked();
    is text_of(@e), $text, "$name: a turn";
    is_deeply [$e[-1]{event}, $e[-1]{data}{finish}, $e[-1]{data}{message}{content}], ['turn.completed', $blocked ? 'content_filter' : 'stop', $text], "$name: its end" or diag $json->encode($e[-1]{data});
}

subtest 'answers' => sub {
    comes('nothing to find', ['one ', 'two'], 'one two', 0);
    comes('a word that is blocked', ['it is ', 'for', 'bid', 'den', ' to say'], 'it is ', 1);
    comes('a phrase', ["this is top\n", 'SECRET.'], 'this is ', 1);
    comes('a redaction', ['mail to a.b', '@exam', 'ple.com or pay with 4111 1111', ' 1111 1111.'], 'mail to [pii] or pay with [pii].', 0);
    comes('what only looks so', ['forbiddenly a@b', ' 4111 1111 1111 1112'], 'forbiddenly a@b 4111 1111 1111 1112', 0);
};

subtest 'every way to cut it' => sub {
    my $text = 'so top secret, and';
    for my $i (1 .. length($text) - 1) {
        answers(substr($text, 0, $i), substr($text, $i));
        my @e = $si->stream(POST => $faces{openai}{path}, { %{ $faces{openai}{ask}->('x') }, stream => $true })->until_end;
        asked();
        is join('|', $faces{openai}{streamed}->(@e)), 'so |content_filter', "after $i bytes";
    }
};

subtest 'what is held, and when the model is let go' => sub {
    $model->next(kind => 'step');
    my $s = $si->stream(POST => $faces{openai}{path}, { %{ $faces{openai}{ask}->('x') }, stream => $true });
    my $n = asked();
    my $said = sub { my $want = shift; my $got = ''; while (length $got < length $want) { my $e = $s->next_event or last; $got .= $_->{choices}[0]{delta}{content} // '' for data($e) } return $got };
    $model->go($n, 'that is for');
    is $said->('that is '), 'that is ', 'all but what may be a match';
    $model->go($n, 'ever and for');
    is $said->('forever and '), 'forever and ', 'which goes out when it is none';
    $model->go($n, 'bidden,');
    my @e = $s->until_end;
    is((grep { defined } map { $_->{choices}[0]{finish_reason} } data(@e))[0], 'content_filter', 'a match ends the answer');
    unlike join('', map { $_->{raw} } @e), qr/for/, 'and was never sent';
    ok $model->wait_closed($n), 'the model is not read any more';
};

subtest 'messages' => sub {
    for my $face (sort keys %faces) {
        my $f = $faces{$face};
        for my $stream ($false, $true) {
            my $r = $si->json(POST => $f->{path}, { %{ $f->{ask}->('this is Forbidden') }, stream => $stream });
            is "$r->{status} " . $f->{error}->($r->{json}), "400 $f->{refused}", "$face: refused, " . ($stream ? 'streamed' : 'whole') or diag $r->{body};
            unlike $r->{body}, qr/forbidden/i, "$face: without the text";
            is $si->json(POST => $f->{path}, { %{ $f->{ask}->('I am a@b.org') }, stream => $stream })->{status}, 200, "$face: redacted" if !$stream;
            like $json->encode([sent()]), qr/I am \[pii\]/, "$face: before the model sees it" if !$stream;
        }
    }
    my $conv = conversation($si);
    my @e = $si->stream(POST => "/v1/conversations/$conv/turns", { input => 'is it forbidden?' })->until_end;
    is_deeply [$e[-1]{event}, $e[-1]{data}{code}, !!$e[-1]{data}{retryable}], ['turn.failed', 'content_filtered', !!0], 'a turn fails';
    is run_turn($si, $conv, 'and c@d.org?')->{state}, 'completed', 'the next one does not';
    my @m = map { $_->{content} } @{ $model->request(asked())->{json}{messages} };
    is_deeply \@m, ['is it [removed]?', 'and [pii]?'], 'though the first one is in its history' or diag "@m";
    is run_turn($si, conversation($si), { input => 'Hello', agent => 'counter' })->{state}, 'completed', 'prompts of agents are not looked at';
    is_deeply $model->request(asked())->{json}{messages}[0], { role => 'system', content => 'never say forbidden' }, 'and go on as they are';
    is $model->count, $asked, 'what is refused is not asked';
};

subtest 'calls of tools and reasoning' => sub {
    my $call = sub { my ($i, $name, @args) = @_; return delta(tool_calls => [{ index => $i, id => "c$i", type => 'function', function => { name => $name, arguments => '' } }]),
        map { delta(tool_calls => [{ index => $i, function => { arguments => $_ } }]) } @args };
    my %ask = (%{ $faces{openai}{ask}->('x') }, tools => [{ type => 'function', function => { name => 'f', description => 'for x@y.org', parameters => { type => 'object' } } }]);
    for my $stream ($false, $true) {
        my $get = sub {
            my $s = $si->stream(POST => $faces{openai}{path}, { %ask, stream => $stream });
            return $json->decode($s->body)->{choices}[0] if !$stream;
            my %m = (finish_reason => undef, message => { tool_calls => [] });
            for my $c (map { $_->{choices}[0] || () } data($s->until_end)) {
                $m{finish_reason} //= $c->{finish_reason};
                $m{message}{reasoning_content} .= $c->{delta}{reasoning_content} // '';
                for my $t (@{ $c->{delta}{tool_calls} || [] }) { my $to = $m{message}{tool_calls}[$t->{index}] ||= { function => { arguments => '' } }; $to->{function}{name} //= $t->{function}{name}; $to->{function}{arguments} .= $t->{function}{arguments} // '' }
            }
            return \%m;
        };
        my $how = $stream ? 'streamed' : 'whole';
        $model->next(chunks(delta(reasoning_content => 'he is a@'), delta(reasoning_content => 'b.org, '), $call->(0, 'f', '{"to":"\u0061@', 'b.org"}'), $call->(1, 'f', '{}'), done('tool_calls')));
        my $c = $get->();
        is $model->request(asked())->{json}{tools}[0]{function}{description}, 'for [pii]', "the description of a tool, $how";
        is_deeply [$c->{finish_reason}, $c->{message}{reasoning_content}, map { "$_->{function}{name} $_->{function}{arguments}" } @{ $c->{message}{tool_calls} }],
            ['tool_calls', 'he is [pii], ', 'f {"to":"[pii]"}', 'f {}'], "redacted, $how" or diag $json->encode($c);
        $model->next(chunks($call->(0, 'f', '{"a":"forbid', 'den"}'), done('tool_calls')));
        $c = $get->();
        asked();
        is_deeply [$c->{finish_reason}, @{ $c->{message}{tool_calls} || [] }], ['content_filter'], "blocked, $how" or diag $json->encode($c);
    }
};

subtest 'whoever answers' => sub {
    $model->next(kind => 'status', status => 500);
    $second->next(kind => 'tokens', tokens => ['I am for', 'bidden']);
    my $r = $si->json(POST => $faces{openai}{path}, { model => 'gpt-1', messages => [{ role => 'user', content => 'x' }] });
    asked();
    is join('|', $faces{openai}{whole}->($r->{json})), 'I am |content_filter', 'a fallback is looked at';
    $model->next(kind => 'cut', after => 1, tokens => ['half a@b.', 'x']);
    $second->next(kind => 'tokens', tokens => ['whole a@', 'b.org']);
    my @e = $si->stream(POST => '/v1/conversations/' . conversation($si) . '/turns', { input => 'x', model => 'gpt-1' })->until_end;
    asked();
    is $e[-1]{data}{message}{content}, 'whole [pii]', 'and an answer that begins anew';
    is scalar(grep { $_->{event} eq 'turn.restarted' } @e), 1, 'after the first one broke off';
    my $before = $second->count;
    $r = $si->json(POST => $faces{openai}{path}, { model => 'gpt-1', messages => [{ role => 'user', content => 'forbidden' }] });
    is "$r->{status} " . ($second->count - $before) . ' ' . ($model->count - $asked), '400 0 0', 'a refused message is asked of nobody';
};

subtest 'usage of what was cut off' => sub {
    answers('it is ', 'forbidden ', 'x' x 100);
    my $u = $si->json(POST => $faces{openai}{path}, $faces{openai}{ask}->('x'))->{json}{usage};
    asked();
    cmp_ok $u->{completion_tokens}, '>', 0, 'is estimated';
    cmp_ok $u->{prompt_tokens}, '>', 0, 'both ways';
};

subtest 'what is told of it' => sub {
    answers('call 123-456');
    is run_turn($si, conversation($si), { input => 'x', agent => 'counter' })->{output}, 'call 123-456', 'what is only reported passes';
    asked();
    my $m = $si->http(GET => '/metrics')->{body};
    for (['words/words', 'output', 'block'], ['words/words', 'input', 'block'], ['pii/email', 'output', 'redact'], ['pii/card', 'output', 'redact'], ['counted/pattern 1', 'output', 'report']) {
        my ($rule, $direction, $action) = @$_;
        my ($n) = map { / (\d+)$/ } grep { /^si_filter_matches_total\{/ && /rule="\Q$rule\E"/ && /direction="$direction"/ && /action="$action"/ } split /\n/, $m;
        cmp_ok $n // 0, '>', 0, "$rule, $direction: $action";
    }
    my $log = slurp($si->dir . '/logs/worker.log');
    like $log, qr/"a filter matched".*"rule":"words\/words","direction":"output","action":"block"/, 'the log names the rule';
    unlike $log, qr/forbidden|top secret|a\@b|4111/i, 'and never the text';
};

subtest 'embeddings' => sub {
    my $embed = sub { return $si->json(POST => '/v1/embeddings', { model => 'vectors', input => $_[0] }) };
    my $r = $embed->(['well', 'Top  Secret']);
    is_deeply [$r->{status}, $r->{json}{error}{code}], [400, 'content_filter'], 'a text that is blocked';
    $model->next(kind => 'embed');
    is $embed->(['from ann@example.com', 'plain'])->{status}, 200, 'one that is redacted';
    is_deeply $model->request(asked())->{json}{input}, ['from [pii]', 'plain'], 'reaches the model so';
    $r = $embed->([1, 2]);
    is_deeply [$r->{status}, $r->{json}{error}{code}], [400, 'unsupported'], 'tokens, which no filter can read, are refused';
};

subtest 'tenants' => sub {
    my $them = member($si, create_key($si, 'others', 'ann'));
    my ($tenant) = $si->pg("SELECT tenant_id FROM tenant WHERE name = 'others'");
    open my $fh, '>>', $si->dir . '/overlay.yaml' or die $!;
    print $fh "tenants:\n  $tenant: { filters: [theirs] }\n";
    close $fh;
    kill HUP => $si->master_pid;
    my $ask = sub { my ($who) = @_; answers('say xyzzy now'); my $r = $who->json(POST => $faces{openai}{path}, $faces{openai}{ask}->('x')); asked(); return join '|', $faces{openai}{whole}->($r->{json}) };
    poll_until { $ask->($them) eq 'say |content_filter' };
    is $ask->($them), 'say |content_filter', 'one has a filter';
    is $ask->($si), 'say xyzzy now|stop', 'that another one has not';
};

done_testing;
