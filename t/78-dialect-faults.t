# The faults that gateways are tested with, seen by clients of the three dialects, streamed and not, with a fallback and without: before
# the first token nobody notices them, after it there is an error in the dialect's words; half an answer is never a whole one.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Socket::INET;
use JSON::PP ();
use SI::Model;
use SI::Test;

# A port where the kernel answers nobody: the queue of connections that nobody accepts is full.
my $deaf = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0) or die "socket: $!";
my @fill = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $deaf->sockport, Blocking => 0) } 1 .. 4;

my ($bad, $good) = (SI::Model->start, SI::Model->start);
my $rescue = 'It is well.';
$good->default(kind => 'tokens', tokens => ['It ', 'is ', 'well.']);
my ($at, $safe, $nobody) = ($bad->base_url, $good->base_url, 'http://127.0.0.1:' . $deaf->sockport . '/v1');

my $json = JSON::PP->new->utf8->canonical;
my ($true, $false) = (JSON::PP::true, JSON::PP::false);
sub sse { return join '', map { 'data: ' . (ref $_ ? $json->encode($_) : $_) . "\n\n" } @_ }
sub raw { my ($body, $type, $head) = @_; return kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: " . ($type || 'text/event-stream') . ($head || '') . "\r\n\r\n$body" }
sub delta { return { choices => [{ index => 0, delta => {@_} }] } }
sub call_of { return delta(tool_calls => [{ index => 0, @_ }]) }
my $half = $json->encode({ id => 'x', choices => [{ index => 0, message => { role => 'assistant', content => 'half of it' }, finish_reason => 'stop' }] });

# What the provider does; said: something of the answer has come before.
my @faults = (
    ['refused connection', undef, 'gone'], ['nobody accepts', undef, 'deaf'],
    ['429 with Retry-After', [kind => 'status', status => 429, headers => { 'Retry-After' => 60 }]], ['429 without', [kind => 'status', status => 429]],
    (map { ["status $_", [kind => "status", status => $_]] } 400, 401, 403, 404, 408, 500, 503, 529),
    ['reset before headers', [kind => 'raw', bytes => '']], ['hang before headers', [kind => 'hang']], ['hang after headers', [kind => 'stall', after => 0]],
    ['slow first token', [kind => 'ping', ping_ms => 50]], ['wrong content type', [raw('<html>', 'text/html')]], ['empty body', [raw('')]],
    ['empty answer', [raw(sse({ choices => [{ index => 0, delta => {}, finish_reason => 'stop' }] }, '[DONE]'))]], ['malformed events', [raw("\x00\xff<<<\n\nid\n:\n\n{}}{\n\n")]],
    ['malformed JSON', [raw('{"choices": [', 'application/json', "\r\nContent-Length: 13")]],
    ['half a body', [raw(substr($half, 0, 60), 'application/json', "\r\nContent-Length: " . length $half)]],
    ['an error at once', [raw(sse({ error => { message => 'overloaded' } }))]],
    ['stall', [kind => 'stall', after => 3], undef, 1], ['stall with keep-alives', [kind => 'ping', after => 3, ping_ms => 50], undef, 1], ['cut', [kind => 'cut', after => 3], undef, 1],
    ['reset', [kind => 'cut', after => 3, rst => 1], undef, 1], ['end without a finish', [kind => 'cut', after => 3, clean => 1], undef, 1], ['malformed event', [kind => 'malformed', after => 2], undef, 1],
    ['an error in the middle', [raw(sse(delta(content => 'so '), { error => { message => 'overloaded' } }))], undef, 1],
    ['a call of a tool that is cut', [raw(sse(call_of(id => 'c', type => 'function', function => { name => 'f', arguments => '' }), call_of(function => { arguments => '{"a":"ha' })))], undef, 1],
    ['too long', [kind => 'tokens', tokens => [('x' x 1000) x 6], delay_ms => 5], undef, 1],
);
my ($providers, $models) = ('', '');
for my $i (0 .. $#faults) {
    my $url = !$faults[$i][2] ? $at : $faults[$i][2] eq 'deaf' ? $nobody : 'http://127.0.0.1:1/v1';
    $providers .= "  $_$i: { kind: openai, base_url: \"$url\", connect_timeout: 800ms, first_byte_timeout: 800ms, first_token_timeout: 800ms, idle_timeout: 800ms }\n" for qw(a b);
    $models .= "  alone$i: { provider: a$i, upstream: m }\n  paired$i: { provider: b$i, upstream: m, fallback: [safe] }\n";
}
my $si = SI::Test->start(model => undef, workers => 1, config => <<"YAML");
limits: { answer_max: 4k }
gateway: { attempts: 1, wait: 100ms, breaker_calls: 10000 }
providers:
$providers
  good: { kind: openai, base_url: "$safe" }
models:
$models
  safe: { provider: good }
YAML

my @talk = (messages => [{ role => 'user', content => 'x' }]);
my %tool = (name => 'f', parameters => { type => 'object' });
my %faces = (
    '/v1/chat/completions' => { body => { @talk, tools => [{ type => 'function', function => \%tool }] }, whole => sub { $_[0]{choices}[0]{message}{content} },
        text => sub { join '', map { ref $_->{data} ? $_->{data}{choices}[0]{delta}{content} // '' : '' } @_ }, over => sub { grep { $_->{data} eq '[DONE]' || ref $_->{data} && $_->{data}{choices}[0]{finish_reason} } @_ },
        error => sub { ref $_[0]{data} && $_[0]{data}{error} } },
    '/v1/messages' => { body => { @talk, max_tokens => 9, tools => [{ name => 'f', input_schema => { type => 'object' } }] }, whole => sub { $_[0]{content}[0]{text} },
        text => sub { join '', map { $_->{data}{delta}{text} // '' } @_ }, over => sub { grep { $_->{event} =~ /^message_(?:stop|delta)$/ } @_ }, error => sub { $_[0]{event} eq 'error' && $_[0]{data}{error} } },
    '/v1/responses' => { body => { input => 'x', tools => [{ type => 'function', %tool }] }, whole => sub { $_[0]{output}[0]{content}[0]{text} },
        text => sub { join '', map { $_->{event} eq 'response.output_text.delta' ? $_->{data}{delta} : '' } @_ }, over => sub { grep { $_->{event} =~ /^response\.(?:completed|incomplete)$/ } @_ },
        error => sub { $_[0]{event} eq 'response.failed' && $_[0]{data}{response}{error} } },
);

# What a client got: "whole TEXT", "error STATUS", "broken TEXT" (an error behind it), or what must not be.
sub outcome {
    my ($f, $s, $stream) = @_;
    $s->head;
    if ($s->status != 200) {
        my $r = eval { $json->decode($s->body) };
        return ref $r && ref $r->{error} ? 'error ' . $s->status : 'no error in ' . $s->status;
    }
    if (!$stream) { my $r = eval { $json->decode($s->body) }; return $r && !$r->{error} ? 'whole ' . ($f->{whole}->($r) // '') : 'an error with 200' }
    my @e = $s->until_end;
    my $text = $f->{text}->(@e);
    my ($over, $error) = (scalar $f->{over}->(@e), @e && $f->{error}->($e[-1]));
    return $over && !$error && $s->complete ? "whole $text" : !$over && $error ? "broken $text" : 'neither whole nor an error: ' . join ' ', map { $_->{raw} } @e;
}

for my $i (0 .. $#faults) {
    my ($what, $how, undef, $said) = @{ $faults[$i] };
    subtest $what => sub {
        $bad->default(@$how) if $how;
        my @calls;
        for my $path (sort keys %faces) {
            for my $stream ($false, $true) {
                for my $model ("alone$i", "paired$i") {
                    push @calls, [$path, $stream, $model, SI::Test::Stream->new(port => $si->port, method => 'POST', path => $path, keep_body => !$stream, headers => $si->auth({ 'Content-Type' => 'application/json', Connection => 'close' }),
                        request_body => $json->encode({ %{ $faces{$path}{body} }, model => $model, stream => $stream }))];
                }
            }
        }
        for (@calls) {
            my ($path, $stream, $model, $s) = @$_;
            my $got = outcome($faces{$path}, $s, $stream);
            my $name = "$path, " . ($stream ? 'streamed, ' : 'whole, ') . ($model =~ /alone/ ? 'alone' : 'with a fallback');
            if ($model =~ /alone/) {
                like $got, $said && $stream ? qr/^broken / : qr/^error [45]/, "$name: an error";
            } elsif ($said && $stream) {
                like $got, qr/^broken (?!.*well)/, "$name: an error, since it was seen";
            } else {
                is $got, "whole $rescue", "$name: the fallback's answer and no other";
            }
        }
    };
}
done_testing;
