# Faults of a model's provider when nobody else is asked (t/62 has the rest): the turn fails with a code that tells what happened, and the conversation goes on.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $url = $model->base_url;
# One model, reached by providers that differ in their patience.
my $si = SI::Test->start(model => undef, workers => 1, config => <<"YAML");
limits:
  answer_max: 4k
turn:
  deadline: 6s
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
  nowhere:
    kind: openai
    base_url: "http://127.0.0.1:1/v1"
    connect_timeout: 2s
models:
  fake-1:
    provider: fake
  hasty:
    provider: hasty
    upstream: fake-1
  nowhere:
    provider: nowhere
    upstream: fake-1
default_model: fake-1
YAML
my @pids = $si->worker_pids;
my $conv = conversation($si);
my $asked = 0;

sub sse { return join '', map { "data: $_\n\n" } @_ }
sub raw { my ($body, $type, $status) = @_; return (kind => 'raw', bytes => "HTTP/1.1 " . ($status || '200 OK') . "\r\nContent-Type: " . ($type || 'text/event-stream') . "\r\n\r\n$body") }
sub delta { return "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"$_[0]\"}}]}" }
my $stop = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}';
my $secret = 'sk-1234567890abcdef';

# What the provider does, the code and whether it may be retried; more: model => name, said => text before the fault, detail => regular expression.
my @faults = (
    ['status 401', [kind => 'status', status => 401, body => "{\"error\":{\"message\":\"Incorrect API key provided: $secret\"}}"], 'credentials_exhausted', 0, detail => qr/^HTTP 401/],
    ['status 403', [kind => 'status', status => 403], 'credentials_exhausted', 0],
    ['status 400', [kind => 'status', status => 400, body => '{"error":{"message":"context_length_exceeded\nsecond line"}}'], 'context_length', 0, detail => qr/^HTTP 400: context_length_exceeded second line$/],
    ['status 404', [kind => 'status', status => 404, body => 'nothing here'], 'provider_rejected', 0],
    ['status 408', [kind => 'status', status => 408], 'provider_unavailable', 1],
    ['status 429', [kind => 'status', status => 429, body => '{"error":{"message":"slow down"}}'], 'provider_rate_limited', 1, detail => qr/slow down/],
    ['status 500', [kind => 'status', status => 500], 'provider_unavailable', 1, detail => qr/^HTTP 500: scripted$/],
    ['502 with a page', [kind => 'status', status => 502, body => '<html>' . 'x' x 100_000, headers => { 'Content-Type' => 'text/html' }], 'provider_unavailable', 1],
    ['status 503', [kind => 'status', status => 503], 'provider_unavailable', 1],
    ['a redirect', [kind => 'status', status => 302, headers => { Location => 'http://127.0.0.1:1/' }], 'provider_protocol', 0],
    ['no answer', [kind => 'hang'], 'provider_timeout', 1, model => 'hasty'],
    ['silence before the first token', [kind => 'stall', after => 0], 'provider_timeout', 1, model => 'hasty'],
    ['silence in the middle', [kind => 'stall', after => 3], 'provider_timeout', 1, model => 'hasty', said => 't1 t2 t3 '],
    ['a cut in the middle', [kind => 'cut', after => 2], 'answer_cut', 1, said => 't1 t2 '],
    ['a cut before the first token', [kind => 'cut', after => 0], 'answer_cut', 1],
    ['a reset in the middle', [kind => 'cut', after => 2, rst => 1], 'answer_cut', 1],
    # Asked once or twice: a request on a connection that was kept is sent again when nothing came back.
    ['a connection that is closed', [kind => 'raw', bytes => ''], 'provider_unavailable', 1, always => 1],
    ['an end without a finish', [raw(sse(delta('half ')))], 'answer_cut', 1, said => 'half '],
    ['half an event', [raw(sse(delta('half ')) . 'data: {"choi')], 'answer_cut', 1, said => 'half '],
    ['malformed JSON', [kind => 'malformed', after => 2], 'provider_protocol', 1, said => 't1 t2 '],
    ['JSON that is no object', [raw(sse('[1]'))], 'provider_protocol', 1],
    ['no UTF-8', [raw(sse(delta("\xff\xfe")))], 'provider_protocol', 1],
    ['NUL', [raw(sse(delta("a\0b")))], 'provider_protocol', 1],
    ['an event without end', [raw('data: ' . 'x' x 17_000_000)], 'provider_protocol', 1],
    ['nesting', [raw(sse('[' x 100_000))], 'provider_protocol', 1],
    ['an error in the stream', [raw(sse(delta('half '), '{"error":{"message":"overloaded","type":"server_error"}}'))], 'provider_unavailable', 1, said => 'half ', detail => qr/overloaded/],
    ['an error in the stream that names a limit', [raw(sse('{"error":{"message":"too many","code":"rate_limit_exceeded"}}'))], 'provider_rate_limited', 1],
    ['an error as the reason of the end', [raw(sse(delta('half '), '{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}'))], 'answer_cut', 1, said => 'half '],
    ['a page of HTML', [raw('<html>hello</html>', 'text/html')], 'provider_protocol', 0],
    ['no HTTP', [kind => 'raw', bytes => "SSH-2.0-OpenSSH_9.2\r\n"], 'provider_unavailable', 1],
    ['too long an answer', [kind => 'tokens', tokens => ['0123456789abcdef' x 16, ('0123456789abcdef' x 16) x 20]], 'answer_too_large', 0],
    ['too long an answer in one piece', [kind => 'tokens', tokens => ['x' x 5000]], 'answer_too_large', 0],
    ['too long an answer as JSON', [raw('{"choices":[{"index":0,"message":{"content":"' . 'x' x 5000 . '"},"finish_reason":"stop"}]}', 'application/json')], 'answer_too_large', 0],
    ['JSON without an answer', [raw('{"choices":[]}', 'application/json')], 'provider_protocol', 1],
    ['half a JSON answer', [kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"choices\":["], 'answer_cut', 1],
    ['an empty answer', [raw(sse($stop, '[DONE]'))], 'answer_empty', 1],
    ['a refused connection', undef, 'provider_unavailable', 1, model => 'nowhere'],
);

for (@faults) {
    my ($what, $how, $code, $retryable, %o) = @$_;
    subtest $what => sub {
        if ($o{always}) { $model->default(@$how) }
        elsif ($how) { $model->next(@$how) }
        my $s = $si->stream(POST => "/v1/conversations/$conv/turns", { input => $what, ($o{model} ? (model => $o{model}) : ()) });
        my @e = $s->until_end;
        $asked++ if $how;
        if ($o{always}) {
            $asked = $model->count;
            $model->default(kind => 'tokens', tokens => 5);
        }
        ok $s->complete, 'the stream ends whole';
        is $e[-1]{event}, 'turn.failed', 'with turn.failed';
        is scalar(grep { $_->{event} =~ /^turn\.(?:completed|cancelled|failed)$/ } @e), 1, 'and no other end';
        is $e[-1]{data}{code}, $code, 'its code';
        is !!$e[-1]{data}{retryable}, !!$retryable, 'whether a retry may help';
        ok length $e[-1]{data}{detail}, 'a word for people';
        unlike $e[-1]{data}{detail}, qr/\Q$secret\E|test-key|\n/, 'on one line, without a key';
        like $e[-1]{data}{detail}, $o{detail}, 'that says what the provider says' if $o{detail};
        is text_of(@e), $o{said}, 'what was said until then was streamed' if $o{said};
        my $t = $si->json(GET => "/v1/turns/$e[0]{data}{turn}")->{json};
        is $t->{state}, 'failed', 'the turn object';
        is_deeply $t->{error}, { code => $code, detail => $e[-1]{data}{detail}, retryable => $e[-1]{data}{retryable} }, 'tells the same';
        is $model->count, $asked, 'the model was not asked again';
        my $good = run_turn($si, $conv, 'and now?');
        $asked++;
        is "$good->{state}: $good->{output}", 'completed: t1 t2 t3 t4 t5 ', 'the next turn completes';
    };
}

subtest 'answers that are odd but whole' => sub {
    my @odd = (
        ['without usage', [raw(sse(delta('ok'), $stop, '[DONE]'))], 'ok', 'stop'],
        ['without [DONE]', [raw(sse(delta('ok'), $stop))], 'ok', 'stop'],
        ['with NUL and half a character', [raw(sse(delta('a\u0000b'), delta('\ud800'), $stop, '[DONE]'))], "a\x{fffd}b\x{fffd}", 'stop'],
        ['with a number of more than 64 bits', [raw(sse(delta('ok'), '{"choices":[{"index":0,"delta":{},"finish_reason":"stop","seed":18446744073709551615}]}', '[DONE]'))], 'ok', 'stop'],
        ['called JSON', [raw(sse(delta('ok'), $stop, '[DONE]'), 'application/json')], 'ok', 'stop'],
        ['with CR LF', [raw(sse(delta('ok'), $stop, '[DONE]') =~ s/\n/\r\n/gr)], 'ok', 'stop'],
        ['with comments and unknown events', [raw(": hi\n\nevent: ping\ndata: {}\n\n" . sse(delta('ok'), $stop, '[DONE]'))], 'ok', 'stop'],
        ['cut by its length', [raw(sse(delta('ok'), '{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}', '[DONE]'))], 'ok', 'length'],
        ['empty, but with tokens', [raw(sse($stop, '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}', '[DONE]'))], '', 'stop'],
        ['as JSON', [raw('{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}', 'application/json')], 'ok', 'stop'],
        ['of exactly the largest size', [kind => 'tokens', tokens => ['x' x 2048, 'y' x 2048]], 'x' x 2048 . 'y' x 2048, 'stop'],
        ['after the finish nothing, then a cut', [kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            . do { my $b = sse(delta('ok'), $stop); sprintf "%x\r\n%s\r\n", length $b, $b }], 'ok', 'stop'],
    );
    for (@odd) {
        my ($what, $how, $text, $finish) = @$_;
        $model->next(@$how);
        my $t = run_turn($si, $conv, $what);
        $asked++;
        is "$t->{state}: $t->{output} ($t->{finish})", "completed: $text ($finish)", $what;
    }
};

subtest 'a server that is away and comes back' => sub {
    $model->refuse(1);
    my $t = run_turn($si, $conv, 'away');
    is_deeply [@{ $t->{error} }{qw(code retryable)}], ['provider_unavailable', JSON::PP::true()], 'refused';
    $model->refuse(0);
    is run_turn($si, $conv, 'back')->{state}, 'completed', 'and back';
    $asked++;
};

subtest 'the deadline of a turn' => sub {
    for (['no answer', [kind => 'hang'], ''], ['silence in the middle', [kind => 'stall', after => 2], 't1 t2 ']) {
        my ($what, $how, $said) = @$_;
        $model->next(@$how);
        my @e = $si->stream(POST => "/v1/conversations/$conv/turns", { input => $what })->until_end;
        my $n = $model->wait_request(++$asked);
        is "$e[-1]{event} $e[-1]{data}{code}", 'turn.failed turn_timeout', "$what: turn_timeout";
        ok $e[-1]{data}{retryable}, 'it may be tried again';
        is text_of(@e), $said, 'what was said until then was streamed';
        ok $model->wait_closed($n), 'and the connection to the model is closed';
    }
    # An answer that never pauses for long is bounded as well.
    $model->next(kind => 'tokens', tokens => [('x ') x 1000], delay_ms => 100);
    my @e = $si->stream(POST => "/v1/conversations/$conv/turns", { input => 'endless' })->until_end;
    my $n = $model->wait_request(++$asked);
    is "$e[-1]{event} $e[-1]{data}{code}", 'turn.failed turn_timeout', 'an answer that takes its time: turn_timeout';
    ok $model->wait_closed($n), 'and its connection is closed';
    my $t = run_turn($si, $conv, 'after it');
    is $t->{state}, 'completed', 'the next turn completes';
    is_deeply [map { $_->{content} } grep { $_->{role} ne 'system' } @{ $model->request($model->count)->{json}{messages} }[-2, -1]], ['endless', 'after it'],
        'what a failed turn said is no history, what it was asked is';
};

is_deeply [$si->worker_pids], \@pids, 'the same worker serves';
unlike slurp($si->dir . '/logs/worker.log'), qr/test-key|\Q$secret\E|and now/, 'no key and no text is in the log';

done_testing;
